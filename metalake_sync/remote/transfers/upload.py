"""Uploads many files at once in one event loop.

Owns: how many files are in flight, and how far a failure reaches: a failure of one file is an outcome, and the other
files continue; a failure of the run is raised. Must not: open or complete sessions, or record anything (the observer
does).
"""

from __future__ import annotations

import resource
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import TypeVar

from metalake_sync.errors import LakeRejected, SignedUrlExpired, SourceChanged, SyncError
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.async_calls import AsyncCalls
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.storage import PART_BYTES, Store, TooManyParts, store_for
from metalake_sync.remote.transfers.file_upload import PARTS_AT_ONCE, FileUpload, UploadChannel, finalize
from metalake_sync.remote.transfers.limits import MOST_FILES, Bandwidth, ConcurrencyController
from metalake_sync.remote.transfers.upload_files import (
    FileFailed,
    FileSent,
    FileToSend,
    Outcome,
    PutOutcome,
    ReadFile,
    Source,
    StoredFile,
    TransferObserver,
    UploadSession,
)
from metalake_sync.remote.transfers.workers import Lane, WeightedSemaphore, run_side_by_side

OutcomeT = TypeVar("OutcomeT")

SMALL_BYTES_AT_ONCE = 32 << 20
"""Bytes of small files in flight at once. They are completely in memory."""

BUFFERS_AT_ONCE = 32
"""Parts of large files in flight at once. Each has a buffer for its next chunk, and one in the socket's queue."""

DESCRIPTORS_KEPT = 160
"""File descriptors reserved for the state, the sources and Python itself."""


class Transfer:
    """Sends files. Used as an async context manager.

    `parallelism`: an upper bound of files in flight; the actual number is found by `ConcurrencyController`.
    `rate_limit_bytes_s`: None means no limit. `stop_when_limited`: raise RateLimited where a call would have to wait
    for the rate that a server allows.
    """

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy,
        parallelism: int | None = None,
        counter: RequestCounter | None = None,
        rate_limit_bytes_s: float | None = None,
        stop_when_limited: bool = False,
    ) -> None:
        counter = counter or RequestCounter()
        most = most_files(parallelism)
        self.parallelism = parallelism
        self.concurrency = ConcurrencyController(time.monotonic, most=most)
        self._places = WeightedSemaphore(lambda: self.concurrency.limit)
        self._small = WeightedSemaphore(lambda: SMALL_BYTES_AT_ONCE)
        self._buffers = WeightedSemaphore(lambda: BUFFERS_AT_ONCE)
        calls = AsyncCalls(
            address,
            retry=retry,
            connections=most + BUFFERS_AT_ONCE,
            counter=counter,
            on_failure=self.concurrency.record_failure,
            on_answer=self.concurrency.record_call,
            stop_when_limited=stop_when_limited,
        )
        self.bandwidth = Bandwidth(rate_limit_bytes_s)
        self.rates = calls.rates
        self._channel = UploadChannel(calls, self.bandwidth, counter)

    async def __aenter__(self) -> Transfer:
        await self._channel.calls.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.calls.__aexit__(kind, error, trace)

    def upload(
        self,
        session: UploadSession,
        files: Iterable[FileToSend],
        observer: TransferObserver,
        last_ones: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[Outcome, None]:
        """Send files within a session, and yield their outcomes as they finish.

        Several uploads may run at once; they share the limits, first come, first served. `last_ones` is called when the
        last files start, so that the caller can prepare the next batch. Raises failures of the run (credentials, an
        unreachable lake) after the outcomes that precede them.
        """
        return self._send(
            session, files, last_ones, lambda read: FileUpload(self._channel, session, read, observer).run()
        )

    def put(
        self, session: UploadSession, files: Iterable[FileToSend], observer: TransferObserver
    ) -> AsyncGenerator[PutOutcome, None]:
        """Send the bytes of files to the store, and yield their outcomes. No file is finalized. Raises as `upload`."""
        return self._send(
            session, files, lambda: None, lambda read: FileUpload(self._channel, session, read, observer).put()
        )

    async def finalize(
        self, session: UploadSession, files: Iterable[StoredFile]
    ) -> AsyncGenerator[FileSent | FileFailed, None]:
        """Finalize stored files, and yield their outcomes. The caller has journalled them. Raises as `upload`."""
        left = iter(files)

        async def take() -> StoredFile | None:
            return next(left, None)

        async def end(stored: StoredFile) -> FileSent | FileFailed:
            try:
                await finalize(self._channel.calls, session.upload_id, stored.point, stored.finalize_url)
            except LakeRejected as error:
                return _failed(stored.file, error)
            return FileSent(stored.file, stored.point.file_id, stored.content_hash, stored.bytes_sent)

        async with aclosing(run_side_by_side([Lane(take)], end, self._places)) as outcomes:
            async for outcome in outcomes:
                self.concurrency.record_file()
                yield outcome

    async def _send(
        self,
        session: UploadSession,
        files: Iterable[FileToSend],
        last_ones: Callable[[], None],
        send: Callable[[ReadFile], Awaitable[OutcomeT]],
    ) -> AsyncGenerator[OutcomeT | FileFailed, None]:
        """Read files, and pass each to `send`. A failure of a file is an outcome."""
        source = Source(files, lambda: self.concurrency.limit, last_ones)
        store = store_for(session.storage)
        lanes = [
            Lane(source.take_large, self._buffers, lambda read: _buffers(read.file, store)),
            Lane(source.take_small, self._small, lambda read: read.file.fingerprint.size_bytes),
        ]

        async def outcome_of(read: ReadFile) -> OutcomeT | FileFailed:
            if read.error is not None:
                return FileFailed(read.file, read.error, retryable=True)
            try:
                return await send(read)
            except (SourceChanged, SignedUrlExpired, TooManyParts, LakeRejected) as error:
                return _failed(read.file, error)

        try:
            async with aclosing(run_side_by_side(lanes, outcome_of, self._places)) as outcomes:
                async for outcome in outcomes:
                    self.concurrency.record_file()
                    yield outcome
        finally:
            await source.close()


def _failed(file: FileToSend, error: SyncError) -> FileFailed:
    """Return the outcome of a file for an error that concerns it alone."""
    retryable = error.status >= 500 if isinstance(error, LakeRejected) else not isinstance(error, TooManyParts)
    return FileFailed(file, error, retryable)


def most_files(parallelism: int | None) -> int:
    """Return the upper bound of files in flight: the requested one, or what the limit of open files allows.

    A file in flight can hold a connection to the lake and one to the store.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files = MOST_FILES if soft == resource.RLIM_INFINITY else max(1, (soft - DESCRIPTORS_KEPT) // 2)
    return min(parallelism or MOST_FILES, open_files, MOST_FILES)


def _buffers(file: FileToSend, store: Store) -> int:
    """Return how many parts of a large file can be in flight at once."""
    parts = -(-file.fingerprint.size_bytes // PART_BYTES)
    return min(parts, PARTS_AT_ONCE if store.parallel_parts else 1)
