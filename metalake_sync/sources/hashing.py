"""Content hashes: BLAKE3 of the bytes of a file, valid for the fingerprint that the file had while it was read.

Owns: safe reading of one file and of many. Only regular files are opened, so a FIFO cannot block. A file that changes
while it is read is an error, never a wrong hash. Must not: use a memory map, because a file that shrinks under one
kills the process.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.errors import SourceChanged, SyncError
from metalake_sync.sources import hash_worker
from metalake_sync.sources.hash_worker import (
    CHUNK_BYTES,
    MOVED,
    NOT_REGULAR,
    Expected,
    Unhashable,
    Wanted,
    hash_regular,
    hash_some,
    open_if_regular,
    read_head_of_regular,
    read_regular,
    receive,
    send,
)

if TYPE_CHECKING:
    import subprocess
    from concurrent.futures import ThreadPoolExecutor

FILES_PER_TASK = 64
TASKS_PER_THREAD = 4

FILES_FOR_PROCESSES = 4000
"""From this number of small files on, processes are worth the 50 ms that they need to start."""

SMALL_BYTES = 128 << 10
"""Files below this average size are small: opening them takes longer than hashing them, and needs the GIL."""

RACY_NS = 2_000_000_000
"""Two seconds: the resolution of the coarsest timestamps in use (FAT)."""


class HashRequest(NamedTuple):
    """A file to read, with its expected fingerprint."""

    path: str
    expected: Fingerprint


class HashOutcome(NamedTuple):
    """The hash in hex, or None with the error."""

    path: str
    expected: Fingerprint
    content_hash: str | None
    error: SyncError | None = None


def is_racy(fingerprint: Fingerprint, looked_at_ns: int) -> bool:
    """Return whether a file is so recent that it could change again without a change of its timestamps.

    `looked_at_ns` is when the scan began, in nanoseconds since the epoch. Git calls such index entries racy.
    """
    # An mtime far in the future was set by hand: a write sets it to the current time.
    content_is_young = looked_at_ns - RACY_NS < fingerprint.mtime_ns <= looked_at_ns + RACY_NS
    return content_is_young or fingerprint.ctime_ns > looked_at_ns - RACY_NS


def open_regular(path: str) -> int:
    """Open a regular file for reading without blocking, or raise SourceChanged. The caller compares fingerprints."""
    try:
        descriptor = open_if_regular(path)
    except Unhashable as reason:
        raise _changed(path, str(reason)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _changed(path, NOT_REGULAR)
    return descriptor


def fingerprint_of(descriptor: int) -> Fingerprint:
    found = os.fstat(descriptor)
    return Fingerprint.of(found)


def hash_file(path: str, expected: Fingerprint) -> str:
    """Hash a file. Raises SourceChanged unless it has the expected fingerprint before and after."""
    try:
        return hash_regular(path, _expected(expected))
    except Unhashable as reason:
        raise _changed(path, str(reason)) from None


def read_file(path: str, expected: Fingerprint) -> bytes:
    """Return the bytes of a small file. Raises SourceChanged unless it has the expected fingerprint."""
    try:
        return read_regular(path, _expected(expected))
    except Unhashable as reason:
        raise _changed(path, str(reason)) from None


def read_head(path: str, expected: Fingerprint, size_bytes: int) -> bytes:
    """Return up to `size_bytes` of a file. Raises SourceChanged unless it has the expected fingerprint."""
    try:
        return read_head_of_regular(path, _expected(expected), size_bytes)
    except Unhashable as reason:
        raise _changed(path, str(reason)) from None


def _expected(fingerprint: Fingerprint) -> Expected:
    return fingerprint.size_bytes, fingerprint.mtime_ns, fingerprint.inode, fingerprint.ctime_ns


def _changed(path: str, reason: str) -> SourceChanged:
    remedy = "The next run uploads it as it is then." if reason == MOVED else None
    return SourceChanged(reason, where=path, remedy=remedy)


def changed_while_read(path: str) -> SourceChanged:
    """The error of a file whose version is not the expected one."""
    return _changed(path, MOVED)


def hash_files(requests: Iterable[HashRequest], threads: int) -> Generator[HashOutcome, None, None]:
    """Hash many files and yield the outcomes in order. Errors are outcomes. Memory does not grow.

    A caller that may stop early must close the iterator (`contextlib.closing`), which ends the processes.
    """
    with Hasher(threads) as hasher:
        yield from hasher.hash_files(requests)


class Hasher:
    """Hashes many files at once: a few in this thread, more in threads, thousands of small ones in processes.

    `threads` is the number of threads or processes. Use it as a context manager, from one thread. Closing it, or an
    iterator before its end, ends the processes immediately.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._small_files = 0
        self._workers: list[_Worker] | None = None
        self._next_worker = 0
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Hasher:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        """End processes and threads without waiting for their work. They are started again when needed."""
        pool, workers = self._pool, self._workers or ()
        self._pool = self._workers = None
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.end()

    def hash_files(self, requests: Iterable[HashRequest]) -> Generator[HashOutcome, None, None]:
        """Yield the outcomes in the order of the requests. Errors are outcomes."""
        remaining = iter(requests)
        under_way: deque[Callable[[], list[HashOutcome]]] = deque()
        try:
            while True:
                while len(under_way) < self._threads * TASKS_PER_THREAD:
                    task = list(islice(remaining, FILES_PER_TASK))
                    if not task:
                        break
                    alone = not under_way and len(task) < FILES_PER_TASK
                    under_way += self._begin(task, alone)
                if not under_way:
                    return
                yield from under_way.popleft()()
        finally:
            if under_way:
                # These answers are not needed any more, and the next caller must not get them.
                self._stop()

    def _begin(self, task: list[HashRequest], alone: bool) -> Iterator[Callable[[], list[HashOutcome]]]:
        """Start a task. `alone`: whether it is the only one."""
        size = sum(request.expected.size_bytes for request in task)
        if size < SMALL_BYTES * len(task):
            self._small_files += len(task)
        if self._small_files >= FILES_FOR_PROCESSES and self._workers is None:
            self._workers = _Worker.start(self._threads)
        if self._workers:
            share = -(-len(task) // len(self._workers)) if alone else len(task)
            for start in range(0, len(task), share):
                self._next_worker = (self._next_worker + 1) % len(self._workers)
                yield self._workers[self._next_worker].begin(task[start : start + share])
        elif alone and size < CHUNK_BYTES:
            yield partial(_hash_some, task)
        else:
            if self._pool is None:
                # Most plans hash nothing, and this import takes as long as scanning a few thousand files.
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="hash")
            yield self._pool.submit(_hash_some, task).result


