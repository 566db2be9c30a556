"""Writes the journal of one upload session while its files are sent.

Owns: what is journalled when. A part is journalled as soon as the store has confirmed it, a file before it is
finalized. Must not: send anything.
"""

from __future__ import annotations

import asyncio

from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.remote.transfers.transfer import FileToSend, ResumePoint
from metalake_sync.state.journal import AboutToFinalize, UploadJournal
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
