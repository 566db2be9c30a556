"""Decides which annotation sets a revert sends, and provides their shapes.

Owns: the comparison of the sets before and after a run with the lake's sets of one place and operation. Must not:
decide what becomes of a set that another client changed (`core.diff_sets`), or call the lake: callers pass its sets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from metalake_sync.annotations.entries import AnnotationSpec, Entry, SourceFile
from metalake_sync.annotations.frames import to_pixels
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import labels_of
from metalake_sync.annotations.readback import as_stored, is_as_sent, read_back
from metalake_sync.core.actions import Action, Annotate, RemoveAnnotations, UploadFile
from metalake_sync.core.addresses import FileAt, Place
from metalake_sync.core.base_action import ActionKey
from metalake_sync.core.changes import Reason
from metalake_sync.core.diff_sets import OnDrift, compare_set
from metalake_sync.core.set_changes import RenamedFile, SetComparison
from metalake_sync.core.shapes import EMPTY_SET_DIGEST, ImageRecord, digest_of_shapes, encode_record
from metalake_sync.core.snapshots import AnnotationKind, DesiredSet, RecordedSet, RemoteSet, SetMerge
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.set_merge import merge_with_lake
from metalake_sync.state.records_by_place import PlaceRecords
from metalake_sync.state.runs import RunChange
from metalake_sync.state.store import StateStore

SizeOf = Callable[[FileAt], Size | None]
"""Returns the size of an image in pixels, or None if it can't be read."""


@dataclass(frozen=True, slots=True)
class SentByRun:
    """The set that a run sent for one image and operation: its first and its last action."""

    first: RunChange
    last: RunChange

    @property
    def name(self) -> str:
        return self.first.row.file or ""


@dataclass(slots=True)
class SetReverts:
    """Reverts the sets of one place and operation. Close `index`: its shapes are in a temporary file."""

    state: StateStore
    records: PlaceRecords
    place: Place
    operation: str
    kind: AnnotationKind
    on_drift: OnDrift
    base_dir: Path
    size_of: SizeOf
    changed_later: Mapping[str, str]
    """The last later run that sent the set, by name of the image."""
    index: AnnotationIndex
    """The sets to record. The annotation stage reads the shapes from it."""
    compared: dict[ActionKey, ComparedSet]
    """For `ShownSetsFromHistory`."""
    left_out: Callable[[str, str], None]
    """Called with a clause and the name of an image whose set is not reverted."""
    actions: list[Annotate | RemoveAnnotations] = field(default_factory=list)
    as_before: list[str] = field(default_factory=list)
    """Images whose set is in the lake as it was before the run."""
    unverified: list[str] = field(default_factory=list)
    """Images whose set can't be compared with the lake's, so that the records were trusted."""
    not_compared: list[str] = field(default_factory=list)
    """Images whose set the run replaced without reading it."""

    def decide(self, sent: SentByRun, at: FileAt, shapes: Sequence[Any] | None, path: str | None = None) -> None:
        """Decide about one image.

        `shapes`: the lake's set, in the form of uploads. None: the lake does not tell, so the record is trusted.
        `path`: of the local image, relative to the manifest's folder. None: it is not recorded.
        """
        values = self.state.runs.values_of(sent.first)
        before, after = values.set_before, self.state.runs.values_of(sent.last).set_after
        if before is None:
            clause = "the history does not have the shapes before the run"
            self.left_out(clause, sent.name)
            return
        before = replace(before, image=sent.name)
        there = self._lake_set(sent.name, shapes)
        if self._is_alike(before, there.shapes, at):
            self.as_before.append(sent.name)
            return
        alike = self._is_alike(after, there.shapes, at) if after is not None else False
        if alike is False and (sent.name in self.changed_later or shapes is None):
            later = self.changed_later.get(sent.name)
            self.left_out(f"run {later} changed the set again" if later else "the set was changed since", sent.name)
            return
        if alike is None or shapes is None:
            self.unverified.append(sent.name)
        if alike is False and self.on_drift == "merge":
            image = os.path.join(self.base_dir, path) if path is not None else ""
            there = replace(there, merge=merge_with_lake(after, before, there.shapes, self.kind, image))
        to_send = self._sendable(before, at)
        if to_send is None:
            self.left_out("the size of the image can't be read, so its fractions can't be sent", sent.name)
            return
        record = before if values.set_confirmed is None else replace(values.set_confirmed, image=sent.name)
        known = RecordedSet(
            self.operation, self.kind, _digest(after, self.kind) if after else EMPTY_SET_DIGEST, there.shape_count
        )
        decision = compare_set(
            at,
            self._desired(before),
            known,
            there if there.shape_count else None,
            drifted=alike is False,
            on_drift=self.on_drift,
        )
        if decision.action is None:
            self.left_out(f"another client changed the set, and 'on_drift: {self.on_drift}' keeps it", sent.name)
            return
        action = replace(decision.action, reason=Reason.REQUESTED)
        if alike is not False and not self._is_record(sent.name, there.shapes, at):
            # The record is not the lake's set, as after a merge. So the history gets the lake's set.
            action = replace(action, theirs=there.shapes)
        if isinstance(action, Annotate):
            merge = action.merge
            if merge is None and to_send is not record:
                merge = SetMerge(to_send, _digest(to_send, self.kind), 0, is_theirs=False, restored=True)
            action = replace(action, annotations=self._desired(record), merge=merge)
            to_send = merge.shapes if merge is not None else to_send
            self._keep(sent.name, record, to_send)
        self.actions.append(action)
        if not values.compared:
            self.not_compared.append(sent.name)
        has_fractions = before.normalized or (after is not None and after.normalized)
        self.compared[action.key] = ComparedSet(
            sent,
            there.shapes if alike is False else None,
            to_send if to_send is not before else None,
            self.kind,
            self.size_of(at) if has_fractions else None,
            path,
        )

    def _lake_set(self, name: str, shapes: Sequence[Any] | None) -> RemoteSet:
        """The lake's set. `shapes`: None returns the recorded one."""
        if shapes is None:
            base = self.records.base(self.operation, name) or ImageRecord(name, ())
            stored = as_stored(base, self.kind, None)
            return RemoteSet("", len(base.shapes), as_desired=False, shapes=stored)
        if not shapes:
            return RemoteSet(EMPTY_SET_DIGEST, 0, as_desired=False, shapes=ImageRecord(name, ()))
        digest, back = read_back(shapes)
        return RemoteSet(digest, len(shapes), as_desired=False, shapes=back)

    def _sendable(self, record: ImageRecord, at: FileAt) -> ImageRecord | None:
        """The set in the unit of the operation's page. None: the size of the image can't be read."""
        if not record.normalized or not record.shapes or self.index.normalized:
            return record
        size = self.size_of(at)
        return to_pixels(record, size) if size is not None else None

    def _desired(self, record: ImageRecord) -> DesiredSet:
        return DesiredSet(self.operation, self.kind, _digest(record, self.kind), len(record.shapes))

    def _keep(self, name: str, ours: ImageRecord, sent: ImageRecord) -> None:
        """Store the set to record, and the labels of the set to send."""
        file = SourceFile(Path(), f"history of {name}", Path())
        self.index.by_image[name] = self.index.store.put(ours, Entry(ours, ""), file)
        self.index.add_labels(labels_of((*ours.shapes, *sent.shapes)))

    def _is_record(self, name: str, there: ImageRecord | None, at: FileAt) -> bool:
        base = self.records.base(self.operation, name) or ImageRecord(name, ())
        return self._is_alike(base, there, at) is not False

    def _is_alike(self, one: ImageRecord, there: ImageRecord | None, at: FileAt) -> bool | None:
        """Whether the lake has a set. None: they can't be compared."""
        if there is None:
            return None
        if not one.shapes or not there.shapes:
            return not one.shapes and not there.shapes
        if one.normalized and there.normalized:
            return as_stored(one, self.kind, None).shapes == there.shapes
        if one.normalized:
            size = self.size_of(at)
            if size is None:
                return None
            one = to_pixels(one, size)
        return is_as_sent(one, self.kind, there, "")


