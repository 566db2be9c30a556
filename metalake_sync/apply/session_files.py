"""Sends the files of an open upload session through an executor, and journals which of them were sent.

Owns: open sessions with their sent files, and the errors for files that the lake rejects. Must not: open, complete or
record sessions.
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import assert_never

from metalake_sync.apply.executors.base import UploadExecutor, UploadSlice
from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.apply.trashed_names import NameTaken
from metalake_sync.apply.upload_journal import SessionJournal
from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.snapshots import CollectionKey, Fingerprint
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.transfers.transfer import (
    FileElsewhere,
    FileExisting,
    FileFailed,
    FileSent,
    FileToSend,
    Outcome,
    ResumePoint,
    UploadSession,
)
from metalake_sync.state.journal import JournalledFile
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

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
        self._base_dir = base_dir
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
            async for outcome in self._executor.upload(part, journal, last_files_started):
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
        path = os.path.join(self._base_dir, file.path)
        return FileToSend(file.name, path, file.fingerprint, content_type(file.name), resume)

    def _manifest_path(self, file: FileToSend) -> str:
        return file.path.removeprefix(os.path.join(self._base_dir, ""))


def content_type(name: str) -> str:
    """The media type of a file, by its extension."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
