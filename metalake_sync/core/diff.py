"""The three-way truth table: what has to happen to one file, given what is desired, recorded and in the lake.

Owns: the decision. Must not: look anything up; whatever a decision rests on is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from metalake_sync.core.actions import (
    Action,
    AdoptFile,
    Annotate,
    Bookkeeping,
    CreateCollection,
    Forget,
    Reason,
    RemoveAnnotations,
    ReplaceFile,
    Rerecord,
    RerecordHead,
    TrashFile,
    UpdateFileMetadata,
    UpdateHead,
    UploadFile,
)
from metalake_sync.core.facts import (
    AnnotationKind,
    CollectionKey,
    CollectionPolicy,
    DesiredFile,
    DesiredSet,
    Origin,
    RecordedFile,
    RemoteFile,
)
from metalake_sync.core.metadata import MetadataSet, MetadataValues, fields_that_left, update_to_send
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.shapes import EMPTY_SET_DIGEST


@dataclass(frozen=True, slots=True)
class OperationPolicy:
    """One annotation operation of a collection. `known` is False where its source could not be read."""

    kind: AnnotationKind
    mode: Literal["replace", "append"] = "replace"
    known: bool = True


@dataclass(frozen=True, slots=True)
class CollectionRules:
    """All that a decision in one collection rests on, besides the three rows.

    `written`: the metadata behind a recorded digest, None if the records lost it.
    """

    key: CollectionKey
    policy: CollectionPolicy
    written: Callable[[str], MetadataValues | None]
    operations: Mapping[str, OperationPolicy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows for one file."""

    actions: tuple[Action, ...] = ()
    bookkeeping: tuple[Bookkeeping, ...] = ()
    notes: tuple[Note, ...] = ()


def compare_head(rules: CollectionRules, head: MetadataSet, *, exists: bool, written_digest: str | None) -> Verdict:
    """Decide about the collection itself. `exists`: the lake has it. `written_digest`: of what we wrote to its head."""
    if not exists:
        return Verdict((CreateCollection(rules.key, head),))
    if written_digest is None:
        return Verdict((UpdateHead(rules.key, head, None),)) if head else Verdict()
    if written_digest == head.digest:
        return Verdict()
    before = rules.written(written_digest)
    notes = _fields_left(before, head, str(rules.key))
    if before is None or update_to_send(before, head.values):
        return Verdict((UpdateHead(rules.key, head, written_digest),), notes=notes)
    return Verdict(bookkeeping=(RerecordHead(rules.key, head),), notes=notes)


def compare(
    rules: CollectionRules,
    desired: DesiredFile | None,
    recorded: RecordedFile | None,
    remote: RemoteFile | None,
    *,
    filtered_out: bool = False,
) -> Verdict:
    """Read one row of the truth table. At least one of the three is given.

    `filtered_out`: the file is not desired because a pattern leaves it out; it still stands on disk.
    """
    if desired is None:
        return _not_desired(rules, recorded, remote, filtered_out)
    if recorded is None:
        return _send(rules, desired, Reason.NEW) if remote is None else _found_in_lake(rules, desired, remote)
    same_bytes = desired.content_hash == recorded.content_hash
    if remote is None:
        return _send(rules, desired, Reason.MISSING_IN_LAKE if same_bytes else Reason.CONTENT_CHANGED)
    if remote.lake_id != recorded.lake_id:
        return _replace(rules, desired, remote, Reason.DRIFTED)
    if same_bytes:
        return _same_bytes(rules, desired, recorded)
    return _changed_bytes(rules, desired, recorded, remote)


