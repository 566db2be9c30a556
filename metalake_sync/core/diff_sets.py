"""The part of the truth table for annotation sets: one decision for each image and operation.

Owns: the decision, `compare_set`, for managed and unmanaged images alike, and within it the decision about a conflict
with another client (`_decide_conflict`, by `on_drift`). Must not: read the shapes of a set; it compares digests.
Longer than 300 lines, because the decision and its reasons are one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from metalake_sync.core.actions import Annotate, Reason, RemoveAnnotations, SetAction
from metalake_sync.core.addresses import FileAt
from metalake_sync.core.changes import Change, shapes_of
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.shapes import EMPTY_SET_DIGEST, ImageRecord
from metalake_sync.core.snapshots import (
    AnnotationKind,
    CollectionKey,
    DesiredFile,
    DesiredSet,
    KeptSet,
    Origin,
    RecordedFile,
    RecordedSet,
    RemoteFile,
    RemoteSet,
    SetMerge,
)
from metalake_sync.lazy_dataclass import dataclass

OnDrift: TypeAlias = Literal["ask", "keep", "merge", "overwrite"]
"""What happens to a set in the lake that another client changed.

- ask: the manifest's set is sent; the plan shows that it overwrites, and needs approval.
- keep: the lake's set stays.
- merge: both are combined shape by shape. A shape that both sides changed needs approval, as with ask.
- overwrite: the manifest's set is sent.
"""


class SetKey(NamedTuple):
    """One annotation set of a plan."""

    collection: str
    """The collection's name. For an unmanaged file, its address as plans show it."""
    file: str
    """The name in the collection, or the entry of the source."""
    operation: str


@dataclass(frozen=True, slots=True)
class ConflictDecision:
    """What a user decided about a conflict, in place of `on_drift`. It holds for the two sets that the user saw."""

    on_drift: OnDrift
    theirs: str | None = None
    """The digest of the lake's set. None: whatever the lake has."""
    ours: str | None = None
    """The digest of the source's set. None: whatever the source has."""

    def holds_for(self, wanted: DesiredSet, there: RemoteSet | None) -> bool:
        """Return whether the conflict is the one that was decided. `there`: None for a set without shapes."""
        theirs = there.digest if there is not None and there.shape_count else EMPTY_SET_DIGEST
        return self.theirs in (None, theirs) and self.ours in (None, wanted.digest)


Decisions: TypeAlias = Mapping[SetKey, ConflictDecision]
"""The conflicts of a plan that a user decided."""

NO_DECISIONS: Decisions = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class OperationPolicy:
    """One annotation operation of a collection, or of an address."""

    kind: AnnotationKind
    mode: Literal["replace", "append"] = "replace"
    known: bool = True
    """Whether the operation's source could be read."""
    on_drift: OnDrift = "ask"
    decided: Mapping[str, ConflictDecision] = field(default_factory=dict)
    """File → the decision about its set, in place of `on_drift`."""

    def on_drift_for(self, file: str, wanted: DesiredSet, there: RemoteSet | None) -> OnDrift:
        """Return what happens to one set in conflict."""
        decision = self.decided.get(file)
        return decision.on_drift if decision is not None and decision.holds_for(wanted, there) else self.on_drift


def decided_merge(decisions: Decisions, key: SetKey) -> bool:
    """Return whether a user decided to merge a set."""
    return key in decisions and decisions[key].on_drift == "merge"


def decisions_of(decisions: Decisions, collection: str, operation: str) -> dict[str, ConflictDecision]:
    """Return file → decision for one operation. `collection`: as in `SetKey`."""
    return {
        key.file: decision
        for key, decision in decisions.items()
        if key.collection == collection and key.operation == operation
    }


@dataclass(frozen=True, slots=True)
class SetDecision:
    """The decision about one set. Without a field, nothing is sent and the record is right."""

    action: SetAction | None = None
    settled: DesiredSet | None = None
    """The lake has the set as the manifest wants it: it is recorded, and nothing is sent."""
    kept: KeptSet | None = None
    """Another client's set stays in the lake."""
    notes: tuple[Note, ...] = ()


@dataclass(slots=True)
class SetDecisions:
    """The decisions about the sets of one file."""

    actions: list[SetAction] = field(default_factory=list)
    settled: list[DesiredSet] = field(default_factory=list)
    kept: list[KeptSet] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def take(self, decision: SetDecision) -> None:
        if decision.action is not None:
            self.actions.append(decision.action)
        if decision.settled is not None:
            self.settled.append(decision.settled)
        if decision.kept is not None:
            self.kept.append(decision.kept)
        self.notes += decision.notes


RIGHT = SetDecision()


@dataclass(frozen=True, slots=True)
class SeenSet:
    """An unmanaged image whose set in the lake differs from the source."""

    at: FileAt
    there: RemoteSet | None
    """The lake's set, or None if it has no shapes."""


