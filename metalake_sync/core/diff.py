"""The three-way truth table: the actions on one file, given the desired, the recorded and the remote file.

Owns: the decision, with its reason and the values that differ. Must not: look anything up; callers pass all inputs. The
remote file contains what a full refresh read. Only then does the decision cover drift of metadata and annotations.
Longer than 300 lines, because the table is one: reading it predicts the action on any file.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import field

from metalake_sync.core.actions import (
    Action,
    AdoptFile,
    Bookkeeping,
    CreateCollection,
    Forget,
    Reason,
    ReplaceFile,
    Rerecord,
    RerecordHead,
    SetAction,
    TrashFile,
    UpdateFileMetadata,
    UpdateHead,
    UploadFile,
)
from metalake_sync.core.addresses import FileAt
from metalake_sync.core.changes import LAKE_ID, SIZE, Change, content_changes, metadata_changes
from metalake_sync.core.diff_metadata import UNCHANGED, Written, compare_fields
from metalake_sync.core.diff_sets import OperationPolicy, compare_sets, new_sets
from metalake_sync.core.metadata import MetadataSet, MetadataValues, is_computed, update_to_mend
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.snapshots import CollectionKey, CollectionPolicy, DesiredFile, Origin, RecordedFile, RemoteFile
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class CollectionRules:
    """The inputs of a decision that are the same for every file of a collection."""

    key: CollectionKey
    policy: CollectionPolicy
    written: Written
    operations: Mapping[str, OperationPolicy] = field(default_factory=dict)
    unfinished: Set[str] = frozenset()
    """Files that an interrupted run trashed to replace them."""
    records_fingerprints: bool = True
    """Whether a record follows the fingerprint of its file. Not where machines share the state: each checkout has
    others, and a cache on each machine tells which of its files are unchanged."""


@dataclass(frozen=True, slots=True)
class FileDecision:
    """The decision about one file or collection head."""

    actions: tuple[Action, ...] = ()
    bookkeeping: tuple[Bookkeeping, ...] = ()
    notes: tuple[Note, ...] = ()


HOW_TO_TAKE_OVER = "; 'adopt: take_over' takes it over, then 'on_change' decides"
"""The end of a note that names the manifest's remedy."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Why a recorded file is not desired."""

    filtered_out: bool = False
    """Whether a pattern excludes the file, which is still on disk."""
    renamed_to: str | None = None
    """The name under which the same bytes are on disk now."""
    hidden_by: str | None = None
    """The folder of the file, or a parent of it, that is empty or unreadable. The file may still exist."""


def compare_head(
    rules: CollectionRules,
    head: MetadataSet,
    *,
    exists: bool,
    written_digest: str | None,
    lake: MetadataValues | None = None,
) -> FileDecision:
    """Decide about the collection itself.

    `exists`: whether the lake has the collection. `written_digest`: the digest of the head's metadata that was written
    last. `lake`: the head's metadata in the lake, if the planner read it.
    """
    if not exists:
        return FileDecision((CreateCollection(rules.key, head),))
    if written_digest is None and not head:
        return FileDecision()
    found = compare_fields(head, written_digest, rules.written, lake, rules.policy.tags)
    notes = found.notes(str(rules.key))
    if found.update:
        reason = Reason.METADATA_CHANGED if found.changed else Reason.DRIFTED
        action = UpdateHead(rules.key, head, written_digest, reason, lake, found.changes, found.overwrites)
        return FileDecision((action,), notes=notes)
    return FileDecision(bookkeeping=(RerecordHead(rules.key, head),), notes=notes) if found.changed else FileDecision()


def compare(
    rules: CollectionRules,
    desired: DesiredFile | None,
    recorded: RecordedFile | None,
    remote: RemoteFile | None,
    *,
    gone: Gone | None = None,
    renamed_from: str | None = None,
) -> FileDecision:
    """Decide about one file. At least one of the three snapshots has it.

    `gone`: why a recorded file is not desired. `renamed_from`: the recorded name of the same bytes, for a new file.
    """
    if desired is None:
        return _not_desired(rules, recorded, remote, gone or Gone())
    if recorded is None and remote is None:
        reason = Reason.NEW if renamed_from is None else Reason.RENAMED
        upload = UploadFile(rules.key, desired, reason, renamed_from)
        return FileDecision((upload, *_sets_of_upload(rules, desired, reason)))
    if recorded is None:
        assert remote is not None
        return _found_in_lake(rules, desired, remote)
    same_bytes = desired.content_hash == recorded.content_hash
    content = _content_changes(desired, recorded)
    if remote is None:
        return _trashed_by_others(rules, desired, recorded, () if same_bytes else content)
    if remote.lake_id != recorded.lake_id:
        if remote.same_bytes:
            return _same_bytes_of_others(rules, desired, remote)
        if recorded.origin is Origin.ADOPTED and rules.policy.adopt != "take_over":
            message = "was adopted, but another client replaced it with a file of its own" + HOW_TO_TAKE_OVER
            return FileDecision(notes=(Note(NoteCode.NOT_ADOPTED, message, f"{rules.key}/{desired.name}"),))
        another = Change(LAKE_ID, recorded.lake_id, remote.lake_id)
        return _drifted_bytes(
            rules, desired, remote, "was uploaded again by another client", (another, *content), of_others=True
        )
    if not same_bytes:
        return _changed_bytes(rules, desired, recorded, remote, content)
    if remote.size_bytes is not None and remote.size_bytes != recorded.fingerprint.size_bytes:
        other_size = (Change(SIZE, remote.size_bytes, desired.fingerprint.size_bytes),)
        return _drifted_bytes(
            rules,
            desired,
            remote,
            "has a different size in the lake than was uploaded",
            other_size,
            of_others=recorded.origin is Origin.ADOPTED,
        )
    return _same_bytes(rules, desired, recorded, remote)


