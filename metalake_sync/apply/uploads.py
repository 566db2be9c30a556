"""The upload stage: a batch of files through one upload session, from the first call to the record.

Owns: the order of calls in a session and what is journalled when. A session is journalled before its first file is
begun, a file before it is finalized, a part as soon as the store has confirmed it; the lake shows a file only when its
session is completed and the lake's job is done, and only then it is recorded.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import assert_never

from metalake_sync.apply.collections import Collections
from metalake_sync.apply.jobs import wait_for_job
from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import Reason, ReplaceFile, UploadFile
from metalake_sync.core.events import Resumed, SessionOpened
from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey, Fingerprint, Origin, RemoteFile
from metalake_sync.errors import LakeRefused, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.open_sessions import SessionDecision, compare_sent, is_untouched
from metalake_sync.planning.run_options import CALLS_AT_ONCE
from metalake_sync.protocol.uploads import OpenUpload
from metalake_sync.protocol.wire import StorageKind
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.listings import find_newest
from metalake_sync.remote.media_kinds import media_kind
from metalake_sync.remote.transfers.transfer import (
    FileElsewhere,
    FileExisting,
    FileFailed,
    FileSent,
    FileToSend,
    Outcome,
    ResumePoint,
    Transfer,
    UploadSession,
)
from metalake_sync.state.files import ConfirmedFile
from metalake_sync.state.handles import CollectionHandle
from metalake_sync.state.journal import AboutToFinalize, JournalledFile, JournalledSession, UploadJournal
from metalake_sync.state.store import StateStore

WRITE_WITHIN_S = 0.01
"""How long a file that is ready may wait for others to be written down with it. A transaction costs as much as three
requests, and others are on the wire meanwhile."""

WRITE_AT_ONCE = 64
SENT_AT_ONCE = 250

UploadAction = UploadFile | ReplaceFile


class NameTaken(LakeRefused):
    """The lake has, or remembers, a file of this name, and does not take another."""


NAME_REFUSED = frozenset({406, 409})
"""The statuses with which a lake may refuse a name that is in its trash."""


def sends_used_name(action: UploadAction) -> bool:
    """Whether an upload takes a name that was trashed before this run."""
    return isinstance(action, UploadFile) and action.reason in (Reason.MISSING_IN_LAKE, Reason.CONTENT_CHANGED)


def sends_trashed_name(action: UploadAction) -> bool:
    """Whether an upload takes a name that is in the trash when it sets out."""
    return isinstance(action, ReplaceFile) or sends_used_name(action)


def refuses_name(error: SyncError) -> bool:
    """Whether the lake's answer to the upload of a trashed name can mean that it does not take the name again."""
    return isinstance(error, NameTaken) or (isinstance(error, LakeRefused) and error.status in NAME_REFUSED)


def name_refused(error: SyncError) -> LakeRefused:
    """What to tell of a file whose trashed name the lake does not take. The lake's own words stay."""
    said = "" if isinstance(error, NameTaken) else f" ({error.message})"
    return LakeRefused(
        f"the lake does not take the name of a trashed file again{said}",
        status=error.status if isinstance(error, LakeRefused) else 200,
        remedy="Give the local file another name, or empty the lake's trash in the web page and apply again.",
    )


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file whose bytes the lake has finalized. What is recorded is what was sent."""

    name: str
    path: str
    fingerprint: Fingerprint
    content_hash: str


@dataclass(slots=True)
class OpenSession:
    """A session with files on the wire or sent. `handle`: of the recorded collection. `common`: what every file
    carries. `names_refused`: the lake did not take the name of a file that is in its trash."""

    wire: UploadSession
    key: CollectionKey
    handle: CollectionHandle
    common: MetadataSet
    sent: list[SentFile] = field(default_factory=list)
    names_refused: bool = False


def cut_batches(
    uploads: Sequence[UploadAction], *, max_files: int, max_bytes: int
) -> Iterator[tuple[UploadAction, ...]]:
    """Cut a collection's uploads into batches of at most so many files and, but for single large ones, bytes."""
    batch: list[UploadAction] = []
    size = 0
    for action in uploads:
        size_bytes = action.file.fingerprint.size_bytes
        if batch and (len(batch) == max_files or size + size_bytes > max_bytes):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(action)
        size += size_bytes
    if batch:
        yield tuple(batch)


