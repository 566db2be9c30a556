"""The part of the truth table for annotation sets: one decision for each image and operation.

Owns: the decision, `compare_set`, for managed and unmanaged images alike. Must not: read the shapes of a set; it
compares digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from metalake_sync.core.actions import Annotate, Reason, RemoveAnnotations, SetAction
from metalake_sync.core.addresses import FileAt
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


@dataclass(frozen=True, slots=True)
class SeenSet:
    """An unmanaged image whose set in the lake differs from the source."""

    at: FileAt
    there: RemoteSet | None
    """The lake's set, or None if it has no shapes."""


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
            FileAt(key, desired.name, remote.unique_name if remote else None),
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
) -> Iterator[SetAction]:
    """Yield the sets to write or clear for a managed file that the lake has."""
    at = FileAt(key, desired.name, recorded.unique_name)
    for operation in dict.fromkeys((*desired.annotations, *recorded.annotations, *(remote.sets or ()))):
        known = recorded.annotations.get(operation)
        policy = operations.get(operation)
        wanted = desired.annotations.get(operation)
        if wanted is None:
            if known is not None and policy is None and (gone := set_left(at, known, None)) is not None:
                yield gone
            if policy is None or not policy.known or policy.mode == "append":
                continue
            if known is None and recorded.origin is Origin.ADOPTED:
                continue  # Another client uploaded the image, so its shapes are left alone.
            wanted = DesiredSet(operation, policy.kind, EMPTY_SET_DIGEST, 0)
        there = remote.sets.get(operation) if remote.sets is not None else None
        if known is None and there is not None and there.as_desired:
            continue
        looked = remote.sets is not None
        drifted = looked and (there is not None if known is None else has_drifted(known, there))
        action = compare_set(at, wanted, known, there, drifted=drifted)
        if action is not None:
            yield action


def compare_unmanaged_set(
    at: FileAt, wanted: DesiredSet, known: RecordedSet | None, seen: SeenSet | None = None
) -> SetAction | None:
    """Decide about the set of an unmanaged image. `seen`: the lake's set, if it was read and is not the wanted one."""
    if at.lake_id is None and seen is not None:
        at = seen.at
    there = seen.there if seen is not None else None
    same = (known.digest if known is not None else EMPTY_SET_DIGEST) == wanted.digest
    # If the source changed too, the lake's set differs from the wanted one in any case.
    drifted = seen is not None and (same if known is not None else there is not None)
    # The same name with another id is another file, which does not have the set that was sent.
    replaced = known is not None and at.lake_id is not None and known.lake_id not in (None, at.lake_id)
    if replaced and wanted.digest == EMPTY_SET_DIGEST:
        return None
    return compare_set(at, wanted, known, there, drifted=drifted, replaced=replaced)


def compare_set(
    at: FileAt,
    wanted: DesiredSet,
    known: RecordedSet | None,
    there: RemoteSet | None,
    *,
    drifted: bool,
    replaced: bool = False,
) -> SetAction | None:
    """Decide about one set: the recorded one against the desired one.

    `there`: the lake's set, or None if it has no shapes or was not read. `drifted`: whether another client changed it
    since it was recorded. `replaced`: whether another file has taken the place of the recorded one.
    """
    changed = (known.digest if known else EMPTY_SET_DIGEST) != wanted.digest
    if not changed and not drifted and not replaced:
        return None
    overwrites = drifted and there is not None
    reason = Reason.NEW if known is None else Reason.ANNOTATIONS_CHANGED
    if not changed or replaced or (known is None and overwrites and at.managed):
        reason = Reason.DRIFTED
    changes: tuple[Change, ...] = ()
    if at.managed:
        before = there if drifted else known
        changes = (Change(shapes_of(wanted.operation), before.shape_count if before else 0, wanted.shape_count),)
    if wanted.digest != EMPTY_SET_DIGEST:
        return Annotate(at, wanted, reason, changes, overwrites)
    gone = known
    if there is not None and (overwrites or gone is None):
        gone = RecordedSet(wanted.operation, wanted.kind, there.digest, there.shape_count)
    assert gone is not None, "a set is cleared only if the state or the lake has shapes"
    return RemoveAnnotations(at, gone, reason, changes)


def set_left(at: FileAt, known: RecordedSet, mode: Literal["replace", "append"] | None) -> RemoveAnnotations | None:
    """Decide about a recorded set that its source no longer has. `mode`: None if the manifest dropped the operation."""
    if known.digest == EMPTY_SET_DIGEST or mode == "append":
        return None
    return RemoveAnnotations(at, known, Reason.REMOVED_FROM_MANIFEST if mode is None else Reason.ANNOTATIONS_CHANGED)


def has_drifted(known: RecordedSet, there: RemoteSet | None) -> bool:
    """Return whether another client changed a set after it was written.

    A set that was never read back is compared with its source.
    """
    if known.digest == EMPTY_SET_DIGEST:
        return there is not None
    if there is None:
        return True
    return there.digest != known.seen if known.seen is not None else not there.as_desired
