"""The executor that sends slices of small files through worker processes, and all other files from this process.

Owns: the two phases of a slice, and which slices are repeated. A worker says what it did. What it did not do for a
reason that may lie in the worker itself (it stopped, it died, it sees no file) is done here, so that every failure is
decided by the same code as without workers. Must not: decide whether workers get a slice (`worker_scheduling`), or
write the journal before its rows are complete.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from metalake_sync.apply.upload_executors.base import SliceJournal, UploadSlice
from metalake_sync.apply.upload_executors.tasks import (
    FailedRow,
    FinalizeAnswer,
    PutAnswer,
    StoredRow,
    content_of,
)
from metalake_sync.apply.upload_executors.worker_scheduling import WorkerLost, WorkerScheduler
from metalake_sync.errors import LakeRejected
from metalake_sync.remote.transfers.upload_files import (
    FileElsewhere,
    FileExisting,
    FileFailed,
    FileSent,
    FileToSend,
    Outcome,
    ResumePoint,
    StoredFile,
    is_small,
)
from metalake_sync.state.journal import AboutToFinalize

LOCAL_FILES = 256
"""Files sent from this process before it looks for workers again."""

ATTEMPTS = 2
"""How often a slice is given to workers. After that it is sent from this process."""


class WorkerExecutor(WorkerScheduler):
    """Sends small files through workers."""

    async def upload(
        self, part: UploadSlice, journal: SliceJournal, last_files_started: Callable[[], None]
    ) -> AsyncGenerator[Outcome, None]:
        self.start()
        async with aclosing(_Upload(self, part, journal, last_files_started).outcomes()) as outcomes:
            async for outcome in outcomes:
                yield outcome


def _nothing() -> None:
    pass


class _Upload:
    """One call of `upload`: its files, its running slices, and the outcomes that wait to be yielded."""

    def __init__(
        self, owner: WorkerScheduler, part: UploadSlice, journal: SliceJournal, last_files_started: Callable[[], None]
    ) -> None:
        self._owner = owner
        self._session = part.session
        self._journal = journal
        self._pending = deque(file for file in part.files if is_small(file))
        self._others = tuple(file for file in part.files if not is_small(file))
        self._small = len(self._pending)
        self._to_start = 1 + bool(self._others)
        self._last_files_started = last_files_started
        self._ready: asyncio.Queue[Outcome | asyncio.Task[None]] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()

    async def outcomes(self) -> AsyncGenerator[Outcome, None]:
        """Yield the outcome of each file. An error of the run is raised after the outcomes before it."""
        try:
            self._start(self._dispatch())
            if self._others:
                self._start(self._send_here(self._others, self._part_started))
            while self._running or not self._ready.empty():
                ready = await self._ready.get()
                if isinstance(ready, asyncio.Task):
                    self._running.discard(ready)
                    ready.result()
                else:
                    yield ready
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ready.put_nowait)

    def _part_started(self) -> None:
        self._to_start -= 1
        if not self._to_start:
            self._last_files_started()

    async def _dispatch(self) -> None:
        """Give the small files to workers slice by slice, or send them here while workers are not usable."""
        while self._pending:
            if await self._owner.take_slot():
                files = self._owner.cut(self._pending, self._owner.files_in_slice(self._small))
                self._start(self._slice(files))
                continue
            most = len(self._pending) if self._owner.given_up else LOCAL_FILES
            files = [self._pending.popleft() for _ in range(min(most, len(self._pending)))]
            if not self._pending:
                await self._send_here(files, self._part_started)
                return
            await self._send_here(files)
        self._part_started()

    async def _send_here(
        self,
        files: Sequence[FileToSend],
        last_files_started: Callable[[], None] = _nothing,
        ours: Mapping[str, FileSent] | None = None,
    ) -> None:
        """Send files from this process. `ours`: by name, those that a worker may have finalized already."""
        part = UploadSlice(self._session, tuple(files))
        async with aclosing(self._owner.send_here(part, self._journal, last_files_started)) as outcomes:
            async for outcome in outcomes:
                if ours and isinstance(outcome, FileExisting):
                    self._ready.put_nowait(ours[outcome.file.name])
                else:
                    self._ready.put_nowait(outcome)

    # A slice.

    async def _slice(self, files: Sequence[FileToSend]) -> None:
        """Send one slice through workers. Holds a slot until both phases are over."""
        try:
            put, left = await self._put(files)
            doubtful = await self._finalize(files, put) if put is not None and put.stored else []
        finally:
            self._owner.leave_slot()
        if doubtful:
            await self._send_here([one.resumed for one in doubtful], ours={one.file.name: one.sent for one in doubtful})
        if left:
            await self._send_here(left)

    async def _put(self, files: Sequence[FileToSend]) -> tuple[PutAnswer | None, list[FileToSend]]:
        """Phase 1. Returns the answer, or None, and the files to send from this process."""
        rows = [_row(file) for file in files]
        for _ in range(ATTEMPTS):
            try:
                put = cast(
                    PutAnswer, await self._owner.ask("put", len(rows), self._session, self._owner.limits(), rows)
                )
            except WorkerLost:
                continue
            if put.stopped is not None:
                self._owner.rest(put.stopped)
                if put.stopped.why == "unseen":
                    continue
            if put.stored:
                self._owner.seen()
            known = {row[0] for row in put.stored}
            for failed in put.failed:
                known.add(failed.index)
                self._ready.put_nowait(_outcome(files[failed.index], failed))
            return put, [file for index, file in enumerate(files) if index not in known]
        return None, list(files)

    async def _finalize(self, files: Sequence[FileToSend], put: PutAnswer) -> list[_Stored]:
        """Journal a slice, then phase 2.

        Returns the files that the lake rejected after a finalize call without an answer: it may have them already.
        """
        stored = [_Stored(files[row[0]], row) for row in put.stored]
        for row in put.stored:
            self._journal.bytes_sent(row[6])
        await self._journal.slice_about_to_finalize([one.journalled for one in stored])
        left = set(range(len(stored)))
        rejected: list[_Stored] = []

        def ended(place: int, outcome: Outcome, again: bool) -> None:
            left.discard(place)
            if again and isinstance(outcome, FileFailed):
                rejected.append(stored[place])
            else:
                self._ready.put_nowait(outcome)

        for attempt in range(ATTEMPTS):
            try:
                answer = cast(
                    FinalizeAnswer,
                    await self._owner.ask("finalize", len(stored), self._session, self._owner.limits(), put.ticket),
                )
            except WorkerLost:
                continue
            for place in answer.done:
                ended(place, stored[place].sent, attempt > 0)
            for failed in answer.failed:
                ended(failed.index, _outcome(stored[failed.index].file, failed), attempt > 0)
            if answer.stopped is not None:
                self._owner.rest(answer.stopped)
            break
        if left:
            urls = [row[4] for row in content_of(put.ticket)]
            to_end = [stored[place].with_url(urls[place]) for place in sorted(left)]
            places = {stored[place].file.name: place for place in left}
            async with aclosing(self._owner.finalize_here(self._session, to_end)) as outcomes:
                async for outcome in outcomes:
                    ended(places[outcome.file.name], outcome, again=True)
        return rejected


class _Stored:
    """A file of a slice whose bytes are in the store."""

    __slots__ = ("_row", "file")

    def __init__(self, file: FileToSend, row: StoredRow) -> None:
        self.file = file
        self._row = row

    @property
    def _point(self) -> ResumePoint:
        _, file_id, key, part_size, etags, _, _ = self._row
        return ResumePoint(file_id, key, part_size, etags)

    @property
    def journalled(self) -> AboutToFinalize:
        _, file_id, key, part_size, etags, content_hash, _ = self._row
        return AboutToFinalize(self.file.name, content_hash, file_id, key, part_size, etags)

    @property
    def sent(self) -> FileSent:
        return FileSent(self.file, self._row[1], self._row[5], self._row[6])

    @property
    def resumed(self) -> FileToSend:
        """The file as the next run would resume it."""
        return replace(self.file, resume=self._point)

    def with_url(self, url: str) -> StoredFile:
        return StoredFile(self.file, self._point, self._row[5], url, self._row[6])


def _row(file: FileToSend) -> tuple[str, str, int, int, int, int, str]:
    found = file.fingerprint
    return (
        file.name,
        file.path,
        found.size_bytes,
        found.mtime_ns,
        found.inode,
        found.ctime_ns,
        file.content_type,
    )


def _outcome(file: FileToSend, failed: FailedRow) -> Outcome:
    match failed.why:
        case "existing":
            return FileExisting(file)
        case "elsewhere":
            return FileElsewhere(file)
        case "failed":
            error = failed.error or LakeRejected("a worker reported a failure without a reason", status=500)
            return FileFailed(file, error, failed.retryable)
