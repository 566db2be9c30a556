"""`explain`: shows why a file is included or excluded, its record, what the lake has, and what the plan does with it.

Must not: decide anything. The actions are those of the plan.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from metalake_sync.core.base_action import ActionDocument
from metalake_sync.core.notes import Note
from metalake_sync.core.set_changes import SetChangesMaker
from metalake_sync.core.snapshots import RecordedFile
from metalake_sync.engine import Engine, Observed
from metalake_sync.errors import ManifestError, UsageError
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.file_sources import FileSource, FolderSource, walk_files
from metalake_sync.sources.metadata_layers import explain_layers
from metalake_sync.sources.names import lake_name
from metalake_sync.sources.rules import explain_scan

FIELDS_SHOWN = ("Tags", "fileSize", "createdAt", "updatedAt", "name", "id")


@dataclass(frozen=True, slots=True)
class Explanation:
    """A file in one collection."""

    collection: str
    type: str
    name: str
    rules: list[str]
    """For each source that contains the file: whether it includes the file, and why."""
    metadata: dict[str, Any]
    recorded: RecordedFile | None
    asked: bool
    """Whether the planner asked the lake."""
    lake: dict[str, Any] | None
    """The lake's details of the file. None if the lake does not have it, or without asking it."""
    follows: list[ActionDocument]
    """The actions of the plan on the file."""
    notes: list[Note]


def explain(engine: Engine, file: str) -> list[Explanation]:
    """Explain a file, given by its path, by its name in a collection or, as in plans, by COLLECTION/NAME.

    Raises UsageError for an unknown file.
    """
    with engine.observe() as observed:
        found = list(_explanations(engine, observed, file))
    if not found:
        raise UsageError(
            f"'{file}' is not a known file",
            remedy="Give a path in a folder of the manifest, or the name of a file in a collection.",
        )
    return found


def _explanations(engine: Engine, observed: Observed, file: str) -> Iterator[Explanation]:
    planned, state, client = observed.planned, observed.state, observed.client
    shown_sets = planned.plan.shown_sets
    assert shown_sets is not None, "the planner adds it"
    document = SetChangesMaker(shown_sets, everything=True).document
    rows = state.collections.of_lake(lake_identity(engine.manifest))
    for plan in planned.plan.collections:
        desired = planned.desired[plan.key]
        row = rows.get(plan.key)
        rules, names, metadata = _rules_by_path_or_name(engine, desired, file)
        for name in sorted(names):
            recorded = state.files.named(row[0], [name]).get(name) if row is not None else None
            if not rules and recorded is None:
                continue
            unique_name = recorded.unique_name if recorded else None
            if unique_name is None and row is not None:
                unique_name = f"{row[1].storage_path}_{name}" if row[1].storage_path else name
            written = state.metadata_sets.values(recorded.metadata_digest) if recorded is not None else None
            fields = dict.fromkeys((*metadata, *(written or ()), *FIELDS_SHOWN), True)
            fields |= {"url": False, "uniqueName": False}
            yield Explanation(
                plan.key.name,
                plan.key.type.value,
                name,
                rules,
                metadata,
                recorded,
                client is not None,
                client.item_details(unique_name, fields) if client is not None and unique_name is not None else None,
                [document(action) for action in plan.actions() if action.file_name == name],
                [note for note in planned.plan.notes if note.where == f"{plan.key}/{name}"],
            )


def _rules_by_path_or_name(
    engine: Engine, desired: DesiredCollection, file: str
) -> tuple[list[str], set[str], dict[str, Any]]:
    """The rules, names and metadata of a file. A text that is not an existing path is a name in the collection."""
    if not any(map(os.path.lexists, _possible_paths(engine, file))):
        name_in_collection = file.removeprefix(f"{desired.key.name}/")
        files = walk_files([*desired.folders, *desired.files])
        said = [_rules(engine, desired, os.path.abspath(path)) for name, _, path in files if name == name_in_collection]
        if said:
            rules, _, metadata = said[-1]
            return [rule for one in said for rule in one[0]], {name_in_collection}, metadata
    rules, names, metadata = _rules(engine, desired, file)
    return rules, names or {os.path.basename(file)}, metadata


def _possible_paths(engine: Engine, file: str) -> set[str]:
    """The absolute paths of a file: relative to the current folder, and to the manifest's folder."""
    return {os.path.abspath(file), os.path.normpath(engine.manifest.base_dir.absolute() / file)}


def _rules(engine: Engine, desired: DesiredCollection, file: str) -> tuple[list[str], set[str], dict[str, Any]]:
    """The rules of each source for a path, the names that it would have, and its metadata."""
    said: list[str] = []
    names: set[str] = set()
    metadata: dict[str, Any] = {}
    paths = _possible_paths(engine, file)
    sources: list[FolderSource | FileSource] = [*desired.folders, *desired.files]
    for source in sources:
        root = os.path.abspath(source.root)
        for path in paths:
            relative = os.path.relpath(path, root)
            if isinstance(source, FileSource):
                taken, why, inside = True, "the manifest names it", path == root
                relative = os.path.basename(path)
            elif relative.startswith("..") or relative == ".":
                continue
            else:
                taken, why = explain_scan(root, source.rules, relative.replace(os.sep, "/"))
                inside = True
            if not inside:
                continue
            there = "" if os.path.lexists(path) else ", but it does not exist"
            said.append(f"{source.declared_at}: {'taken' if taken else 'left out'}: {why}{there}")
            name = lake_name(relative, source.naming)
            names.add(name)
            if taken:
                try:
                    metadata |= source.metadata.of(name, relative).values
                    fields = explain_layers(source.metadata.layers_of(name, relative))
                except ManifestError as error:
                    said.append(f"left out, because its metadata is invalid: {error}")
                    break
                said += [f"metadata '{field.name}' comes from {', '.join(field.origins)}" for field in fields]
            break
    return said, names, metadata
