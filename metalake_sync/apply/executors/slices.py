"""The executor that sends slices of small files through worker processes, and all other files from this process.

Owns: the two phases of a slice, which slices are repeated, and when files are sent from this process instead. A worker
says what it did. What it did not do for a reason that may lie in the worker itself (it stopped, it died, it sees no
file) is done here, so that every failure is decided by the same code as without workers.
Must not: open workers (`pools`), or write the journal before its rows are complete.

Longer than 300 lines, because the two phases share what is repeated, counted and given back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from metalake_sync.apply.executors.base import SliceJournal, UploadSlice
from metalake_sync.apply.executors.in_process import InProcessExecutor
from metalake_sync.apply.executors.pools import Pool, PoolOpener
from metalake_sync.apply.executors.tasks import (
    Answer,
    Counted,
    FailedRow,
    FinalizeAnswer,
    PutAnswer,
    Stopped,
    StoredRow,
    Task,
    TaskKind,
    TaskLimits,
    WorkerSetup,
    content_of,
    make_task,
    run_task,
)
from metalake_sync.errors import LakeRejected, SyncError
from metalake_sync.redaction import describe
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.transfers.limits import MOST_FILES
from metalake_sync.remote.transfers.upload import Transfer
from metalake_sync.remote.transfers.upload_files import (
    FileElsewhere,
    FileExisting,
    FileFailed,
    FileSent,
    FileToSend,
    Outcome,
    ResumePoint,
    StoredFile,
    UploadSession,
    is_small,
)
from metalake_sync.state.journal import AboutToFinalize

SLICE_FILES = 256
SLICE_BYTES = 64 << 20
"""The size limits of a slice."""

FEWEST_SLICE_FILES = 64
"""Slices are smaller than SLICE_FILES if that gives every worker some, but not smaller than this."""

SLICE_S = 5.0
"""How many seconds a slice may take with a bandwidth limit."""

TASKS_PER_WORKER = 2
"""Slices in progress for each worker: one at work, one that waits."""

WARM_UP_FILES = 128
"""Files sent from this process before workers get any. A limit of the lake's rate shows with them, once."""

LOCAL_FILES = 256
"""Files sent from this process before it looks for workers again."""

ATTEMPTS = 2
"""How often a slice is given to workers. After that it is sent from this process."""

MOST_BREAKS = 3
"""How many pools may break, or how many slices in a row may be unseen, before this process sends all that is left."""

FIRST_REST_S, LONGEST_REST_S = 2.0, 64.0
"""How long workers get nothing, in seconds, after one of them had to stop. Doubles each time."""


class _WorkerLost(Exception):
    """The worker of a task died, or its pool broke. The task may have been carried out."""