def new_sets(
    key: CollectionKey,
    operations: Mapping[str, OperationPolicy],
    desired: DesiredFile,
    remote: RemoteFile | None,
    reason: Reason,
) -> SetDecisions:
    """Decide about each set with shapes of a file that has no recorded set.

    `remote`: the lake's file, or None if the file is not uploaded yet.
    """
    decisions = SetDecisions()
    at = FileAt(key, desired.name, remote.unique_name if remote else None)
    for wanted in desired.annotations.values():
        if wanted.digest == EMPTY_SET_DIGEST:
            continue
        there = _with_shapes((remote.sets or {}).get(wanted.operation)) if remote is not None else None
        if there is None:
            was_absent = remote is not None and _was_read(remote, wanted.operation)
            decisions.take(SetDecision(Annotate(at, wanted, reason, was_absent=was_absent)))
        elif there.as_desired:
            decisions.take(SetDecision(settled=wanted))
        else:
            policy = operations.get(wanted.operation)
            on_drift = policy.on_drift_for(at.name, wanted, there) if policy is not None else "ask"
            decisions.take(_decide_conflict(at, wanted, None, there, reason, on_drift))
    return decisions


def compare_sets(
    key: CollectionKey,
    operations: Mapping[str, OperationPolicy],
    desired: DesiredFile,
    recorded: RecordedFile,
    remote: RemoteFile,
) -> SetDecisions:
    """Decide about the sets of a managed file that the lake has."""
    decisions = SetDecisions()
    at = FileAt(key, desired.name, recorded.unique_name)
    for operation in dict.fromkeys((*desired.annotations, *recorded.annotations, *(remote.sets or ()))):
        known = recorded.annotations.get(operation)
        policy = operations.get(operation)
        wanted = desired.annotations.get(operation)
        there = _with_shapes(remote.sets.get(operation)) if remote.sets is not None else None
        looked = _was_read(remote, operation)
        if wanted is None:
            if known is not None and policy is None and (gone := set_left(at, known, None)) is not None:
                drifted = looked and has_drifted(known, there)
                if drifted and there is None:
                    # Another client has cleared the set already.
                    decisions.take(SetDecision(settled=DesiredSet(operation, known.kind, EMPTY_SET_DIGEST, 0)))
                    continue
                if drifted and there is not None:
                    cleared = RecordedSet(operation, known.kind, there.digest, there.shape_count)
                    gone = replace(gone, annotations=cleared, theirs=there.shapes, overwrites=True)
                decisions.take(SetDecision(replace(gone, compared=looked)))
            if policy is None or not policy.known or policy.mode == "append":
                continue
            if known is None and recorded.origin is Origin.ADOPTED:
                continue  # Another client uploaded the image, so its shapes are left alone.
            wanted = DesiredSet(operation, policy.kind, EMPTY_SET_DIGEST, 0)
        drifted = looked and (there is not None if known is None else has_drifted(known, there))
        on_drift = policy.on_drift_for(at.name, wanted, there) if policy is not None else "ask"
        decision = compare_set(at, wanted, known, there, drifted=drifted, on_drift=on_drift)
        if looked and decision.action is not None:
            action: SetAction = replace(decision.action, compared=True)
            if there is None and isinstance(action, Annotate):
                action = replace(action, was_absent=True)
            decision = replace(decision, action=action)
        decisions.take(decision)
    return decisions


def _was_read(remote: RemoteFile, operation: str) -> bool:
    return remote.sets is not None and (remote.sets_read is None or operation in remote.sets_read)


def compare_unmanaged_set(
    at: FileAt,
    wanted: DesiredSet,
    known: RecordedSet | None,
    seen: SeenSet | None = None,
    policy: OperationPolicy | None = None,
) -> SetDecision:
    """Decide about the set of an unmanaged image. `seen`: the lake's set, if it was read and is not the wanted one."""
    if at.lake_id is None and seen is not None:
        at = seen.at
    there = _with_shapes(seen.there) if seen is not None else None
    on_drift = policy.on_drift_for(at.name, wanted, there) if policy is not None else "ask"
    same = (known.digest if known is not None else EMPTY_SET_DIGEST) == wanted.digest
    drifted = seen is not None and (there is not None if known is None else _has_changed(known, there, same))
    # The same name with another id is another file, which does not have the set that was sent.
    replaced = known is not None and at.lake_id is not None and known.lake_id not in (None, at.lake_id)
    if replaced and wanted.digest == EMPTY_SET_DIGEST:
        return RIGHT
    return compare_set(at, wanted, known, there, drifted=drifted, replaced=replaced, on_drift=on_drift)


def _has_changed(known: RecordedSet, there: RemoteSet | None, same: bool) -> bool:
    """Return whether another client changed a set that is not the wanted one. `same`: the source did not change."""
    if there is None:
        return known.digest != EMPTY_SET_DIGEST
    if known.kept is not None or there.as_recorded is None:
        # Without its confirmed shapes, a set is compared with the source only.
        return same or known.kept is not None
    return not there.as_recorded


