"""Sends the files of an open upload session through an executor, and journals what a later run needs to resume them.

Owns: open sessions with their sent files, the errors for files that the lake rejects, and what is journalled when. A
part is journalled as soon as the store has confirmed it, a file before it is finalized. Must not: open, complete or
record sessions.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import field
from pathlib import Path
from typing import assert_never

from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.apply.trash import NameTaken
from metalake_sync.apply.upload_executors.base import UploadExecutor, UploadSlice
from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.snapshots import CollectionKey, Fingerprint
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.transfers.upload_files import (
    FileElsewhere,
    FileExisting,
    FileFailed,
    FileSent,
    FileToSend,
    Outcome,
    ResumePoint,
    UploadSession,
)
from metalake_sync.state.journal import AboutToFinalize, JournalledFile, UploadJournal
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

WRITE_WITHIN_S = 0.01
"""How long a file that is ready may wait for others to share its transaction, in seconds.

A transaction costs as much as three requests, and other files are in transfer meanwhile.
"""

WRITE_AT_ONCE = 64


class SessionJournal:
    """Writes what a later run needs to resume the session. Small files have one part, so there is nothing to resume."""

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
        """Return when the file is journalled on the disk, because from then on the lake may have it.

        Files that are ready at the same time share one transaction and one sync.
        """
        self._to_write.append(
            AboutToFinalize(file.name, content_hash, point.file_id, point.file_key, point.part_size, point.finished)
        )
        written = self._written
        if written is None:
            loop = asyncio.get_running_loop()
            written = self._written = loop.create_future()
            # If all waiters were cancelled, an earlier error is already ending the run.
            written.add_done_callback(lambda done: done.cancelled() or done.exception())
            loop.call_later(WRITE_WITHIN_S, self._commit, written)
        if len(self._to_write) >= WRITE_AT_ONCE:
            self._commit(written)
        # Cancelling one file must not cancel the transaction of the others.
        await asyncio.shield(written)

    async def slice_about_to_finalize(self, files: Sequence[AboutToFinalize]) -> None:
        """Return when these files are journalled on the disk. They share one transaction and one sync."""
        with self._state.write():
            self._journal.about_to_finalize(self._upload_id, files)
        await asyncio.get_running_loop().run_in_executor(None, self._state.sync)

    def _commit(self, written: asyncio.Future[None]) -> None:
        """Commit the files that wait for `written`, unless that was done before, and sync the disk in a thread."""
        if written is not self._written:
            return
        files, self._to_write, self._written = self._to_write, [], None
        try:
            with self._state.write():
                self._journal.about_to_finalize(self._upload_id, files)
        except Exception as error:  # noqa: BLE001 - the waiting files raise it
            written.set_exception(error)
            return
        synced = asyncio.get_running_loop().run_in_executor(None, self._state.sync)
        synced.add_done_callback(lambda done: _pass_on(done, written))

    def bytes_sent(self, size_bytes: int) -> None:
        self._progress.bytes_sent += size_bytes

    def close(self) -> None:
        """Write nothing more. Files that still wait belong to a run that failed, and are not finalized."""
        self._to_write, self._written = [], None


def _pass_on(done: asyncio.Future[None], waiting: asyncio.Future[None]) -> None:
    """Copy the outcome of one future to another, unless that one is done already."""
    error = asyncio.CancelledError() if done.cancelled() else done.exception()
    if waiting.done():
        return
    if error is None:
        waiting.set_result(None)
    elif isinstance(error, asyncio.CancelledError):
        waiting.cancel()
    else:
        waiting.set_exception(error)


SENT_AT_ONCE = 250
"""How many sent files are journalled together."""

ReportFailure = Callable[[str, SyncError, bool], None]
"""Receives the name of a failed file, the error, and whether a later run may succeed without changes."""


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file whose bytes the lake has finalized, with the fingerprint and hash of the bytes that were sent."""

    name: str
    path: str
    fingerprint: Fingerprint
    content_hash: str


@dataclass(slots=True)
class OpenSession:
    """An open session with its sent files."""

    wire: UploadSession
    key: CollectionKey
    handle: CollectionHandle
    """Of the recorded collection."""
    common: MetadataSet
    """The metadata that the session gives to every file."""
    sent: list[SentFile] = field(default_factory=list)
    names_refused: bool = False
    """Whether the lake rejected the name of a file that is in its trash."""


class SessionFiles:
    """Sends files of open sessions."""

    def __init__(self, executor: UploadExecutor, state: StateStore, base_dir: Path, progress: ProgressMeter) -> None:
        self._executor = executor
        self._state = state
        self._prefix = os.path.join(base_dir, "")
        self._progress = progress

    async def send(
        self,
        session: OpenSession,
        files: Sequence[JournalledFile],
        failed: ReportFailure,
        ours: Mapping[str, str] | frozenset[str],
        last_files_started: Callable[[], None] = lambda: None,
    ) -> None:
        """Send files. `ours`: name → hash of files that an interrupted run was about to finalize.

        If the lake already has one of them, it is the file that we sent.
        """
        journal = SessionJournal(self._state, session.wire.upload_id, self._progress)
        part = UploadSlice(session.wire, tuple(map(self._to_send, files)))
        unwritten: list[str] = []
        try:
            async with aclosing(self._executor.upload(part, journal, last_files_started)) as outcomes:
                async for outcome in outcomes:
                    sent = self._take(session, outcome, failed, ours)
                    self._progress.files_done += 1
                    if sent:
                        unwritten.append(sent)
                    if len(unwritten) >= SENT_AT_ONCE:
                        self._journal_sent(session, unwritten)
        finally:
            journal.close()
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
        failed: ReportFailure,
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
                    "another client uploaded a file of this name meanwhile",
                    status=200,
                    where=f"{session.key}/{file.name}",
                    remedy="The 'adopt' setting decides what happens to the file.",
                )
                failed(file.name, error, True)
            case FileElsewhere():
                error = NameTaken(
                    "it was removed from this collection and is in another one now, so the lake rejects it",
                    status=200,
                    where=f"{session.key}/{file.name}",
                    remedy="Add it to the collection in the lake's web page, or give it another name.",
                )
                failed(file.name, error, False)
            case FileFailed():
                failed(file.name, outcome.error, outcome.retryable)
            case _:
                assert_never(outcome)
        return None

    # Local files.

    def _to_send(self, file: JournalledFile) -> FileToSend:
        resume = None
        if file.file_id and file.file_key and file.part_size:
            resume = ResumePoint(file.file_id, file.file_key, file.part_size, file.finished_parts)
        # `os.path.join` would take a third of the time of this function.
        path = file.path if file.path.startswith("/") else self._prefix + file.path
        return FileToSend(file.name, path, file.fingerprint, content_type(file.name), resume)

    def _manifest_path(self, file: FileToSend) -> str:
        return file.path.removeprefix(self._prefix)


def content_type(name: str) -> str:
    """The media type of a file, by its extension."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