class JournallingObserver:
    """Writes down what a later run needs to go on, as it happens. Small files have one part: nothing to go on from."""

    def __init__(self, state: StateStore, upload_id: str, progress: ProgressMeter) -> None:
        self._state = state
        self._journal: UploadJournal = state.journal
        self._upload_id = upload_id
        self._progress = progress
        self._to_write: list[AboutToFinalize] = []
        self._written: asyncio.Future[None] | None = None

    def file_begun(self, file: FileToSend, file_id: str, file_key: str, part_size: int, part_count: int) -> None:
        if part_count > 1:
            with self._state.write():
                self._journal.file_begun(self._upload_id, file.name, file_id, file_key, part_size)

    def part_finished(self, file: FileToSend, file_id: str, part_number: int, etag: str, size_bytes: int) -> None:
        if size_bytes < file.fingerprint.size_bytes:
            with self._state.write():
                self._journal.part_finished(file_id, part_number, etag)

    async def about_to_finalize(self, file: FileToSend, point: ResumePoint, content_hash: str) -> None:
        """Return when it is on the disk: from here on, the lake may have the file. Files that come at the same time
        share one transaction and one sync."""
        self._to_write.append(
            AboutToFinalize(file.name, content_hash, point.file_id, point.file_key, point.part_size, point.finished)
        )
        written = self._written
        if written is None:
            loop = asyncio.get_running_loop()
            written = self._written = loop.create_future()
            # Where all that wait for it were cancelled, an earlier error is ending the run already.
            written.add_done_callback(lambda done: done.cancelled() or done.exception())
            loop.call_later(WRITE_WITHIN_S, self._write_down, written)
        if len(self._to_write) >= WRITE_AT_ONCE:
            self._write_down(written)
        # A file that is cancelled must not take the transaction of the others with it.
        await asyncio.shield(written)

    def _write_down(self, written: asyncio.Future[None]) -> None:
        """Commit the files that wait for `written`, unless that was done, and have a thread see it onto the disk."""
        if written is not self._written:
            return
        files, self._to_write, self._written = self._to_write, [], None
        try:
            with self._state.write():
                self._journal.about_to_finalize(self._upload_id, files)
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            written.set_exception(error)
            return
        synced = asyncio.get_running_loop().run_in_executor(None, self._state.sync)
        synced.add_done_callback(lambda done: _hand_on(done, written))

    def bytes_sent(self, size_bytes: int) -> None:
        self._progress.bytes_sent += size_bytes


def _hand_on(done: asyncio.Future[None], waiting: asyncio.Future[None]) -> None:
    """Give the outcome of one future to another, unless nothing waits for it any more."""
    error = asyncio.CancelledError() if done.cancelled() else done.exception()
    if waiting.done():
        return
    if error is None:
        waiting.set_result(None)
    elif isinstance(error, asyncio.CancelledError):
        waiting.cancel()
    else:
        waiting.set_exception(error)


