"""Warns of another manifest that writes the same as this one: a field of a head, a file or an annotation set.

The evidence is the states of other manifests on this machine, beside this manifest's own state. Reading them asks
nothing of the lake or of a store. docs/decisions/0023-two-manifests.md explains why the lake has no mark.

Owns: which states count as those of other manifests, and the notes. Must not: stop a run. Each manifest treats what
another one wrote as written by another client, so nothing is overwritten without the usual approval.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from metalake_sync.core.notes import Note, NoteCode, counted, some_of
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.manifest.remote_models import EMBEDDED
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.repositories import repository_of
from metalake_sync.planning.state_ownership import OWNER, SHARED_OWNER
from metalake_sync.planning.unmanaged_sources import UnmanagedSources
from metalake_sync.state.backends.file import STATE_FOLDER
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.other_states import OtherState, open_other_state, other_state_paths
from metalake_sync.state.store import StateStore

_REMEDY = "keep it in one of them, and remove the records of the other with 'metalake-sync state forget'"


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
    """Return a note for each collection, and each operation of unmanaged images, that another manifest writes too."""
    folders = {manifest.base_dir / STATE_FOLDER, state.path.parent}
    notes: list[Note] = []
    for path in other_state_paths(folders, state.path):
        try:
            with open_other_state(path) as other:
                named = _other_manifest(other, manifest, state, lake)
                if named is not None:
                    found = _Comparison(state, lake, other)
                    notes += [
                        Note(NoteCode.ANOTHER_MANIFEST, f"{named} also writes this: {clause}; {_REMEDY}", where)
                        for where, clause in found.overlaps(collections, unmanaged)
                    ]
        except (sqlite3.Error, ValueError, OSError):
            continue
    return notes


def _other_manifest(other: OtherState, manifest: LoadedManifest, state: StateStore, lake: str) -> str | None:
    """Describe the manifest of a state. None if it is this manifest, under another name or in a copied state, or if it
    does not exist any more."""
    lineage = other.lineage
    if lineage is None or lineage == state.version.lineage:
        return None
    theirs = _owner_path(other, manifest)
    if theirs is None:
        return f"the manifest of the state {other.path}"
    mine = os.path.abspath(manifest.source)
    if not theirs.exists() or (not manifest.stream and os.path.realpath(theirs) == os.path.realpath(mine)):
        return None
    folder = theirs if theirs.is_dir() else theirs.parent
    if lake.startswith(EMBEDDED) and os.path.realpath(folder) != os.path.realpath(manifest.base_dir):
        return None  # the folder of such a lake is relative to the manifest
    return f"the manifest {os.path.relpath(theirs, manifest.base_dir)}"


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

    def overlaps(self, collections: Iterable[WrittenHere], unmanaged: UnmanagedSources) -> Iterator[tuple[str, str]]:
        """Yield where both write, a collection's name or an operation, and a clause that says what."""
        for here in collections:
            clauses = [*self._of_collection(here), *self._of_images(here)]
            if clauses:
                yield here.desired.key.name, ", ".join(dict.fromkeys(clauses))
        for operation in sorted({operation for _, operation in unmanaged.annotations}):
            mine = self._unmanaged_images(operation)
            both = mine & self.other.images_with_set(self.lake, operation) if mine else set()
            if both:
                yield operation, _sets_of(len(both), operation)

    def _of_collection(self, here: WrittenHere) -> Iterator[str]:
        key = here.desired.key
        fields = self.other.head_fields(self.lake, key)
        if fields is None:
            return
        both = sorted(fields & set(here.desired.head.values))
        if both:
            yield f"metadata of the collection ({some_of(both)})"
        mine = self._file_names(here)
        files = [name for name in self.other.file_names(self.lake, key) if name in mine]
        if files:
            yield f"{counted(len(files), 'file', 'files')} ({some_of(sorted(files))})"

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


def _sets_of(number: int, operation: str) -> str:
    return f"{counted(number, 'annotation set', 'annotation sets')} of '{operation}'"