def _not_desired(
    rules: CollectionRules, recorded: RecordedFile | None, remote: RemoteFile | None, gone: Gone
) -> FileDecision:
    if recorded is None:
        return FileDecision()
    if remote is None:
        return FileDecision(bookkeeping=(Forget(rules.key, recorded),))
    where = f"{rules.key}/{recorded.name}"
    reason, what = Reason.REMOVED_FROM_MANIFEST, "is no longer in the manifest"
    if gone.renamed_to is not None:
        reason, what = Reason.RENAMED, f"was renamed to '{gone.renamed_to}' locally"
    elif gone.filtered_out:
        reason, what = Reason.FILTERED_OUT, "is excluded by the manifest's patterns"
    if not rules.policy.prune:
        return FileDecision(notes=(Note(NoteCode.NOT_PRUNED, f"{what} and stays in the lake", where),))
    if recorded.origin is Origin.ADOPTED:
        return FileDecision(notes=(Note(NoteCode.NOT_PRUNED, f"{what}; it was adopted, so it is never pruned", where),))
    if remote.lake_id != recorded.lake_id:
        return FileDecision(notes=(Note(NoteCode.NOT_PRUNED, f"{what}; another client uploaded it again", where),))
    if gone.hidden_by is not None and gone.renamed_to is None:
        message = (
            f"stays in the lake, because folder '{gone.hidden_by}' is empty or unreadable and the file may still exist;"
            " mount the folder, or remove it to prune its files"
        )
        return FileDecision(notes=(Note(NoteCode.NOT_PRUNED, message, where),))
    if rules.policy.prevent_destroy:
        return FileDecision(notes=(_destroy_prevented(where, what),))
    return FileDecision((TrashFile(rules.key, recorded, reason),))


def _sets_of_upload(rules: CollectionRules, desired: DesiredFile, reason: Reason) -> list[SetAction]:
    return new_sets(rules.key, rules.operations, desired, None, reason).actions


def _trashed_by_others(
    rules: CollectionRules, desired: DesiredFile, recorded: RecordedFile, content: tuple[Change, ...]
) -> FileDecision:
    """Decide about a recorded file that the lake no longer has. `content`: what changed in its bytes."""
    unfinished = desired.name in rules.unfinished
    if rules.policy.on_trashed == "keep" and not unfinished:
        message = "was trashed in the lake since the last run; 'on_trashed: keep' does not upload it again"
        return FileDecision(notes=(Note(NoteCode.CHANGE_KEPT, message, f"{rules.key}/{desired.name}"),))
    reason = Reason.CONTENT_CHANGED if content else Reason.MISSING_IN_LAKE
    changes = content or (Change(LAKE_ID, recorded.lake_id, None),)
    asks = rules.policy.on_trashed == "ask" and not unfinished
    upload = UploadFile(rules.key, desired, reason, changes=changes, asks=asks)
    return FileDecision((upload, *_sets_of_upload(rules, desired, reason)))


def _replace(
    rules: CollectionRules,
    desired: DesiredFile,
    remote: RemoteFile,
    reason: Reason,
    changes: tuple[Change, ...],
    *,
    of_others: bool,
) -> FileDecision:
    """Replace the lake's file.

    `of_others`: whether another client may have uploaded the lake's file. Unless the manifest takes such files over, a
    note names the file, so that the user knows before approving the plan.
    """
    where = f"{rules.key}/{desired.name}"
    if rules.policy.prevent_destroy:
        return FileDecision(notes=(_destroy_prevented(where, "would be replaced in the lake"),))
    replace = ReplaceFile(rules.key, desired, remote, reason, changes)
    notes: tuple[Note, ...] = ()
    if desired.fingerprint.size_bytes == 0:
        message = (
            "is empty locally (0 bytes) and would replace the lake's file; restore it if it was truncated by accident"
        )
        notes = (Note(NoteCode.EMPTIED, message, where),)
    if of_others and rules.policy.adopt != "take_over":
        message = f"was not uploaded by this manifest; replacing it trashes the lake's file (id {remote.lake_id})"
        notes = (*notes, Note(NoteCode.REPLACES_OTHERS, message, where))
    return FileDecision((replace, *_sets_of_upload(rules, desired, reason)), notes=notes)


