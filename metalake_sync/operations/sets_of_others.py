"""The annotation sets of the lake that another client changed and that the manifest's sources do not have.

Owns: which sets these are. Must not: write files, or change the state or the lake.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.readback import as_stored, read_back
from metalake_sync.core.set_changes import SetChanges, set_changes
from metalake_sync.core.shape_diff import diff
from metalake_sync.core.shapes import EMPTY_SET_DIGEST, ImageRecord
from metalake_sync.core.snapshots import Origin, RecordedSet
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.file_sources import walk_files
from metalake_sync.planning.lake_listing import view_lake
from metalake_sync.planning.lake_sets import LakeSetComparer
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.listings import annotations_of
from metalake_sync.sources.image_headers import image_size
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore


@dataclass(frozen=True, slots=True)
class SetOfOthers:
    """A set of the lake that another client changed."""

    name: str
    theirs: ImageRecord
    """In pixels."""
    size: tuple[int, int] | None
    """Of the image, in pixels."""
    changes: SetChanges


class CollectionSets:
    """The sets of one collection: the source's, the recorded ones and the lake's."""

    def __init__(
        self,
        desired: DesiredCollection,
        state: StateStore,
        client: LakeClient,
        handle: CollectionHandle | None,
        base_dir: Path,
        elsewhere: Collection[str],
    ) -> None:
        """`elsewhere`: operations that the manifest also sends to unmanaged files."""
        self.desired = desired
        self.state = state
        self._client = client
        self._handle = handle
        self._base_dir = base_dir
        self._elsewhere = elsewhere
        self.files: list[tuple[str, str, str]] = []
        """Name in the collection, path relative to the source, and path that opens the file."""
        if desired.annotations:
            self.files = list(walk_files([*desired.folders, *desired.files]))
        self.paths = {name: path for name, _, path in self.files}

    def named(self, file: str) -> set[str]:
        """The names of a file that is given by its name, as COLLECTION/NAME, or by its path."""
        spelled = (file, file.removeprefix(f"{self.desired.key.name}/"))
        places = (os.path.abspath(file), os.path.abspath(self._base_dir / file))
        found = {name for name in spelled if name in self.paths}
        return found or {name for name, path in self.paths.items() if os.path.abspath(path) in places}

    def changed_by_others(self, operation: str, chosen: set[str] | None, notes: list[str]) -> Iterator[SetOfOthers]:
        """Yield the sets of one operation that another client changed and that the source does not have, by name.

        `chosen`: only these files. None: all files.
        """
        index = self.desired.annotations.get(operation)
        view = view_lake(self._client, self.desired.key, None, full=True)
        if index is None or view.lake_id is None or view.listing is None or (chosen is not None and not chosen):
            return
        recorded = self.state.annotation_sets.of_operation(self._handle, operation) if self._handle is not None else {}
        comparer = LakeSetComparer(self.desired, self.state, self._handle, self._base_dir)
        found: dict[str, Sequence[object]] = {}
        with_shapes: set[str] = set()
        for unique_name, shapes in annotations_of(
            self._client, view.lake_id, file_count=view.count or 0, operations=[operation]
        ):
            name = view.listing.name_of(unique_name)
            if name is None or name not in self.paths or (chosen is not None and name not in chosen):
                continue
            with_shapes.add(name)
            known = recorded.get(name)
            if self._is_left_alone(index, name, known):
                continue
            there = comparer.compare(name, os.path.abspath(self.paths[name]), operation, known, shapes)
            # A record without shapes, as earlier versions made it, does not show who changed a set.
            unknown = known is not None and known.digest != EMPTY_SET_DIGEST and there.as_recorded is None
            if not (there.as_desired or there.as_recorded or unknown):
                found[name] = shapes
        for name, image in index.images().items():
            known = recorded.get(name)
            is_chosen = name in self.paths and (chosen is None or name in chosen)
            was_sent = known is not None and known.digest != EMPTY_SET_DIGEST
            if is_chosen and image.shape_count and was_sent and name not in with_shapes and view.listing.id_of(name):
                found[name] = ()
        for name in sorted(found):
            one = self._found(index, name, found[name], notes)
            if one is not None:
                yield one

    def _is_left_alone(self, index: AnnotationIndex, name: str, known: RecordedSet | None) -> bool:
        """Whether the manifest leaves the set of an image alone, because no source names the image."""
        if name in index.images():
            return False
        if index.mode == "append":
            return True
        if known is not None:
            return False
        file = self.state.files.named(self._handle, [name]).get(name) if self._handle is not None else None
        return file is None or file.origin is Origin.ADOPTED or index.operation in self._elsewhere

    def _found(
        self, index: AnnotationIndex, name: str, shapes: Sequence[object], notes: list[str]
    ) -> SetOfOthers | None:
        _, theirs = read_back(shapes)
        size = image_size(self.paths[name])
        ours = index.record(name) if name in index.images() else ImageRecord(name, ())
        where = f"{self.desired.key}/{name}"
        if theirs is None:
            notes.append(f"{where}: the lake's set of '{index.operation}' has an unknown form and is not accepted")
            return None
        if size is None and ours.normalized:
            notes.append(f"{where}: the size of the image can't be read, so the lake's set is not accepted")
            return None
        theirs = replace(theirs, image=name)
        return SetOfOthers(name, theirs, size, set_changes("known", diff(as_stored(ours, index.kind, size), theirs)))
