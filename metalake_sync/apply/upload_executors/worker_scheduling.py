"""The workers of a run: opening them, giving them tasks, and when they get none.

Owns: the slots for slices, the shares of parallelism and bandwidth, and the return to this process after too many
failures of workers. Must not: know what a slice becomes (`slices`), or start processes (`pools`). Longer than 300
lines, because every failure of a worker changes the same few counts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Self

from metalake_sync.apply.upload_executors.base import SliceJournal, UploadSlice
from metalake_sync.apply.upload_executors.in_process import InProcessExecutor
from metalake_sync.apply.upload_executors.pools import Pool, PoolOpener
from metalake_sync.apply.upload_executors.tasks import (
    Answer,
    Counted,
    Stopped,
    Task,
    TaskKind,
    TaskLimits,
    WorkerSetup,
    content_of,
    make_task,
    run_task,
)
from metalake_sync.errors import SyncError
from metalake_sync.redaction import describe
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.transfers.limits import MOST_FILES
from metalake_sync.remote.transfers.upload import Transfer
from metalake_sync.remote.transfers.upload_files import (
    FileFailed,
    FileSent,
    FileToSend,
    Outcome,
    StoredFile,
    UploadSession,
)

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

MOST_BREAKS = 3
"""How many pools may break, or how many slices in a row may be unseen, before this process sends all that is left."""

FIRST_REST_S, LONGEST_REST_S = 2.0, 64.0
"""How long workers get nothing, in seconds, after one of them had to stop. Doubles each time."""


class WorkerLost(Exception):
    """The worker of a task died, or its pool broke. The task may have been carried out."""


class WorkerScheduler:
    """The workers of a run, and this process as one of them. Used as an async context manager.

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

    async def __aenter__(self) -> Self:
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
        self.start()
        assert self._opening is not None, "it was started"
        await asyncio.shield(self._opening)

    def start(self) -> None:
        """Begin to open the workers, if that has not begun."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())

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

        Raises WorkerLost if it did not answer, and the error of a worker that cannot work for this run.
        """
        pool = self._pool
        if pool is None and self._opening is not None:
            pool = await asyncio.shield(self._opening)
        if pool is None or self.given_up:
            raise WorkerLost
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
            raise WorkerLost from None
        except (BrokenExecutor, RuntimeError):
            # A pool that was shut down refuses tasks with a RuntimeError.
            self._broke(pool)
            raise WorkerLost from None
        except Exception:  # noqa: BLE001 - tasks never raise, so the worker or the way to it failed
            raise WorkerLost from None

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
