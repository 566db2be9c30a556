"""Compares annotation sets of the lake with the source's sets and with the base sets, and reads those that a plan may
overwrite.

Owns: the comparison, which a full refresh and `annotations accept` use too, and which sets are read without a full
refresh. Must not: decide what becomes of a set (`core.diff_sets`), or combine sets (`set_merge`).

`SetReader` reads sets by operation, and only for operations in which a set changes. One call returns the sets of 250
images of the collection.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.core.diff import CollectionRules
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.shapes import EMPTY_SET_DIGEST, ImageRecord
from metalake_sync.core.snapshots import RecordedFile, RecordedSet, RemoteFile, RemoteSet
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.lake_listing import LakeView
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.planning.change_detection import Candidate
    from metalake_sync.remote.client import LakeClient

PAGES_LIMIT = 200
"""The number of pages up to which the sets of one operation are read, unless the refresh is full: 50,000 images."""

NO_SHAPES = RemoteSet("", 0, as_desired=False)


@dataclass(frozen=True, slots=True)
class LakeSetComparer:
    """Compares sets of the managed images of one collection."""

    desired: DesiredCollection | None
    """None if the manifest does not have the collection."""
    state: StateStore
    handle: CollectionHandle | None
    """None for a collection without records."""
    base_dir: Path

    def compare(
        self, name: str, path: str, operation: str, known: RecordedSet | None, shapes: Sequence[object]
    ) -> RemoteSet:
        """Compare one set of the lake.

        `name`, `path`: of the image, in the collection and from the manifest's folder. `known`: the recorded set.
        `shapes`: the lake's, in the form of uploads.
        """
        from metalake_sync.annotations.readback import is_as_sent, read_back
        from metalake_sync.planning.set_merge import merge_with_lake

        digest, back = read_back(shapes)
        image = os.path.join(self.base_dir, path)
        ours = self._source(operation, name)
        base = self._base(operation, name, known)
        as_recorded: bool | None = None
        if known is not None and known.seen is not None:
            as_recorded = digest == known.seen
        elif known is not None and base is not None:
            as_recorded = is_as_sent(base, known.kind, back, image)
        elif known is not None and (known.kept is not None or known.digest == EMPTY_SET_DIGEST):
            as_recorded = False
        found = RemoteSet(digest, len(shapes), as_desired=False, as_recorded=as_recorded)
        if ours is None or self.desired is None:
            return found if as_recorded else replace(found, shapes=back)
        index = self.desired.annotations[operation]
        if ours.shapes and is_as_sent(ours, index.kind, back, image):
            return replace(found, as_desired=True)
        if as_recorded:
            return found
        may_merge = self.desired.may_merge(operation, name)
        merge = merge_with_lake(base, ours, back, index.kind, image) if may_merge else None
        return replace(found, shapes=back, merge=merge)

    def _source(self, operation: str, name: str) -> ImageRecord | None:
        """The source's set; an empty one for an image that the source does not name and whose set is cleared."""
        index = self.desired.annotations.get(operation) if self.desired is not None else None
        if index is None:
            return None
        if name in index.images():
            return index.record(name)
        return ImageRecord(name, ()) if index.mode == "replace" else None

    def _base(self, operation: str, name: str, known: RecordedSet | None) -> ImageRecord | None:
        """The shapes that the lake confirmed last, as the state or the source has them."""
        if known is None or self.handle is None:
            return None
        base = self.state.annotation_sets.base(self.handle, name, operation)
        if base is None and known.kept is None and self.desired is not None:
            base = self.desired.recorded_shapes(operation, name, known.digest)
        return base


