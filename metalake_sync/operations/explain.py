"""One file, explained: what takes it or leaves it out, what is recorded, what the lake has, and what follows.

Must not: decide anything; what follows is what the plan says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from metalake_sync.core.actions import Action
from metalake_sync.core.notes import Note
from metalake_sync.core.snapshots import RecordedFile
from metalake_sync.errors import ManifestError, UsageError
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.open_sources import FileSource, FolderSource, walk_files
from metalake_sync.project import Observed, Project
from metalake_sync.sources.file_metadata import explain_layers
from metalake_sync.sources.naming import lake_name
from metalake_sync.sources.rule_reasons import why_taken_or_not

ALWAYS_TOLD = ("Tags", "fileSize", "createdAt", "updatedAt", "name", "id")


@dataclass(frozen=True, slots=True)
class Explanation:
    """A file in one collection. `rules`: each source that the file lies in, with what it says of it. `lake`: None where
    the lake has no such file, or was not asked (`asked`)."""

    collection: str
    type: str
    name: str
    rules: list[str]
    metadata: dict[str, Any]
    recorded: RecordedFile | None
    asked: bool
    lake: dict[str, Any] | None
    follows: list[Action]
    notes: list[Note]


def explain(project: Project, file: str) -> list[Explanation]:
    """Explain a file, given by its path, by its name in a collection or, as plans write it, COLLECTION/NAME. Raises
    UsageError if nothing is known of it."""
    with project.observe() as observed:
        found = list(_explanations(project, observed, file))
    if not found:
        raise UsageError(
            f"nothing is known of '{file}'",
            remedy="No folder of the manifest has such a path, and no file in a collection has that name.",
        )
    return found


def _explanations(project: Project, observed: Observed, file: str) -> Iterator[Explanation]:
    planned, state, client = observed.planned, observed.state, observed.client
    rows = state.collections.of_lake(lake_identity(project.manifest))
    for plan in planned.plan.collections:
        desired = planned.desired[plan.key]
        row = rows.get(plan.key)
        rules, names, metadata = _said_of(project, desired, file)
        for name in sorted(names):
            recorded = state.files.named(row[0], [name]).get(name) if row is not None else None
            if not rules and recorded is None:
                continue
            unique_name = recorded.unique_name if recorded else None
            if unique_name is None and row is not None:
                unique_name = f"{row[1].storage_path}_{name}" if row[1].storage_path else name
            written = state.metadata_sets.values(recorded.metadata_digest) if recorded is not None else None
            fields = dict.fromkeys(
                (*metadata, *(written or ()), "Tags", "fileSize", "createdAt", "updatedAt", "name", "id"), True
            )
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
                [action for action in plan.actions() if action.file_name == name],
                [note for note in planned.plan.notes if note.where == f"{plan.key}/{name}"],
            )


def _said_of(project: Project, desired: DesiredCollection, file: str) -> tuple[list[str], set[str], dict[str, Any]]:
    """What sources say, and the names to look for. What is no path here is a name in the collection."""
    if not any(map(os.path.lexists, _places(project, file))):
        called = file.removeprefix(f"{desired.key.name}/")
        files = walk_files([*desired.folders, *desired.files])
        said = [_rules(project, desired, os.path.abspath(path)) for name, _, path in files if name == called]
        if said:
            rules, _, metadata = said[-1]
            return [rule for one in said for rule in one[0]], {called}, metadata
    rules, names, metadata = _rules(project, desired, file)
    return rules, names or {os.path.basename(file)}, metadata


def _places(project: Project, file: str) -> set[str]:
    """Where a path may point to: from here, and from the manifest's folder."""
    return {os.path.abspath(file), os.path.normpath(project.manifest.base_dir.absolute() / file)}


def _rules(project: Project, desired: DesiredCollection, file: str) -> tuple[list[str], set[str], dict[str, Any]]:
    """What each source says of a path, the names that it would have, and its metadata."""
    said: list[str] = []
    names: set[str] = set()
    metadata: dict[str, Any] = {}
    places = _places(project, file)
    sources: list[FolderSource | FileSource] = [*desired.folders, *desired.files]
    for source in sources:
        root = os.path.abspath(source.root)
        for place in places:
            relative = os.path.relpath(place, root)
            if isinstance(source, FileSource):
                taken, why, inside = True, "it is named outright", place == root
                relative = os.path.basename(place)
            elif relative.startswith("..") or relative == ".":
                continue
            else:
                taken, why = why_taken_or_not(root, source.rules, relative.replace(os.sep, "/"))
                inside = True
            if not inside:
                continue
            there = "" if os.path.lexists(place) else ", but it does not exist"
            said.append(f"{source.declared_at}: {'taken' if taken else 'left out'}: {why}{there}")
            name = lake_name(relative, source.naming)
            names.add(name)
            if taken:
                try:
                    metadata |= source.metadata.of(name, relative).values
                    fields = explain_layers(source.metadata.layers_of(name, relative))
                except ManifestError as error:
                    said.append(f"left out, because its metadata can't be used: {error}")
                    break
                said += [f"metadata '{field.name}' comes from {', '.join(field.origins)}" for field in fields]
            break
    return said, names, metadata