def _digest(record: ImageRecord, kind: AnnotationKind) -> str:
    """The digest of a set as an annotation source has it."""
    if not record.shapes:
        return EMPTY_SET_DIGEST
    return digest_of_shapes(kind.value.encode() + encode_record(replace(record, image="")))


def empty_index(operation: str, kind: AnnotationKind, *, normalized: bool) -> AnnotationIndex:
    """Return an index for the sets of one operation."""
    return AnnotationIndex([AnnotationSpec(operation, kind, (), Path(), "", normalized=normalized)])


# What the plan shows.


@dataclass(frozen=True, slots=True)
class ComparedSet:
    """A set that a revert sends, beside the set that it replaces."""

    run: SentByRun
    theirs: ImageRecord | None
    """The set of another client that is replaced. None: the set that the run sent is replaced."""
    sent: ImageRecord | None
    """The set that is sent. None: the set before the run."""
    kind: AnnotationKind
    size: Size | None
    """Of the image, if a set has fractions."""
    path: str | None
    """The local path of the image, relative to the manifest's folder. None: it is not recorded."""


@dataclass(frozen=True, slots=True)
class ShownSetsFromHistory:
    """A `ShownSets`: reads the sets from the history when a plan is shown."""

    state: StateStore
    compared: Mapping[ActionKey, ComparedSet]

    def renamed(self, action: UploadFile) -> RenamedFile | None:
        """A revert renames nothing."""
        return None

    def is_comparable(self, action: Action) -> bool:
        return action.key in self.compared

    def compare(self, action: Action) -> SetComparison:
        from metalake_sync.core.shape_diff import diff
        from metalake_sync.core.shape_values import UnknownImageSize

        one = self.compared[action.key]
        values_of = self.state.runs.values_of
        after = values_of(one.run.last).set_after
        sent = one.sent if one.sent is not None else values_of(one.run.first).set_before
        if isinstance(action, RemoveAnnotations):
            sent = ImageRecord(one.run.name, ())
        there = one.theirs if one.theirs is not None else after
        if there is None or sent is None:
            return SetComparison("unknown")
        there, sent = (as_stored(record, one.kind, one.size) for record in (there, sent))
        try:
            ours = diff(there, sent)
            if one.theirs is None:
                return SetComparison("known", ours)
            by_others = diff(as_stored(after, one.kind, one.size), there) if after is not None else None
            return SetComparison("lake", ours, by_others)
        except UnknownImageSize:
            return SetComparison("unknown")

    def path(self, action: Action) -> str | None:
        """Return the local path of the image of a set, relative to the manifest's folder. None: it is not recorded."""
        one = self.compared.get(action.key)
        return one.path if one is not None else None


def sent_sets(changes: Iterable[RunChange]) -> dict[str, dict[str, SentByRun]]:
    """Return the sets that the actions of one place sent: operation → name → set."""
    found: dict[str, dict[str, SentByRun]] = {}
    for change in changes:
        if change.operation is not None and change.row.file is not None:
            own = found.setdefault(change.operation, {})
            before = own.get(change.row.file)
            own[change.row.file] = SentByRun(before.first if before is not None else change, change)
    return found
