"""Finds, for a plan that is shown, the shapes that each action on an annotation set changes.

Owns: where the sets before and after the action come from. Must not: decide anything, or ask the lake
(`planning.lake_sets` reads the lake's sets, and `core.diff_sets` decides about them). Sets are read one by one, when a
plan is shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from metalake_sync.core.actions import Action, Annotate, RemoveAnnotations, UploadFile
from metalake_sync.core.addresses import Address, Place
from metalake_sync.core.changes import Reason
from metalake_sync.core.set_changes import RenamedFile, SetComparison
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import CollectionKey, RecordedFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.unmanaged_sources import UnmanagedSources
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.records_by_place import PlaceRecords
from metalake_sync.state.store import StateStore


@dataclass(slots=True)
class ShownSetsFromState:
    """A `ShownSets`, for as long as the state and the sources are open."""

    state: StateStore
    lake: str
    """The identity of the lake in the state."""
    base_dir: Path
    desired: Mapping[CollectionKey, DesiredCollection]
    unmanaged: UnmanagedSources
    looked: bool
    """Whether the planner read the lake's sets, so that a set without a record does not exist."""
    _handles: dict[CollectionKey, CollectionHandle] | None = None

    def is_comparable(self, action: Action) -> bool:
        """Whether an action changes a set that the lake has, and the shapes of both are known. False: it has no set,
        its image is uploaded with it, or another client changed the set and the plan did not read it."""
        if not isinstance(action, Annotate | RemoveAnnotations):
            return False
        if action.theirs is not None:
            return True
        if action.reason is Reason.DRIFTED or action.overwrites:
            return False
        return not (action.at.managed and action.at.unique_name is None)

    def compare(self, action: Action) -> SetComparison:
        """Compare the set that an action sends or clears with its base. The action must be comparable."""
        assert isinstance(action, Annotate | RemoveAnnotations), "other actions are not comparable"
        if action.theirs is not None:
            return self._compare_with_theirs(action, action.theirs)
        at, operation = action.at, action.annotations.operation
        records = self._records(at.place)
        base = records.base(operation, at.name) if records is not None else None
        if base is None:
            has_record = action.reason in (Reason.ANNOTATIONS_CHANGED, Reason.REMOVED_FROM_MANIFEST)
            was_absent = isinstance(action, Annotate) and action.was_absent
            return SetComparison("none" if was_absent or (self.looked and not has_record) else "unknown")
        after = ImageRecord(at.name, (), base.normalized)
        if isinstance(action, Annotate):
            after = self._wanted(at.place, operation, at.name)
        return self._compared(base, after, at.place)

    def path(self, action: Action) -> str | None:
        """Return the local path of the image of a set, relative to the manifest's folder. None: it is not recorded, or
        the image is uploaded with its set."""
        if not isinstance(action, Annotate | RemoveAnnotations) or action.at.unique_name is None:
            return None
        return self._path(action.at.place, action.at.name)

    def _compare_with_theirs(self, action: Annotate | RemoveAnnotations, theirs: ImageRecord) -> SetComparison:
        """Compare the set that is sent with the set of another client, and theirs with the one confirmed last."""
        from metalake_sync.annotations.readback import as_stored
        from metalake_sync.core.shape_diff import diff
        from metalake_sync.core.shape_values import UnknownImageSize
        from metalake_sync.sources.image_headers import image_size

        at, operation, kind = action.at, action.annotations.operation, action.annotations.kind
        records = self._records(at.place)
        base = records.base(operation, at.name) if records is not None else None
        if isinstance(action, RemoveAnnotations):
            sent = ImageRecord(at.name, ())
        elif action.merge is not None:
            sent = action.merge.shapes
        else:
            sent = self._wanted(at.place, operation, at.name)
        path = self._path(at.place, at.name) if sent.normalized or (base is not None and base.normalized) else None
        size = image_size(os.path.join(self.base_dir, path)) if path is not None else None
        try:
            ours = diff(theirs, as_stored(sent, kind, size))
            by_others = diff(as_stored(base, kind, size), theirs) if base is not None else None
        except UnknownImageSize:
            return SetComparison("unknown")
        return SetComparison("lake", ours, by_others)

    def _wanted(self, place: Place, operation: str, name: str) -> ImageRecord:
        if isinstance(place, Address):
            return self.unmanaged.annotations[place, operation].record(name)
        return self.desired[place].record(operation, name)

    def _compared(self, base: ImageRecord, after: ImageRecord, place: Place) -> SetComparison:
        from metalake_sync.core.shape_diff import diff
        from metalake_sync.core.shape_values import UnknownImageSize
        from metalake_sync.sources.image_headers import image_size

        size = None
        if base.normalized or after.normalized:
            path = self._path(place, base.image)
            size = image_size(os.path.join(self.base_dir, path)) if path is not None else None
        try:
            return SetComparison("known", diff(base, after, size))
        except UnknownImageSize:
            return SetComparison("unknown")

    def renamed(self, action: UploadFile) -> RenamedFile | None:
        """Return what a renamed file keeps. None: the file is not renamed, or its old name has no record."""
        old = self._recorded(action.collection, action.renamed_from) if action.renamed_from is not None else None
        if old is None:
            return None
        wanted = action.file.annotations
        same = (one for one, known in old.annotations.items() if one in wanted and wanted[one].digest == known.digest)
        lost = {
            one: known.shape_count
            for one, known in old.annotations.items()
            if known.shape_count and (one not in wanted or not wanted[one].shape_count)
        }
        return RenamedFile(old.metadata_digest == action.file.metadata.digest, tuple(same), lost)

    # Records.

    def _handle(self, key: CollectionKey) -> CollectionHandle | None:
        if self._handles is None:
            recorded = self.state.collections.of_lake(self.lake)
            self._handles = {one: handle for one, (handle, _) in recorded.items()}
        return self._handles.get(key)

    def _records(self, place: Place) -> PlaceRecords | None:
        if isinstance(place, Address):
            return self.state.of_address(self.lake, place)
        handle = self._handle(place)
        return self.state.of_collection(handle) if handle is not None else None

    def _recorded(self, key: CollectionKey, name: str) -> RecordedFile | None:
        handle = self._handle(key)
        return self.state.files.named(handle, [name]).get(name) if handle is not None else None

    def _path(self, place: Place, name: str) -> str | None:
        """The local path of a recorded file, relative to the manifest's folder. None for an unmanaged file."""
        handle = self._handle(place) if not isinstance(place, Address) else None
        return dict(self.state.files.paths(handle, [name])).get(name) if handle is not None else None