class WorkerExecutor:
    """Sends small files through workers. Used as an async context manager.

    `local`, `transfer`: send from this process. `counter`: counts the requests of all workers too. `tell`: receives a
    sentence when workers are not used any more, or not for a while. `bytes_per_s`: the limit of the run.
    """

    def __init__(
        self,
        transfer: Transfer,
        open_pool: PoolOpener,
        setup: WorkerSetup,
        counter: RequestCounter,
        tell: Callable[[str], None],
        bytes_per_s: float | None = None,
    ) -> None:
        self.local = InProcessExecutor(transfer)
        self._transfer = transfer
        self._open_pool = open_pool
        self._setup = setup
        self._counter = counter
        self._tell = tell
        self._bytes_per_s = bytes_per_s
        self._pool: Pool | None = None
        self._opening: asyncio.Task[Pool | None] | None = None
        self._slots: asyncio.Semaphore | None = None
        self._workers = 1
        self._ready = False
        self._refusal: SyncError | None = None
        self._breaks = 0
        self._unseen = 0
        self._rest_until = 0.0
        self._rest_s = FIRST_REST_S / 2
        self._sent_here = 0
        self._working = 0
        self._sending_here = 0
        self._closing = False
        self.given_up = False
        """Whether workers get no more slices in this run."""

    async def __aenter__(self) -> WorkerExecutor:
        return self

    async def __aexit__(self, *_: object) -> None:
        # A pool that is still being opened is ended too, so that no process is left.
        self._closing = True
        pool = self._pool
        if pool is None and self._opening is not None:
            pool = await self._opening
        self._pool = None
        if pool is not None:
            await asyncio.to_thread(pool.end)

    @property
    def parallelism(self) -> int | None:
        return self.local.parallelism

    async def upload(
        self, part: UploadSlice, journal: SliceJournal, last_files_started: Callable[[], None]
    ) -> AsyncGenerator[Outcome, None]:
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        async with aclosing(_Upload(self, part, journal, last_files_started).outcomes()) as outcomes:
            async for outcome in outcomes:
                yield outcome

    # Workers.

    def can_work(self) -> bool:
        """Whether workers may get a slice now. Raises the error of a worker that cannot work for this run."""
        if self._refusal is not None:
            raise self._refusal
        return (
            self._ready
            and not self.given_up
            and self._sent_here >= WARM_UP_FILES
            # One process reaches every limit that is known, so that the lake has one client while it has a limit.
            and self._transfer.rates.unlimited
            and time.monotonic() >= self._rest_until
        )

    async def take_slot(self) -> bool:
        """Wait until a slice may be given to workers. False: the next files are to be sent from this process."""
        if not self.can_work():
            return False
        assert self._slots is not None, "workers that can work are open"
        await self._slots.acquire()
        if self.can_work():
            return True
        self._slots.release()
        return False

    def leave_slot(self) -> None:
        assert self._slots is not None, "a slot was taken"
        self._slots.release()

    def cut(self, pending: deque[FileToSend], most_files: int) -> list[FileToSend]:
        """Remove the next slice from the files that wait."""
        most_bytes = float(SLICE_BYTES)
        if self._bytes_per_s is not None:
            most_bytes = min(most_bytes, SLICE_S * self._bytes_per_s / self._workers)
        files: list[FileToSend] = []
        size = 0
        while pending and len(files) < most_files:
            size += pending[0].fingerprint.size_bytes
            if files and size > most_bytes:
                break
            files.append(pending.popleft())
        return files

    def files_in_slice(self, total: int) -> int:
        """Return how many files each slice of an upload should have."""
        share = -(-total // (TASKS_PER_WORKER * self._workers))
        return max(1, min(SLICE_FILES, max(share, FEWEST_SLICE_FILES)))

    async def open(self) -> None:
        """Open the workers, and return when one of them has answered or none will. Errors are raised by `upload`."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)

    async def _open(self) -> Pool | None:
        try:
            pool = await asyncio.to_thread(self._open_pool)
        except SyncError as error:
            self._refusal = error
            return None
        except Exception as error:  # noqa: BLE001 - the code of a user, or of a library
            self._refusal = SyncError(f"workers could not be started ({describe(error)})", where="workers")
            return None
        if self._slots is None:
            self._share_parallelism(pool.workers)
        if self._closing:
            return pool
        self._pool = pool
        hello = make_task("hello", 0, (self._setup,))
        try:
            asking = [asyncio.wrap_future(pool.executor.submit(run_task, hello)) for _ in range(self._workers)]
        except BrokenExecutor:
            self._broke(pool)
            return None
        for answer in asking:
            answer.add_done_callback(lambda done: self._greeted(pool, done))
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        return self._pool

    def _share_parallelism(self, workers: int) -> None:
        """Divide the files that may be in transfer at once among the workers and this process."""
        most = self._transfer.parallelism
        if most is None:
            self._workers = max(1, workers)
            files_at_once = max(1, MOST_FILES // self._workers)
            slots = TASKS_PER_WORKER * self._workers
        else:
            self._workers = max(1, min(workers, most - 1))
            files_at_once = max(1, most // (self._workers + 1))
            slots = self._workers if self._workers < workers else TASKS_PER_WORKER * self._workers
            self._transfer.concurrency.lower_most_to(most - self._workers * files_at_once)
            self.given_up = most == 1
        self._setup = replace(self._setup, files_at_once=files_at_once)
        self._slots = asyncio.Semaphore(slots)

    def _greeted(self, pool: Pool, answered: asyncio.Future[Answer]) -> None:
        if answered.cancelled():
            return
        error = answered.exception()
        if pool is not self._pool:
            return
        if isinstance(error, BrokenExecutor):
            self._broke(pool)
        elif error is not None:
            self._refusal = SyncError(
                f"a worker could not be used ({type(error).__name__}: {error})",
                where="workers",
                remedy="Install the same version of metalake-sync on all workers.",
            )
        elif answered.result().refusal is not None:
            self._refusal = answered.result().refusal
        else:
            self._ready = True

    def _broke(self, pool: Pool) -> None:
        """Open another pool in the place of a broken one, unless too many broke."""
        if pool is not self._pool:
            return
        self._pool = None
        self._ready = False
        self._breaks += 1
        end = asyncio.get_running_loop().run_in_executor(None, pool.end)
        end.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._breaks >= MOST_BREAKS:
            self._give_up(f"{self._breaks} times a worker process ended unexpectedly")
        else:
            self._opening = asyncio.create_task(self._open())

    def _give_up(self, why: str) -> None:
        if not self.given_up:
            self.given_up = True
            self._tell(f"{why}; the remaining files are sent from this process")

    def rest(self, stopped: Stopped) -> None:
        """Give nothing to workers for a while, because one had to stop."""
        now = time.monotonic()
        if stopped.why == "unseen":
            self._unseen += 1
            if self._unseen >= MOST_BREAKS:
                self._give_up(f"workers do not see the files, for example {stopped.text}")
        elif now >= self._rest_until:
            self._rest_s = min(LONGEST_REST_S, 2 * self._rest_s)
            self._rest_until = now + self._rest_s
            if stopped.why == "failed":
                self._tell(f"a worker could not send its files ({stopped.text}); they are sent from this process")

    def seen(self) -> None:
        """A worker saw the files of a slice."""
        self._unseen = 0

    async def ask(self, kind: TaskKind, count: int, *content: object) -> Any:
        """Let a worker carry out a task, and return the content of its answer.

        Raises _WorkerLost if it did not answer, and the error of a worker that cannot work for this run.
        """
        pool = self._pool
        if pool is None and self._opening is not None:
            pool = await asyncio.shield(self._opening)
        if pool is None or self.given_up:
            raise _WorkerLost
        task = make_task(kind, count, (self._setup, *content))
        self._working += 1
        self._share_bandwidth()
        try:
            answer = await self._submit(pool, task)
        finally:
            self._working -= 1
            self._share_bandwidth()
        if answer.refusal is not None:
            raise answer.refusal
        received = content_of(answer.body)
        self._count(received.counted)
        return received

    async def _submit(self, pool: Pool, task: Task) -> Answer:
        try:
            future = pool.executor.submit(run_task, task)
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            running = asyncio.current_task()
            if running is not None and running.cancelling():
                raise
            # The pool cancelled its tasks.
            self._broke(pool)
            raise _WorkerLost from None
        except (BrokenExecutor, RuntimeError):
            # A pool that was shut down refuses tasks with a RuntimeError.
            self._broke(pool)
            raise _WorkerLost from None
        except Exception:  # noqa: BLE001 - tasks never raise, so the worker or the way to it failed
            raise _WorkerLost from None

    def _count(self, counted: Counted) -> None:
        self._counter.add(counted.requests, counted.writes, counted.bytes_sent)

    # The bandwidth limit of the run.

    def limits(self) -> TaskLimits:
        """The share of the limits that a new task may use."""
        rate = self._bytes_per_s
        senders = self._workers + (1 if self._sending_here else 0)
        return TaskLimits(None if rate is None else rate / senders, self._transfer.rates.unavoidable)

    def _share_bandwidth(self) -> None:
        """Leave this process the bandwidth that its workers do not use."""
        if self._bytes_per_s is None:
            return
        working = min(self._workers, self._working)
        share = self._bytes_per_s / (self._workers + 1)
        self._transfer.bandwidth.change(max(share, self._bytes_per_s - working * share))

    async def send_here(
        self, part: UploadSlice, journal: SliceJournal, last_files_started: Callable[[], None]
    ) -> AsyncGenerator[Outcome, None]:
        """Send files from this process."""
        self._sending_here += 1
        try:
            async with aclosing(self.local.upload(part, journal, last_files_started)) as outcomes:
                async for outcome in outcomes:
                    self._sent_here += 1
                    yield outcome
        finally:
            self._sending_here -= 1

    def finalize_here(
        self, session: UploadSession, files: Sequence[StoredFile]
    ) -> AsyncGenerator[FileSent | FileFailed, None]:
        """Finalize journalled files from this process."""
        return self._transfer.finalize(session, files)


def _nothing() -> None:
    pass


class _Upload:
    """One call of `upload`: its files, its running slices, and the outcomes that wait to be yielded."""

    def __init__(
        self, owner: WorkerExecutor, part: UploadSlice, journal: SliceJournal, last_files_started: Callable[[], None]
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
            except _WorkerLost:
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
            except _WorkerLost:
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