def _same_bytes_of_others(rules: CollectionRules, desired: DesiredFile, remote: RemoteFile) -> FileDecision:
    """Adopt a file that another client uploaded in place of the recorded one, with the same bytes as the local file.

    Replacing it would change nothing, and two clients could replace each other's file forever.
    """
    if rules.policy.adopt == "never":
        message = "was uploaded again by another client with the same bytes; 'adopt: never' leaves it unmanaged"
        return FileDecision(notes=(Note(NoteCode.NOT_ADOPTED, message, f"{rules.key}/{desired.name}"),))
    return _adopt(rules, desired, remote)


def _drifted_bytes(
    rules: CollectionRules,
    desired: DesiredFile,
    remote: RemoteFile,
    what: str,
    changes: tuple[Change, ...],
    *,
    of_others: bool,
) -> FileDecision:
    """Decide about a file whose bytes in the lake are not the uploaded ones. `what`: the finding, as a clause."""
    where = f"{rules.key}/{desired.name}"
    match rules.policy.on_change:
        case "replace":
            return _replace(rules, desired, remote, Reason.DRIFTED, changes, of_others=of_others)
        case "keep":
            return FileDecision(
                notes=(Note(NoteCode.CHANGE_KEPT, f"{what}; 'on_change: keep' keeps the lake's", where),)
            )
        case "fail":
            return FileDecision(notes=(Note(NoteCode.CHANGE_REFUSED, f"{what}, and 'on_change' is fail", where),))


def _found_in_lake(rules: CollectionRules, desired: DesiredFile, remote: RemoteFile) -> FileDecision:
    where = f"{rules.key}/{desired.name}"
    adopt = rules.policy.adopt
    if adopt == "never":
        return FileDecision(
            notes=(Note(NoteCode.NOT_ADOPTED, "is in the lake already; 'adopt: never' leaves it unmanaged", where),)
        )
    size_bytes = desired.fingerprint.size_bytes
    if remote.size_bytes == size_bytes:
        if remote.same_bytes is False and adopt == "take_over" and rules.policy.on_change == "replace":
            return _replace(rules, desired, remote, Reason.CONTENT_CHANGED, (), of_others=True)
        if adopt == "match" and remote.same_bytes is False:
            other_bytes = "is in the lake with the same size but different bytes"
            return FileDecision(notes=(Note(NoteCode.NOT_ADOPTED, other_bytes + HOW_TO_TAKE_OVER, where),))
        return _adopt(rules, desired, remote)
    lake_size = "an unknown size" if remote.size_bytes is None else f"{remote.size_bytes} bytes"
    differs = f"is in the lake with {lake_size}, but locally with {size_bytes} bytes"
    if adopt == "match":
        return FileDecision(notes=(Note(NoteCode.NOT_ADOPTED, differs + HOW_TO_TAKE_OVER, where),))
    match rules.policy.on_change:
        case "replace":
            other_size = (Change(SIZE, remote.size_bytes, size_bytes),)
            return _replace(rules, desired, remote, Reason.CONTENT_CHANGED, other_size, of_others=True)
        case "keep":
            adopted = _adopt(rules, desired, remote)
            kept = Note(NoteCode.CHANGE_KEPT, f"{differs}; 'on_change: keep' keeps the lake's", where)
            return FileDecision(adopted.actions, adopted.bookkeeping, (*adopted.notes, kept))
        case "fail":
            return FileDecision(notes=(Note(NoteCode.CHANGE_REFUSED, f"{differs}, and 'on_change' is fail", where),))