class Uploads:
    """Sends batches and finishes sessions."""

    def __init__(
        self,
        client: LakeClient,
        transfer: Transfer,
        recorder: Recorder,
        collections: Collections,
        base_dir: Path,
        progress: ProgressMeter,
    ) -> None:
        self._client = client
        self._transfer = transfer
        self._threads = transfer.parallelism or CALLS_AT_ONCE
        self._recorder = recorder
        self._collections = collections
        self._base_dir = base_dir
        self._progress = progress
        self._state = recorder.state

    async def send(
        self, collection: CollectionPlan, batch: Sequence[UploadAction], last_ones: Callable[[], None]
    ) -> OpenSession:
        """Open a session and send a batch. Files that fail are told and left out; a lake that is gone is raised.
        `last_ones`: called when the last files set out."""
        answer = await asyncio.to_thread(
            self._client.open_upload,
            OpenUpload(
                collection_type=media_kind(collection.key.type),
                collection_name=collection.key.name,
                meta_data_object=dict(collection.common_metadata.values),
                storage_prefix_path=collection.storage_prefix,
                object_key_list=[action.file.name for action in batch],
            ),
        )
        handle = await self._collections.opened(collection, answer.collection_id)
        wire = UploadSession(
            answer.upload_id,
            answer.job_id,
            answer.collection_id,
            collection.key.name,
            StorageKind(answer.storage_type),
        )
        session = OpenSession(wire, collection.key, handle, collection.common_metadata)
        files = tuple(JournalledFile(action.file.name, action.file.path, action.file.fingerprint) for action in batch)
        with self._state.write():
            self._state.metadata_sets.remember([session.common])
            self._state.journal.open_session(
                JournalledSession(
                    wire.upload_id, handle, wire.job_id, wire.storage.value, session.common.digest, False, files
                )
            )
        self._recorder.tell(SessionOpened(collection.key.name, wire.job_id))
        by_name = {action.file.name: action for action in batch}

        def failed(name: str, error: SyncError, retryable: bool) -> None:
            action = by_name[name]
            if sends_trashed_name(action) and refuses_name(error):
                session.names_refused = True
                error = name_refused(error)
            self._recorder.fail([action], error, retryable=retryable)

        await self._transfer_files(session, [self._to_send(file) for file in files], failed, frozenset(), last_ones)
        return session

    async def resume(
        self, collection: CollectionPlan, left_open: SessionDecision, actions: Mapping[str, UploadAction]
    ) -> tuple[OpenSession, dict[str, RemoteFile]]:
        """Finish a session that an interrupted run left open. Returns it, and what the lake has by it, by name.

        Of an open session only the wanted files are sent. Of one that was completed before, everything is in the lake
        or on its way there, so all of it is recorded. `actions`: of the plan, by file name. Raises LakeRefused where
        the lake does not know the session any more, or its job failed.
        """
        journalled = left_open.session
        wire = UploadSession(
            journalled.upload_id,
            journalled.job_id,
            collection.lake_id or "",
            collection.key.name,
            StorageKind(journalled.storage),
        )
        common = self._state.metadata_sets.values(journalled.metadata_digest) or {}
        session = OpenSession(
            wire, collection.key, journalled.collection, MetadataSet(common, journalled.metadata_digest)
        )
        files = journalled.files if journalled.completed else left_open.wanted
        session.sent += [_as_sent(file) for file in files if file.sent and file.content_hash is not None]
        left = [file for file in files if not file.sent]
        begun = {file.name: file.content_hash for file in left if file.content_hash is not None}
        if not journalled.completed:
            await self._transfer_files(
                session,
                [self._to_send(file) for file in left if is_untouched(file, self._base_dir)],
                lambda _name, _error, _retryable: None,
                ours=begun,
            )
        sent = {file.name for file in session.sent}
        # Their finalize went out and was not answered.
        session.sent += [_as_sent(file) for file in left if file.name in begun and file.name not in sent]
        listed = await self._completed(session)
        by_name = {file.name: file for file in files}
        to_prove = [(by_name[name], remote) for name, remote in listed.items()]
        proofs = await asyncio.to_thread(compare_sent, self._client, to_prove, self._base_dir, self._threads)
        found = {name: remote for name, remote in listed.items() if proofs[name] is not False}
        wanted = {file.name for file in left_open.wanted}
        done = [
            replace(action, file=replace(action.file, content_hash=file.content_hash))
            for file in session.sent
            if file.name in found and file.name in wanted and (action := actions.get(file.name))
        ]
        self._recorder.confirm(done, lambda: self._record_files(session, found))
        self._recorder.tell(Resumed(collection.key.name, len(found)))
        return session, found

    def forget(self, left_open: SessionDecision) -> None:
        """Drop a session from the journal."""
        with self._state.write():
            self._state.journal.close_session(left_open.session.upload_id)

    async def finish(self, session: OpenSession, batch: Sequence[UploadAction]) -> dict[str, RemoteFile]:
        """Complete a session, wait for the lake's job, find the new items and record them. Returns them by name."""
        try:
            found = await self._completed(session)
        except SyncError as error:
            if isinstance(error, LakeRefused):
                names = {file.name for file in session.sent}
                if all(map(sends_trashed_name, batch)) and refuses_name(error):
                    session.names_refused = True
                    error = name_refused(error)
                self._recorder.fail([a for a in batch if a.file.name in names], error, retryable=True)
                return {}
            raise
        by_name = {action.file.name: action for action in batch}
        sent = [file for file in session.sent if file.name in found]
        actions = [
            replace(action, file=replace(action.file, content_hash=file.content_hash))
            for file in sent
            for action in [by_name[file.name]]
        ]
        self._recorder.confirm(actions, lambda: self._record_files(session, found))
        lost = [by_name[file.name] for file in session.sent if file.name not in found]
        if lost:
            unlisted = LakeRefused("the lake confirmed the upload and does not list the file", status=200)
            self._recorder.fail(lost, unlisted, retryable=True)
        return found

    # One session.

    async def _transfer_files(
        self,
        session: OpenSession,
        files: Sequence[FileToSend],
        failed: Callable[[str, SyncError, bool], None],
        ours: Mapping[str, str] | frozenset[str],
        last_ones: Callable[[], None] = lambda: None,
    ) -> None:
        """Send files. `ours`: name → hash of files that were about to be finalized when a run died: where the lake has
        such a file, it is ours."""
        observer = JournallingObserver(self._state, session.wire.upload_id, self._progress)
        unwritten: list[str] = []
        try:
            async for outcome in self._transfer.upload(session.wire, files, observer, last_ones):
                sent = self._take(session, outcome, failed, ours)
                self._progress.files_done += 1
                if sent:
                    unwritten.append(sent)
                if len(unwritten) >= SENT_AT_ONCE:
                    self._journal_sent(session, unwritten)
        finally:
            self._journal_sent(session, unwritten)

    def _journal_sent(self, session: OpenSession, names: list[str]) -> None:
        if names:
            with self._state.write():
                self._state.journal.files_sent(session.wire.upload_id, names)
            names.clear()

    def _take(
        self,
        session: OpenSession,
        outcome: Outcome,
        failed: Callable[[str, SyncError, bool], None],
        ours: Mapping[str, str] | frozenset[str],
    ) -> str | None:
        file = outcome.file
        path = self._manifest_path(file)
        match outcome:
            case FileSent():
                session.sent.append(SentFile(file.name, path, file.fingerprint, outcome.content_hash))
                return file.name
            case FileExisting():
                if isinstance(ours, Mapping) and file.name in ours:
                    session.sent.append(SentFile(file.name, path, file.fingerprint, ours[file.name]))
                    return file.name
                error = NameTaken(
                    "somebody put a file of this name into the lake meanwhile",
                    status=200,
                    where=f"{session.key}/{file.name}",
                    remedy="Run apply again: 'adopt' decides what becomes of it.",
                )
                failed(file.name, error, True)
            case FileElsewhere():
                error = NameTaken(
                    "it was removed from this collection and lives in another one, so the lake does not take it",
                    status=200,
                    where=f"{session.key}/{file.name}",
                    remedy="Add it to the collection in the web page, or give it another name.",
                )
                failed(file.name, error, False)
            case FileFailed():
                failed(file.name, outcome.error, outcome.retryable)
            case _:
                assert_never(outcome)
        return None

    async def _completed(self, session: OpenSession) -> dict[str, RemoteFile]:
        """Tell the lake that the session is through, wait for its job, and list what came of it."""
        complete = partial(self._client.complete_upload, session.wire.upload_id, False)
        await asyncio.to_thread(complete)
        with self._state.write():
            self._state.journal.session_completed(session.wire.upload_id)
        await wait_for_job(self._client, session.wire.job_id, ask_again=complete)
        names = {file.name for file in session.sent}
        if not names:
            return {}
        return await asyncio.to_thread(find_newest, self._client, session.wire.collection_id, session.key.type, names)

    def _record_files(self, session: OpenSession, found: Mapping[str, RemoteFile]) -> None:
        confirmed = [
            ConfirmedFile(
                file.name,
                file.path,
                self._recorder.trusted(file.fingerprint),
                file.content_hash,
                session.common,
                found[file.name].lake_id,
                found[file.name].unique_name,
                Origin.UPLOADED,
            )
            for file in session.sent
            if file.name in found
        ]
        self._state.files.record(session.handle, confirmed, self._recorder.run_id)
        # If another client trashes these files, the collection has the same count and newest file as before.
        self._state.collections.forget_listed(session.handle)
        self._state.journal.close_session(session.wire.upload_id)

    # Local files.

    def _to_send(self, file: JournalledFile) -> FileToSend:
        resume = None
        if file.file_id and file.file_key and file.part_size:
            resume = ResumePoint(file.file_id, file.file_key, file.part_size, file.finished_parts)
        path = os.path.join(self._base_dir, file.path)
        return FileToSend(file.name, path, file.fingerprint, content_type(file.name), resume)

    def _manifest_path(self, file: FileToSend) -> str:
        return file.path.removeprefix(os.path.join(self._base_dir, ""))


def _as_sent(file: JournalledFile) -> SentFile:
    return SentFile(file.name, file.path, file.fingerprint, file.content_hash or "")


def content_type(name: str) -> str:
    """The media type that a store is told, by the file's ending."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