def compare_set(
    at: FileAt,
    wanted: DesiredSet,
    known: RecordedSet | None,
    there: RemoteSet | None,
    *,
    drifted: bool,
    replaced: bool = False,
    on_drift: OnDrift = "ask",
) -> SetDecision:
    """Decide about one set: the recorded one against the desired one.

    `there`: the lake's set, or None if it has no shapes or was not read. `drifted`: whether another client changed it
    since it was recorded. `replaced`: whether another file has taken the place of the recorded one.
    """
    changed = (known.digest if known else EMPTY_SET_DIGEST) != wanted.digest
    if there is not None and there.as_desired:
        return SetDecision(settled=wanted) if changed else RIGHT
    if not changed and not drifted and not replaced:
        return RIGHT
    reason = Reason.NEW if known is None else Reason.ANNOTATIONS_CHANGED
    if not changed or replaced or (known is None and drifted and there is not None and at.managed):
        reason = Reason.DRIFTED
    if drifted and not replaced:
        if wanted.digest == EMPTY_SET_DIGEST and there is None:
            return SetDecision(settled=wanted) if changed else RIGHT
        return _decide_conflict(at, wanted, known, there, reason, on_drift)
    return SetDecision(_send(at, wanted, known, known.shape_count if known else 0, reason))


def _decide_conflict(
    at: FileAt,
    wanted: DesiredSet,
    known: RecordedSet | None,
    there: RemoteSet | None,
    reason: Reason,
    on_drift: OnDrift,
) -> SetDecision:
    """Decide a conflict: the lake has a set that another client changed or drew, and it is not the wanted one."""
    theirs = there.digest if there is not None else EMPTY_SET_DIGEST
    if known is not None and known.kept == theirs and known.digest == wanted.digest:
        return RIGHT
    if on_drift == "keep":
        shapes = counted(there.shape_count if there is not None else 0, "shape", "shapes")
        message = (
            f"has {shapes} of another client in '{wanted.operation}' in the lake; 'on_drift: keep' keeps them, and"
            f" does not send the source's {wanted.shape_count}"
        )
        note = Note(NoteCode.CHANGE_KEPT, message, f"{at.collection}/{at.name}")
        return SetDecision(kept=KeptSet(wanted, theirs), notes=(note,))
    merge = there.merge if there is not None and on_drift == "merge" else None
    if merge is not None and merge.is_theirs:
        return SetDecision(kept=KeptSet(wanted, theirs))
    if merge is not None and not merge.shapes.shapes:
        merge = None  # Each side removed what the other one kept.
    # A set that another client cleared has no shapes to lose.
    overwrites = there is not None and on_drift != "overwrite" and (merge is None or merge.conflicts > 0)
    cleared = ImageRecord(at.name, ()) if there is None and known is not None else None
    before = there.shape_count if there is not None else 0
    return SetDecision(_send(at, wanted, known, before, reason, there, merge, overwrites=overwrites, cleared=cleared))


def _send(
    at: FileAt,
    wanted: DesiredSet,
    known: RecordedSet | None,
    before: int,
    reason: Reason,
    there: RemoteSet | None = None,
    merge: SetMerge | None = None,
    *,
    overwrites: bool = False,
    cleared: ImageRecord | None = None,
) -> SetAction:
    """Return the action that sends a set. `before`: the number of shapes that the lake has. `cleared`: the empty set of
    another client that cleared what the lake had confirmed."""
    after = len(merge.shapes.shapes) if merge is not None else wanted.shape_count
    clears = not after if merge is not None else wanted.digest == EMPTY_SET_DIGEST
    changes: tuple[Change, ...] = ()
    if at.managed:
        changes = (Change(shapes_of(wanted.operation), before, after),)
    theirs = there.shapes if there is not None else cleared
    if not clears:
        return Annotate(at, wanted, reason, changes, overwrites, theirs, merge)
    gone = known
    if there is not None:
        gone = RecordedSet(wanted.operation, wanted.kind, there.digest, there.shape_count)
    assert gone is not None, "a set is cleared only if the state or the lake has shapes"
    return RemoveAnnotations(at, gone, reason, changes, theirs, overwrites)


def _with_shapes(there: RemoteSet | None) -> RemoteSet | None:
    return there if there is not None and there.shape_count else None


def set_left(at: FileAt, known: RecordedSet, mode: Literal["replace", "append"] | None) -> RemoveAnnotations | None:
    """Decide about a recorded set that its source no longer has. `mode`: None if the manifest dropped the operation."""
    if known.digest == EMPTY_SET_DIGEST or mode == "append":
        return None
    return RemoveAnnotations(at, known, Reason.REMOVED_FROM_MANIFEST if mode is None else Reason.ANNOTATIONS_CHANGED)


def has_drifted(known: RecordedSet, there: RemoteSet | None) -> bool:
    """Return whether another client changed a set after it was written.

    A set whose confirmed shapes are unknown, and that was never read back, is compared with its source.
    """
    if known.digest == EMPTY_SET_DIGEST and known.kept is None:
        return there is not None
    if there is None:
        return True
    if there.as_recorded is not None:
        return not there.as_recorded
    return there.digest != known.seen if known.seen is not None else not there.as_desired