def _not_desired(
    rules: CollectionRules, recorded: RecordedFile | None, remote: RemoteFile | None, filtered_out: bool
) -> Verdict:
    if recorded is None:
        return Verdict()
    if remote is None:
        return Verdict(bookkeeping=(Forget(rules.key, recorded),))
    where = f"{rules.key}/{recorded.name}"
    what = "is left out by the manifest's patterns" if filtered_out else "is no longer among the manifest's files"
    if not rules.policy.prune:
        return Verdict(notes=(Note(NoteCode.NOT_PRUNED, f"{what} and stays in the lake", where),))
    if recorded.origin is Origin.ADOPTED:
        return Verdict(notes=(Note(NoteCode.NOT_PRUNED, f"{what}; it was adopted, so it is never pruned", where),))
    if remote.lake_id != recorded.lake_id:
        return Verdict(notes=(Note(NoteCode.NOT_PRUNED, f"{what}; somebody else uploaded it anew", where),))
    if rules.policy.prevent_destroy:
        return Verdict(notes=(_destroy_prevented(where, what),))
    reason = Reason.FILTERED_OUT if filtered_out else Reason.REMOVED_FROM_MANIFEST
    return Verdict((TrashFile(rules.key, recorded, reason),))


def _send(rules: CollectionRules, desired: DesiredFile, reason: Reason) -> Verdict:
    return Verdict((UploadFile(rules.key, desired, reason), *_annotate_anew(rules, desired, None, reason)))


def _replace(rules: CollectionRules, desired: DesiredFile, remote: RemoteFile, reason: Reason) -> Verdict:
    if rules.policy.prevent_destroy:
        return Verdict(notes=(_destroy_prevented(f"{rules.key}/{desired.name}", "would be replaced in the lake"),))
    return Verdict((ReplaceFile(rules.key, desired, remote, reason), *_annotate_anew(rules, desired, None, reason)))


def _found_in_lake(rules: CollectionRules, desired: DesiredFile, remote: RemoteFile) -> Verdict:
    where = f"{rules.key}/{desired.name}"
    adopt = rules.policy.adopt
    if adopt == "never":
        return Verdict(
            notes=(Note(NoteCode.NOT_ADOPTED, "is in the lake already; 'adopt: never' leaves it to others", where),)
        )
    if remote.size_bytes == desired.fingerprint.size_bytes:
        return _adopt(rules, desired, remote)
    told = "an unknown size" if remote.size_bytes is None else f"{remote.size_bytes} bytes"
    differs = f"is in the lake with {told}, here with {desired.fingerprint.size_bytes} bytes"
    if adopt == "match":
        remedy = "'adopt: take_over' takes it over, then 'on_change' decides"
        return Verdict(notes=(Note(NoteCode.NOT_ADOPTED, f"{differs}; {remedy}", where),))
    match rules.policy.on_change:
        case "replace":
            return _replace(rules, desired, remote, Reason.CONTENT_CHANGED)
        case "keep":
            adopted = _adopt(rules, desired, remote)
            kept = Note(NoteCode.CHANGE_KEPT, f"{differs}; 'on_change: keep' keeps the lake's", where)
            return Verdict(adopted.actions, adopted.bookkeeping, (*adopted.notes, kept))
        case "fail":
            return Verdict(notes=(Note(NoteCode.CHANGE_REFUSED, f"{differs}, and 'on_change' is fail", where),))


def _adopt(rules: CollectionRules, desired: DesiredFile, remote: RemoteFile) -> Verdict:
    actions: list[Action] = [AdoptFile(rules.key, desired, remote)]
    if rules.policy.metadata_override and desired.metadata:
        actions.append(
            UpdateFileMetadata(rules.key, desired, remote.unique_name, None, Reason.ALREADY_IN_LAKE),
        )
    return Verdict((*actions, *_annotate_anew(rules, desired, remote.unique_name, Reason.ALREADY_IN_LAKE)))