def _adopt(rules: CollectionRules, desired: DesiredFile, remote: RemoteFile) -> FileDecision:
    """Adopt the lake's file. Its metadata is compared if the planner read it, and written only if the manifest sets
    `metadata_override`."""
    already = Reason.ALREADY_IN_LAKE
    sets = new_sets(rules.key, rules.operations, desired, remote, already)
    adopted = AdoptFile(rules.key, desired, remote, already, tuple(sets.settled), tuple(sets.kept))
    actions: list[Action] = [adopted]
    bookkeeping: tuple[Bookkeeping, ...] = ()
    notes: tuple[Note, ...] = ()
    lake = remote.metadata
    update = dict(desired.metadata.values)
    if lake is not None:
        update = update_to_mend({}, desired.metadata.values, lake, rules.policy.tags)
    changes = metadata_changes(lake, update)
    if update and rules.policy.metadata_override:
        at = FileAt(rules.key, desired.name, remote.unique_name)
        actions.append(UpdateFileMetadata(at, desired.metadata, None, already, lake, changes, local=desired))
    elif lake is not None and not all(map(is_computed, update)):
        differing = tuple(change for change in changes if not is_computed(change.what))
        notes = (_metadata_differs(f"{rules.key}/{desired.name}", differing),)
    elif not update and desired.metadata and rules.policy.metadata_override:
        bookkeeping = (Rerecord(rules.key, desired, local=False, metadata=True),)
    return FileDecision((*actions, *sets.actions), bookkeeping, (*notes, *sets.notes))


def _changed_bytes(
    rules: CollectionRules,
    desired: DesiredFile,
    recorded: RecordedFile,
    remote: RemoteFile,
    content: tuple[Change, ...],
) -> FileDecision:
    where = f"{rules.key}/{desired.name}"
    match rules.policy.on_change:
        case "replace":
            of_others = recorded.origin is Origin.ADOPTED
            return _replace(rules, desired, remote, Reason.CONTENT_CHANGED, content, of_others=of_others)
        case "keep":
            rest = _same_bytes(rules, desired, recorded, remote, keep_bytes=True)
            kept = Note(NoteCode.CHANGE_KEPT, "has different bytes locally; 'on_change: keep' keeps the lake's", where)
            return FileDecision(rest.actions, rest.bookkeeping, (*rest.notes, kept))
        case "fail":
            note = Note(NoteCode.CHANGE_REFUSED, "differs from the lake's file, and 'on_change' is fail", where)
            return FileDecision(notes=(note,))


def _same_bytes(
    rules: CollectionRules,
    desired: DesiredFile,
    recorded: RecordedFile,
    remote: RemoteFile,
    *,
    keep_bytes: bool = False,
) -> FileDecision:
    """Compare metadata and annotations of a file whose bytes are not sent, each by its own digest.

    `keep_bytes`: the local bytes differ but are not recorded, so that every plan reports the difference again.
    """
    touched = rules.records_fingerprints and desired.fingerprint != recorded.fingerprint
    moved = not keep_bytes and (touched or desired.path != recorded.path)
    update, settled, notes = _compare_metadata(rules, desired, recorded, remote)
    sets = compare_sets(rules.key, rules.operations, desired, recorded, remote)
    bookkeeping: tuple[Bookkeeping, ...] = ()
    if moved or settled or sets.settled or sets.kept:
        bookkeeping = (
            Rerecord(
                rules.key,
                desired,
                local=moved,
                metadata=settled,
                sets=tuple(sets.settled),
                kept=tuple(sets.kept),
            ),
        )
    return FileDecision((*update, *sets.actions), bookkeeping, (*notes, *sets.notes))


def _compare_metadata(
    rules: CollectionRules, desired: DesiredFile, recorded: RecordedFile, remote: RemoteFile
) -> tuple[tuple[UpdateFileMetadata, ...], bool, tuple[Note, ...]]:
    """Return the update of the metadata, if any; whether only the record changes; and notes."""
    if recorded.origin is not Origin.UPLOADED and not rules.policy.metadata_override:
        return (), False, ()
    known = recorded.metadata_digest
    found = compare_fields(desired.metadata, known, rules.written, remote.metadata, rules.policy.tags)
    if found is UNCHANGED:
        return (), False, ()
    notes = found.notes(f"{rules.key}/{desired.name}")
    if not found.update:
        return (), found.changed, notes
    reason = Reason.METADATA_CHANGED if found.changed else Reason.DRIFTED
    overwrites = found.overwrites and not rules.policy.metadata_override
    at = FileAt(rules.key, desired.name, recorded.unique_name)
    action = UpdateFileMetadata(
        at, desired.metadata, known, reason, remote.metadata, found.changes, overwrites, desired
    )
    return (action,), False, notes


def _content_changes(desired: DesiredFile, recorded: RecordedFile) -> tuple[Change, ...]:
    before = (recorded.content_hash, recorded.fingerprint.size_bytes)
    return content_changes(before, (desired.content_hash, desired.fingerprint.size_bytes))


def _metadata_differs(where: str, changes: tuple[Change, ...]) -> Note:
    fields = ", ".join(repr(change.what) for change in changes)
    message = f"has different metadata in the lake ({fields}); 'metadata_override: true' writes the manifest's"
    return Note(NoteCode.METADATA_DIFFERS, message, where)


def _destroy_prevented(where: str, what: str) -> Note:
    return Note(NoteCode.DESTROY_PREVENTED, f"{what}, and 'prevent_destroy' is set", where)
