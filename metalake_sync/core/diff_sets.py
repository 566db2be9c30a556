"""The truth table's part on annotation sets: one decision for each image and operation.

Owns: the decision. Must not: know what is in a set; digests are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from metalake_sync.core.actions import Annotate, Reason, RemoveAnnotations
from metalake_sync.core.changes import Change, shapes_of
from metalake_sync.core.facts import (
    AnnotationKind,
    CollectionKey,
    DesiredFile,
    DesiredSet,
    RecordedFile,
    RecordedSet,
    RemoteFile,
    RemoteSet,
)
from metalake_sync.core.shapes import EMPTY_SET_DIGEST
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class OperationPolicy:
    """One annotation operation of a collection. `known` is False where its source could not be read."""

    kind: AnnotationKind
    mode: Literal["replace", "append"] = "replace"
    known: bool = True


def sets_already_there(desired: DesiredFile, remote: RemoteFile) -> tuple[DesiredSet, ...]:
    """The sets that the lake was found to have as the manifest wants them."""
    there = remote.sets or {}
    return tuple(
        wanted
        for operation, wanted in desired.annotations.items()
        if operation in there and there[operation].as_desired
    )


def annotate_anew(
    key: CollectionKey, desired: DesiredFile, remote: RemoteFile | None, reason: Reason
) -> list[Annotate]:
    """Every set of a file of which the lake has none from us yet. An empty set is what a new file has anyway.

    `remote`: None where the file is yet to be uploaded.
    """
    there = sets_already_there(desired, remote) if remote is not None else ()
    return [
        Annotate(key, desired.name, remote.unique_name if remote else None, wanted, reason)
        for wanted in desired.annotations.values()
        if wanted.digest != EMPTY_SET_DIGEST and wanted not in there
    ]


def compare_sets(
    key: CollectionKey,
    operations: Mapping[str, OperationPolicy],
    desired: DesiredFile,
    recorded: RecordedFile,
    remote: RemoteFile,
) -> Iterator[Annotate | RemoveAnnotations]:
    """What has to be sent or cleared for a file that the lake has."""
    for operation, wanted in desired.annotations.items():
        known = recorded.annotations.get(operation)
        there = remote.sets.get(operation) if remote.sets is not None else None
        if (known.digest if known else EMPTY_SET_DIGEST) != wanted.digest:
            reason = Reason.ANNOTATIONS_CHANGED if known else Reason.NEW
            changes = _shape_counts(operation, known.shape_count if known else 0, wanted.shape_count)
            yield Annotate(key, desired.name, recorded.unique_name, wanted, reason, changes)
        elif remote.sets is not None and known is not None and has_drifted(known, there):
            changes = _shape_counts(operation, there.shape_count if there else 0, wanted.shape_count)
            yield Annotate(key, desired.name, recorded.unique_name, wanted, Reason.DRIFTED, changes)
    for operation, known in recorded.annotations.items():
        if operation in desired.annotations or known.digest == EMPTY_SET_DIGEST:
            continue
        policy = operations.get(operation)
        if policy is None:
            yield RemoveAnnotations(key, desired.name, recorded.unique_name, known)
        elif policy.known and policy.mode == "replace":
            empty = DesiredSet(operation, policy.kind, EMPTY_SET_DIGEST, 0)
            changes = _shape_counts(operation, known.shape_count, 0)
            yield Annotate(key, desired.name, recorded.unique_name, empty, Reason.ANNOTATIONS_CHANGED, changes)


def has_drifted(known: RecordedSet, there: RemoteSet | None) -> bool:
    """Whether somebody changed a set since we wrote it. One that was never read back is compared with its source."""
    if known.digest == EMPTY_SET_DIGEST:
        return there is not None
    if there is None:
        return True
    return there.digest != known.seen if known.seen is not None else not there.as_desired


def _shape_counts(operation: str, before: int, after: int) -> tuple[Change, ...]:
    return (Change(shapes_of(operation), before, after),)
