"""Warns of another manifest that writes the same as this one: a field of a head, a file or an annotation set.

The evidence is the states of other manifests on this machine, beside this manifest's own state. Reading them asks
nothing of the lake or of a store. docs/decisions/0023-two-manifests.md explains why the lake has no mark.

Owns: which states count as those of other manifests, and the notes. Must not: stop a run. Each manifest treats what
another one wrote as written by another client, so nothing is overwritten without the usual approval.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from metalake_sync.core.notes import Note, NoteCode, counted, some_of
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.core.targets import Target
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.manifest.remote_models import EMBEDDED
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.repositories import repository_of
from metalake_sync.planning.state_ownership import OWNER, SHARED_OWNER
from metalake_sync.planning.unmanaged_sources import UnmanagedSources
from metalake_sync.state.backends.file import STATE_FOLDER
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.other_states import OtherState, newest_of_each, open_other_state, other_state_paths
from metalake_sync.state.store import StateStore

_REMEDY = "keep it in one of them"

NAMED_TARGETS = 3
"""How many files a note names with a --target each."""


@dataclass(frozen=True, slots=True)
class WrittenHere:
    """What this manifest writes to one collection."""

    plan: CollectionPlan
    desired: DesiredCollection
    handle: CollectionHandle | None
    """None if the collection was never recorded."""


def notes_on_other_manifests(
    manifest: LoadedManifest,
    state: StateStore,
    lake: str,
    collections: Sequence[WrittenHere],
    unmanaged: UnmanagedSources,
) -> list[Note]:
    """Return a note for each collection, and each operation of unmanaged images, that another manifest writes too, and
    for each collection from which this plan trashes files of another manifest."""
    folders = {manifest.base_dir / STATE_FOLDER, state.path.parent}
    notes: list[Note] = []
    for path in newest_of_each(other_state_paths(folders, state.path)):
        try:
            with open_other_state(path) as other:
                named = _other_manifest(other, manifest, state, lake)
                if named is not None:
                    found = _Comparison(state, lake, other, os.path.basename(manifest.source), named)
                    notes += [
                        Note(NoteCode.ANOTHER_MANIFEST, f"{named.words} also writes this: {clause}; {remedy}", where)
                        for where, clause, remedy in found.overlaps(collections, unmanaged)
                    ]
                    notes += [
                        Note(NoteCode.ANOTHER_MANIFEST, message, where) for where, message in found.trashed(collections)
                    ]
        except (sqlite3.Error, ValueError, OSError):
            continue
    return notes


@dataclass(frozen=True, slots=True)
class _Named:
    """How a note names another manifest."""

    words: str
    path: str
    """For a command."""


def _other_manifest(other: OtherState, manifest: LoadedManifest, state: StateStore, lake: str) -> _Named | None:
    """Describe the manifest of a state. None if it is this manifest, under another name or in a copied state, or if it
    does not exist any more."""
    lineage = other.lineage
    if lineage is None or lineage == state.version.lineage:
        return None
    theirs = _owner_path(other, manifest)
    if theirs is None:
        return _Named(f"the manifest of the state {other.path}", "MANIFEST")
    mine = os.path.abspath(manifest.source)
    if not theirs.exists() or (not manifest.stream and os.path.realpath(theirs) == os.path.realpath(mine)):
        return None
    folder = theirs if theirs.is_dir() else theirs.parent
    if lake.startswith(EMBEDDED) and os.path.realpath(folder) != os.path.realpath(manifest.base_dir):
        return None  # the folder of such a lake is relative to the manifest
    path = os.path.relpath(theirs, manifest.base_dir)
    return _Named(f"the manifest {path}", path)


def _owner_path(other: OtherState, manifest: LoadedManifest) -> Path | None:
    local = other.learned(OWNER)
    if local is not None:
        return Path(os.path.normpath(other.path.parent / local))
    shared = other.learned(SHARED_OWNER)
    if shared is None:
        return None
    return repository_of(Path(os.path.abspath(manifest.source))) / str(json.loads(shared)["path"])


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Compares what this manifest writes with what another state has."""

    state: StateStore
    lake: str
    other: OtherState
    mine: str
    """This manifest, for a command."""
    theirs: _Named

    def overlaps(
        self, collections: Iterable[WrittenHere], unmanaged: UnmanagedSources
    ) -> Iterator[tuple[str, str, str]]:
        """Yield where both write, a collection's name or an operation, a clause that says what, and the remedy."""
        for here in collections:
            files = self._files_of_both(here)
            clauses = [*self._of_head(here), *_files(files), *self._of_images(here)]
            if clauses:
                yield here.desired.key.name, ", ".join(dict.fromkeys(clauses)), self._remedy(here, files)
        for operation in sorted({operation for _, operation in unmanaged.annotations}):
            mine = self._unmanaged_images(operation)
            both = mine & self.other.images_with_set(self.lake, operation) if mine else set()
            if both:
                yield operation, _sets_of(len(both), operation), _REMEDY

    def trashed(self, collections: Iterable[WrittenHere]) -> Iterator[tuple[str, str]]:
        """Yield the name of each collection from which this plan trashes files of the other manifest, and a message."""
        for here in collections:
            gone = {action.recorded.name for action in here.plan.trash}
            both = sorted(gone.intersection(self.other.file_names(self.lake, here.desired.key))) if gone else []
            if both:
                yield (
                    here.desired.key.name,
                    f"this plan trashes {counted(len(both), 'file', 'files')} ({some_of(both)}) that"
                    f" {self.theirs.words} has too; if it still contains them, its next apply uploads them again",
                )

    def _of_head(self, here: WrittenHere) -> Iterator[str]:
        fields = self.other.head_fields(self.lake, here.desired.key)
        both = sorted((fields or set()) & set(here.desired.head.values))
        if both:
            yield f"metadata of the collection ({some_of(both)})"

    def _files_of_both(self, here: WrittenHere) -> list[str]:
        if self.other.head_fields(self.lake, here.desired.key) is None:
            return []
        mine = self._file_names(here)
        return sorted(name for name in self.other.file_names(self.lake, here.desired.key) if name in mine)

    def _remedy(self, here: WrittenHere, files: Sequence[str]) -> str:
        """Say how to end the warning without losing the records of files that only one of the manifests has.

        The records of files that a manifest adopted can go: those of the one that uploaded them are needed to prune.
        """
        if not files:
            return _REMEDY
        import shlex  # only a warning needs it

        key, both = here.desired.key, set(files)
        mine = self._adopted_here(here)
        if both & set(self.other.uploaded_names(self.lake, key)) and both <= mine:
            loser, all_names = self.mine, self._file_names(here)
        else:
            loser, all_names = self.theirs.path, set(self.other.file_names(self.lake, key))
        targets = fitting_targets(key.name, files, all_names)
        options = " ".join(f"--target {shlex.quote(target)}" for target in targets)
        command = f"metalake-sync state forget {shlex.quote(loser)} {options or '--target COLLECTION/FILE ...'}"
        return f"{_REMEDY}, apply the other one, and remove its records of these files only: {command}"

    def _adopted_here(self, here: WrittenHere) -> set[str]:
        planned = {action.file_name for action in here.plan.adopts}
        recorded = {row.name for row in self.state.files.adopted(here.handle)} if here.handle is not None else set()
        return {name for name in planned if name is not None} | recorded

    def _of_images(self, here: WrittenHere) -> Iterator[str]:
        """What both annotate. The images are recognized by their names in the collection, or by their ids."""
        key: CollectionKey = here.desired.key
        for operation, index in here.desired.annotations.items():
            named = set(self.other.names_with_set(self.lake, key, operation)) & index.images().keys()
            number = len(named)
            theirs = self.other.unmanaged_with_set(self.lake, operation)
            if theirs and here.handle is not None:
                images = index.images()
                mine = self.state.files.lake_ids(here.handle)
                number = max(number, sum(lake_id in theirs and name in images for name, lake_id in mine))
            if number:
                yield _sets_of(number, operation)

    def _file_names(self, here: WrittenHere) -> set[str]:
        names = {action.file_name for action in (*here.plan.uploads, *here.plan.adopts)}
        recorded = self.state.files.names(here.handle) if here.handle is not None else ()
        gone = {action.recorded.name for action in here.plan.trash}
        return {name for name in names if name is not None}.union(recorded) - gone

    def _unmanaged_images(self, operation: str) -> set[str]:
        places = [at for at, one in self.state.addresses.with_sets(self.lake) if one == operation]
        return {
            recorded.lake_id
            for place in places
            for recorded in self.state.of_address(self.lake, place).sets(operation).values()
            if recorded.lake_id is not None
        }


def fitting_targets(collection: str, files: Sequence[str], all_names: Iterable[str]) -> list[str]:
    """Return the values of --target that select these files of a collection and no others. Empty: there is no short
    list of them. `files`: sorted."""
    if len(files) <= NAMED_TARGETS:
        return [f"{collection}/{_escaped(name)}" for name in files]
    start = _common_start(files)
    end = _common_start([name[len(start) :][::-1] for name in files])[::-1]
    target = Target(collection, f"{_escaped(start)}*{_escaped(end)}")
    others = set(all_names) - set(files)
    return [] if any(target.takes(collection, name) for name in others) else [str(target)]


def _common_start(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    length = next((number for number, letter in enumerate(first) if not last.startswith(letter, number)), len(first))
    return first[:length]


def _escaped(name: str) -> str:
    """Return a pattern that matches one name only."""
    return re.sub(r"[*?[]", r"[\g<0>]", name)


def _files(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{counted(len(names), 'file', 'files')} ({some_of(names)})"


def _sets_of(number: int, operation: str) -> str:
    return f"{counted(number, 'annotation set', 'annotation sets')} of '{operation}'"
