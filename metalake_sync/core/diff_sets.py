"""The part of the truth table for annotation sets: one decision for each image and operation.

Owns: the decision. Must not: read the shapes of a set; it compares digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from metalake_sync.core.actions import Annotate, Reason, RemoveAnnotations
from metalake_sync.core.changes import Change, shapes_of
from metalake_sync.core.shapes import EMPTY_SET_DIGEST
from metalake_sync.core.snapshots import (
    AnnotationKind,
    CollectionKey,
    DesiredFile,
    DesiredSet,
    Origin,
    RecordedFile,
    RecordedSet,
    RemoteFile,
    RemoteSet,
)
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class OperationPolicy:
    """One annotation operation of a collection."""

    kind: AnnotationKind
    mode: Literal["replace", "append"] = "replace"
    known: bool = True
    """Whether the operation's source could be read."""


def sets_already_there(desired: DesiredFile, remote: RemoteFile) -> tuple[DesiredSet, ...]:
    """Return the sets that are in the lake as the manifest wants them."""
    there = remote.sets or {}
    return tuple(
        wanted
        for operation, wanted in desired.annotations.items()
        if operation in there and there[operation].as_desired
    )


def annotate_all(key: CollectionKey, desired: DesiredFile, remote: RemoteFile | None, reason: Reason) -> list[Annotate]:
    """Return an action for each set with shapes of a file that has no recorded set.

    `remote`: the lake's file, or None if the file is not uploaded yet.
    """
    there = sets_already_there(desired, remote) if remote is not None else ()
    of_others = (remote.sets or {}) if remote is not None else {}
    return [
        Annotate(
            key,
            desired.name,
            remote.unique_name if remote else None,
            wanted,
            reason,
            overwrites=wanted.operation in of_others,
        )
        for wanted in desired.annotations.values()
        if wanted.digest != EMPTY_SET_DIGEST and wanted not in there
    ]


def unrecorded_sets(desired: DesiredFile, recorded: RecordedFile, remote: RemoteFile) -> tuple[DesiredSet, ...]:
    """Return the sets without a record that are in the lake as the manifest wants them."""
    return tuple(
        wanted for wanted in sets_already_there(desired, remote) if wanted.operation not in recorded.annotations
    )


def compare_sets(
    key: CollectionKey,
    operations: Mapping[str, OperationPolicy],
    desired: DesiredFile,
    recorded: RecordedFile,
    remote: RemoteFile,
) -> Iterator[Annotate | RemoveAnnotations]:
    """Yield the sets to write or clear for a file that the lake has."""
    for operation in dict.fromkeys((*desired.annotations, *recorded.annotations, *(remote.sets or ()))):
        known = recorded.annotations.get(operation)
        policy = operations.get(operation)
        wanted = desired.annotations.get(operation)
        if wanted is None:
            if policy is None and known is not None and known.digest != EMPTY_SET_DIGEST:
                yield RemoveAnnotations(key, desired.name, recorded.unique_name, known)
            if policy is None or not policy.known or policy.mode == "append":
                continue
            if known is None and recorded.origin is Origin.ADOPTED:
                continue  # Another client uploaded the image, so its shapes are left alone.
            wanted = DesiredSet(operation, policy.kind, EMPTY_SET_DIGEST, 0)
        there = remote.sets.get(operation) if remote.sets is not None else None
        action = _compare_set(key, desired, recorded, wanted, there, looked=remote.sets is not None)
        if action is not None:
            yield action


def _compare_set(
    key: CollectionKey,
    desired: DesiredFile,
    recorded: RecordedFile,
    wanted: DesiredSet,
    there: RemoteSet | None,
    *,
    looked: bool,
) -> Annotate | RemoveAnnotations | None:
    """Decide about one set.

    `there`: the lake's set, or None if it has no shapes or was not read. `looked`: whether it was read.
    """
    known = recorded.annotations.get(wanted.operation)
    if known is None and there is not None and there.as_desired:
        return None
    changed = (known.digest if known else EMPTY_SET_DIGEST) != wanted.digest
    drifted = looked and (there is not None if known is None else has_drifted(known, there))
    if not changed and not drifted:
        return None
    overwrites = drifted and there is not None
    reason = Reason.NEW if known is None else Reason.ANNOTATIONS_CHANGED
    if not changed or (known is None and overwrites):
        reason = Reason.DRIFTED
    known_count = known.shape_count if known else 0
    there_count = there.shape_count if there else 0
    before = there_count if drifted else known_count
    changes = (Change(shapes_of(wanted.operation), before, wanted.shape_count),)
    if wanted.digest != EMPTY_SET_DIGEST:
        return Annotate(key, desired.name, recorded.unique_name, wanted, reason, changes, overwrites)
    gone = known
    if there is not None and (overwrites or gone is None):
        gone = RecordedSet(wanted.operation, wanted.kind, there.digest, there.shape_count)
    assert gone is not None, "a set is cleared only if the state or the lake has shapes"
    return RemoveAnnotations(key, desired.name, recorded.unique_name, gone, reason, changes)


def has_drifted(known: RecordedSet, there: RemoteSet | None) -> bool:
    """Return whether another client changed a set after it was written.

    A set that was never read back is compared with its source.
    """
    if known.digest == EMPTY_SET_DIGEST:
        return there is not None
    if there is None:
        return True
    return there.digest != known.seen if known.seen is not None else not there.as_desired