def _changed_bytes(rules: CollectionRules, desired: DesiredFile, recorded: RecordedFile, remote: RemoteFile) -> Verdict:
    where = f"{rules.key}/{desired.name}"
    match rules.policy.on_change:
        case "replace":
            return _replace(rules, desired, remote, Reason.CONTENT_CHANGED)
        case "keep":
            rest = _same_bytes(rules, desired, recorded, keep_bytes=True)
            kept = Note(NoteCode.CHANGE_KEPT, "has other bytes here; 'on_change: keep' keeps the lake's", where)
            return Verdict(rest.actions, rest.bookkeeping, (*rest.notes, kept))
        case "fail":
            note = Note(NoteCode.CHANGE_REFUSED, "has other bytes than the lake has, and 'on_change' is fail", where)
            return Verdict(notes=(note,))


def _same_bytes(
    rules: CollectionRules, desired: DesiredFile, recorded: RecordedFile, *, keep_bytes: bool = False
) -> Verdict:
    """The bytes stay as they are: metadata and annotations are compared, each by its own digest.

    `keep_bytes`: the local bytes differ and are not to be recorded, so that each plan says so again.
    """
    actions: list[Action] = []
    notes: list[Note] = []
    settled = False
    moved = not keep_bytes and (desired.fingerprint != recorded.fingerprint or desired.path != recorded.path)
    owned = recorded.origin is Origin.UPLOADED or rules.policy.metadata_override
    if owned and desired.metadata.digest != recorded.metadata_digest:
        before = rules.written(recorded.metadata_digest)
        notes += _fields_left(before, desired.metadata, f"{rules.key}/{desired.name}")
        if before is None or update_to_send(before, desired.metadata.values):
            actions.append(UpdateFileMetadata(rules.key, desired, recorded.unique_name, recorded.metadata_digest))
        else:
            settled = True
    actions += _compare_annotations(rules, desired, recorded)
    bookkeeping = (Rerecord(rules.key, desired, local=moved, metadata=settled),) if moved or settled else ()
    return Verdict(tuple(actions), bookkeeping, tuple(notes))


def _annotate_anew(
    rules: CollectionRules, desired: DesiredFile, unique_name: str | None, reason: Reason
) -> list[Annotate]:
    """Every set of a file of which the lake has none from us yet. An empty set is what a new file has anyway."""
    return [
        Annotate(rules.key, desired.name, unique_name, annotations, reason)
        for annotations in desired.annotations.values()
        if annotations.digest != EMPTY_SET_DIGEST
    ]


def _compare_annotations(rules: CollectionRules, desired: DesiredFile, recorded: RecordedFile) -> list[Action]:
    actions: list[Action] = []
    for operation, wanted in desired.annotations.items():
        known = recorded.annotations.get(operation)
        if (known.digest if known else EMPTY_SET_DIGEST) != wanted.digest:
            reason = Reason.ANNOTATIONS_CHANGED if known else Reason.NEW
            actions.append(Annotate(rules.key, desired.name, recorded.unique_name, wanted, reason))
    for operation, known in recorded.annotations.items():
        if operation in desired.annotations or known.digest == EMPTY_SET_DIGEST:
            continue
        policy = rules.operations.get(operation)
        if policy is None:
            actions.append(RemoveAnnotations(rules.key, desired.name, recorded.unique_name, known))
        elif policy.known and policy.mode == "replace":
            empty = DesiredSet(operation, policy.kind, EMPTY_SET_DIGEST, 0)
            actions.append(
                Annotate(rules.key, desired.name, recorded.unique_name, empty, Reason.ANNOTATIONS_CHANGED),
            )
    return actions


def _fields_left(before: MetadataValues | None, after: MetadataSet, where: str) -> tuple[Note, ...]:
    left = fields_that_left(before or {}, after.values)
    if not left:
        return ()
    fields = ", ".join(repr(name) for name in left)
    return (Note(NoteCode.FIELD_LEFT, f"keeps {fields} in the lake: no call removes a metadata field", where),)


def _destroy_prevented(where: str, what: str) -> Note:
    return Note(NoteCode.DESTROY_PREVENTED, f"{what}, and 'prevent_destroy' is set", where)