@dataclass(slots=True)
class SetReader:
    """Reads the sets of one collection that the plan may overwrite."""

    client: LakeClient
    view: LakeView
    rules: CollectionRules
    comparer: LakeSetComparer
    emit: EventSink
    elsewhere: Set[str] = frozenset()
    """Operations that have sets of unmanaged files. A plan may clear such a set first, so that the same set of a
    managed file has to be sent again."""
    notes: list[Note] = field(default_factory=list)

    def read(
        self, candidates: Sequence[Candidate], files: Mapping[str, tuple[RecordedFile | None, RemoteFile]]
    ) -> dict[str, RemoteFile]:
        """Return the lake's files whose sets were read, with these sets, by name.

        `files`: the record and the lake's file of candidates that the lake has, by name.
        """
        if self.view.lake_id is None:
            return {}
        read: dict[str, RemoteFile] = {}
        by_operation: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            if candidate.name in files:
                for operation in self._changing(candidate, files[candidate.name][0]):
                    by_operation.setdefault(operation, []).append(candidate)
        for operation, changing in by_operation.items():
            if self._is_too_large(operation, len(changing)):
                continue
            unknown = 0
            for candidate, found in self._sets(operation, changing, files):
                known, remote = files[candidate.name]
                before = read.get(candidate.name, remote)
                recorded = known.annotations.get(operation) if known is not None else None
                if recorded is not None and found.shape_count and found.as_recorded is None:
                    unknown += 1
                    found = replace(found, as_recorded=True)
                read[candidate.name] = replace(
                    before,
                    sets={**(before.sets or {}), operation: found},
                    sets_read=frozenset({*(before.sets_read or ()), operation}),
                )
            if unknown:
                self._note_unverified(operation, unknown, "an earlier version recorded them without their shapes")
        return read

    def _changing(self, candidate: Candidate, known: RecordedFile | None) -> Iterator[str]:
        """The operations in which the plan may send another set than the lake has."""
        recorded = known.annotations if known is not None else {}
        for operation, gone in recorded.items():
            if operation not in self.rules.operations and gone.digest != EMPTY_SET_DIGEST:
                yield operation  # The manifest dropped the operation.
        for operation, policy in self.rules.operations.items():
            wanted, before = candidate.annotations.get(operation), recorded.get(operation)
            if not policy.known or (wanted is None and (before is None or policy.mode == "append")):
                continue
            digest = wanted.digest if wanted is not None else EMPTY_SET_DIGEST
            if before is None:
                if digest != EMPTY_SET_DIGEST and operation not in self.elsewhere:
                    yield operation
            elif before.digest != digest:
                yield operation

    def _is_too_large(self, operation: str, changing: int) -> bool:
        from metalake_sync.remote.listings import PAGE_SIZE

        pages = -(-(self.view.count or 0) // PAGE_SIZE)
        if pages <= PAGES_LIMIT:
            return False
        self._note_unverified(operation, changing, f"reading the collection would take {pages} calls")
        return True

    def _note_unverified(self, operation: str, count: int, why: str) -> None:
        message = (
            f"{counted(count, 'changed set', 'changed sets')} of '{operation}' were not compared with the lake, because"
            f" {why}; '--refresh full' compares all sets"
        )
        self.notes.append(Note(NoteCode.SETS_UNVERIFIED, message, str(self.rules.key)))

    def _sets(
        self,
        operation: str,
        changing: Sequence[Candidate],
        files: Mapping[str, tuple[RecordedFile | None, RemoteFile]],
    ) -> Iterator[tuple[Candidate, RemoteSet]]:
        from metalake_sync.remote.listings import annotations_of

        self.emit(Observing(f"reading {operation} back from {self.rules.key}"))
        left = {files[candidate.name][1].unique_name: candidate for candidate in changing}
        there = annotations_of(
            self.client, self.view.lake_id or "", file_count=self.view.count or 0, operations=[operation]
        )
        for unique_name, shapes in there:
            candidate = left.pop(unique_name, None)
            if candidate is None:
                continue
            known = files[candidate.name][0]
            recorded = known.annotations.get(operation) if known is not None else None
            yield candidate, self.comparer.compare(candidate.name, candidate.path, operation, recorded, shapes)
            if not left:
                return
        for candidate in left.values():
            yield candidate, NO_SHAPES