class _Worker:
    """A process that hashes. If it dies, its files are hashed in this process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls, count: int) -> list[_Worker]:
        """Start `count` processes. Return none if the system refuses."""
        import subprocess

        program = (sys.executable, "-I", hash_worker.__file__)
        try:
            return [cls(subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) for _ in range(count)]
        except OSError:
            return []

    def begin(self, task: list[HashRequest]) -> Callable[[], list[HashOutcome]]:
        """Send a task and return a function that waits for its outcomes. Answers come in the order of tasks."""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            # As bytes: Python may decode file names differently in the other process.
            send(self._process.stdin, [(os.fsencode(path), expected) for path, expected in _wanted(task)])
        return partial(self._answer, task)

    def _answer(self, task: list[HashRequest]) -> list[HashOutcome]:
        assert self._process.stdout is not None
        try:
            answers = receive(self._process.stdout)
        except EOFError:
            return _hash_some(task)
        return _outcomes(task, answers)

    def end(self) -> None:
        """Kill the process. It only reads, so this is safe."""
        self._process.kill()
        # Requests that were not written yet are lost.
        with contextlib.suppress(BrokenPipeError), self._process:
            pass


def _hash_some(task: list[HashRequest]) -> list[HashOutcome]:
    return _outcomes(task, hash_some(_wanted(task)))


def _wanted(task: list[HashRequest]) -> list[Wanted]:
    return [(request.path, _expected(request.expected)) for request in task]


def _outcomes(task: list[HashRequest], answers: list[tuple[str, str]]) -> list[HashOutcome]:
    return [
        HashOutcome(
            request.path,
            request.expected,
            content_hash or None,
            _changed(request.path, reason) if reason else None,
        )
        for request, (content_hash, reason) in zip(task, answers, strict=True)
    ]
