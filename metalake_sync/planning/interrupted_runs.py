"""What interrupted runs left: open upload sessions, and replacements whose new file is not in the lake.

Owns: which files the lake has of an open session, which sessions to resume, the notes on failed replacements, and the
key under which the state keeps whether a lake allows replacements. Must not: change anything in the lake, or decide
what is replaced (`core.diff`, `apply.trash`). The journal says what an earlier run was about to do. What this run does
follows from its own plan alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.core.actions import Reason, ReplaceFile, UploadFile
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import (
    CollectionKey,
    Origin,
    RecordedCollection,
    RecordedFile,
    RemoteFile,
)
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.lake_listing import LakeView
from metalake_sync.planning.moved_sessions import present_fingerprint, with_present_fingerprints
from metalake_sync.state.journal import JournalledFile, JournalledSession
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.remote.content_proof import Pair


def found_in_lake(
    state: StateStore,
    client: LakeClient | None,
    handle: CollectionHandle | None,
    view: LakeView,
    base_dir: Path,
    threads: int,
) -> dict[str, RecordedFile]:
    """The files of open sessions that the lake lists and that have no record yet, as records by name.

    A name alone proves nothing, because another client may have used it meanwhile. A file counts as ours only if it has
    the bytes that we sent.
    """
    if client is None or handle is None:
        return {}
    sent = {
        file.name: (session, file)
        for session in state.journal.sessions([handle])
        for file in session.files
        if file.content_hash is not None
    }
    listing = view.listed() if sent else None
    if listing is None:
        return {}
    recorded = state.files.named(handle, sent)
    there: dict[str, RemoteFile] = {}
    for name in sent:
        remote = listing.get(name)
        if remote is not None and (name not in recorded or recorded[name].lake_id != remote.lake_id):
            there[name] = remote
    files = [(sent[name][1], remote) for name, remote in there.items()]
    proofs = compare_sent(client, files, base_dir, threads)
    unproven = [
        (remote, file.fingerprint.size_bytes, file.content_hash or "")
        for file, remote in files
        if proofs[file.name] is None
    ]
    ours = {name for name, same in proofs.items() if same}
    if unproven:
        from metalake_sync.remote.content_proof import read_back

        ours |= read_back(client, unproven)
    return {
        name: RecordedFile(
            name,
            file.path,
            file.fingerprint,
            file.content_hash or "",
            session.metadata_digest,
            there[name].lake_id,
            there[name].unique_name,
            Origin.UPLOADED,
        )
        for name, (session, file) in sent.items()
        if name in ours
    }


def compare_sent(
    client: LakeClient, files: Sequence[tuple[JournalledFile, RemoteFile]], base_dir: Path, threads: int
) -> dict[str, bool | None]:
    """Whether files in the lake have exactly the bytes that we sent, by name. None where the store cannot prove it."""
    if not files:
        return {}
    from metalake_sync.remote.content_proof import compare_bytes
    from metalake_sync.remote.item_details import remote_sizes

    sizes = remote_sizes(client, [remote for _, remote in files], threads)
    same_size = [(file, remote) for file, remote in files if sizes.get(file.name) == file.fingerprint.size_bytes]
    proofs = compare_bytes(client, [_pair(file, remote, base_dir) for file, remote in same_size], threads)
    same_bytes: dict[str, bool | None] = {file.name: False for file, _ in files}
    return same_bytes | {file.name: proofs.get(remote.unique_name) for file, remote in same_size}


def is_untouched(file: JournalledFile, base_dir: Path) -> bool:
    """Whether the local file still has the fingerprint that it had when it was sent."""
    return file.fingerprint == present_fingerprint(file, base_dir)


def _pair(file: JournalledFile, remote: RemoteFile, base_dir: Path) -> Pair:
    from metalake_sync.remote.content_proof import Pair

    path = os.path.join(base_dir, file.path) if is_untouched(file, base_dir) else ""
    etags = tuple(file.finished_parts[number] for number in sorted(file.finished_parts))
    return Pair(remote.unique_name, path, file.fingerprint.size_bytes, etags=etags)


@dataclass(frozen=True, slots=True)
class SessionDecision:
    """What a run does with one session."""

    session: JournalledSession
    resume: bool
    """Whether to finish the session. Otherwise it is forgotten, and its files are sent like any others, if at all."""
    wanted: tuple[JournalledFile, ...]
    """Its files that the plan sends."""
    unwanted: tuple[JournalledFile, ...]
    """Its files that the plan does not send."""


def decide_sessions(
    sessions: Iterable[JournalledSession], collection: CollectionPlan | None, *, same_collection: bool, partial: bool
) -> Iterator[SessionDecision]:
    """Decide about the sessions of one collection.

    `collection`: its plan, None if the manifest does not have it any more. `same_collection`: the lake still has the
    collection in which the sessions were opened. `partial`: the run covers only a part of the manifest. A partial run
    finishes a session only if it wants all of its files, and leaves other sessions to the next full run. So does a run
    that leaves some of the session's files alone for now.
    """
    uploads = collection.uploads if collection is not None else ()
    sent = {action.file.name: action.file for action in uploads if isinstance(action, UploadFile)}
    in_lake = {known.name for known in collection.recovered} if collection is not None else set()
    held = collection.held if collection is not None else frozenset()
    for session in sessions:
        wanted = tuple(
            file
            for file in session.files
            if (now := sent.get(file.name)) and now.path == file.path and now.fingerprint == file.fingerprint
        )
        names = {file.name for file in wanted}
        rest = [file for file in session.files if file.name not in names and file.name not in in_lake]
        # Completing a session adds every finalized file of it to the collection.
        whole = session.completed or all(file.content_hash is None for file in rest)
        due = bool(wanted or (session.completed and rest))
        resume = collection is not None and same_collection and whole and due
        undecided = partial or any(file.name in held for file in rest)
        if undecided and (rest or (wanted and not resume)):
            continue
        unwanted = () if resume and session.completed else tuple(file for file in rest if file.name not in sent)
        yield SessionDecision(session, resume, wanted, unwanted)


def decide_open_sessions(
    state: StateStore,
    plans: Iterable[CollectionPlan],
    recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]],
    in_manifest: Set[CollectionKey],
    *,
    partial: bool,
    base_dir: Path,
    threads: int,
) -> Iterator[tuple[CollectionKey, list[SessionDecision]]]:
    """Decide about every open session of a lake, by collection.

    `recorded`: the lake's collections with their row ids. `in_manifest`: the collections of the manifest. The sessions
    of one without a plan are left alone.
    """
    planned = {plan.key: plan for plan in plans}
    for key, (handle, known) in recorded.items():
        plan = planned.get(key)
        if plan is None and (key in in_manifest or partial):
            continue
        sessions = with_present_fingerprints(state.journal.sessions([handle]), base_dir, threads, state.hash_cache)
        same_collection = plan is not None and plan.lake_id == known.lake_id
        found = (
            list(decide_sessions(sessions, plan, same_collection=same_collection, partial=partial)) if sessions else []
        )
        if found:
            yield key, found


def deduct_sent(plans: Iterable[CollectionPlan], left_open: Mapping[CollectionKey, Sequence[SessionDecision]]) -> None:
    """Tell the uploads of the plans how much of their files interrupted runs sent, in sessions that are resumed.

    A run calls it again if it covers less than its plan, and so may resume fewer sessions.
    """
    for plan in plans:
        sent = {
            file.name: bytes_sent_of(file) for one in left_open.get(plan.key, ()) if one.resume for file in one.wanted
        }
        for number, action in enumerate(plan.uploads):
            if isinstance(action, UploadFile) and action.sent_before != sent.get(action.file.name, 0):
                plan.uploads[number] = replace(action, sent_before=sent.get(action.file.name, 0))


def bytes_sent_of(file: JournalledFile) -> int:
    """Return how many bytes of a file the object store has confirmed."""
    size_bytes = file.fingerprint.size_bytes
    if file.content_hash is not None:
        return size_bytes  # Every part is confirmed before the hash is journalled.
    part = file.part_size or 0
    return sum(min(part, size_bytes - (number - 1) * part) for number in file.finished_parts)


def notes_on_abandoned_uploads(
    state: StateStore,
    left_open: Mapping[CollectionKey, Sequence[SessionDecision]],
    recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]],
) -> Iterator[Note]:
    """Yield a note for each collection with files of interrupted runs that this plan does not send.

    `left_open`: the decisions about open sessions.
    """
    for key, decisions in left_open.items():
        unwanted = [file for one in decisions for file in one.unwanted]
        sent = state.files.named(recorded[key][0], [file.name for file in unwanted])
        names = sorted(
            file.name for file in unwanted if file.name not in sent or sent[file.name].content_hash != file.content_hash
        )
        if names:
            clause = (
                f"an interrupted run started to upload {counted(len(names), 'file', 'files')} that this plan does not"
                " contain; the upload is abandoned"
            )
            yield Note.naming(NoteCode.UPLOAD_ABANDONED, clause, names, str(key))


TAKEN, REFUSED, UNKNOWN = "taken", "refused", "unknown"

TRY_AGAIN = "metalake-sync state forget MANIFEST --trashed-names"
"""The command after which the next apply tries to replace one file again."""


def answer_key(lake: str) -> str:
    """The key under which the state keeps whether a lake accepts the name of a trashed file again."""
    return f"trashed names: {lake}"


def replacement_notes(
    state: StateStore,
    lake: str,
    plans: Sequence[CollectionPlan],
    recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]],
) -> Iterator[Note]:
    """Notes on files that an earlier run lost in the trash, and on replacements that the lake does not allow.

    Reads the state only if a plan uploads a name that the lake had before.
    """
    for plan in plans:
        replaces = sum(isinstance(action, ReplaceFile) for action in plan.uploads)
        again = [action.file.name for action in plan.uploads if isinstance(action, UploadFile) and _sent_before(action)]
        if again and plan.key in recorded:
            lost = {file.name: file.lake_id for file in state.pending_replacements.lost(recorded[plan.key][0])}
            for name in filter(lost.__contains__, again):
                message = (
                    f"is lost in trash: an earlier run trashed it (id {lost[name]}) to replace it, but the upload of"
                    " the new file failed; no call restores a file from the trash"
                )
                yield Note(NoteCode.LOST_IN_TRASH, message, f"{plan.key}/{name}")
        if replaces and state.learned(answer_key(lake)) == REFUSED:
            message = (
                "the lake rejected the name of a trashed file before, so an apply skips"
                f" {counted(replaces, 'replacement', 'replacements')}; if it accepts such names now, run"
                f" '{TRY_AGAIN}'"
            )
            yield Note(NoteCode.NAMES_REFUSED, message, str(plan.key))


def _sent_before(action: UploadFile) -> bool:
    return action.reason in (Reason.MISSING_IN_LAKE, Reason.CONTENT_CHANGED)
