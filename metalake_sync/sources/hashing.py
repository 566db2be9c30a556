"""Content hashes: BLAKE3 of what a file holds, tied to the fingerprint that it had while it was read.

Owns: safe reading (only regular files are opened, a FIFO can't block, a file that changes meanwhile is an error and not
a wrong hash) and reading many at once. No memory map: a file that shrinks under one kills the process.
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
"""So many small files are worth the 50 ms that processes need to start."""

SMALL_BYTES = 128 << 10
"""Files of this size on average are small: what is around a hash takes longer than it, and needs Python's lock."""

RACY_NS = 2_000_000_000
"""Two seconds: the coarsest time stamp that is still in use (FAT)."""


class HashRequest(NamedTuple):
    """A file to read, and what it is expected to be."""

    path: str
    expected: Fingerprint


class HashOutcome(NamedTuple):
    """`content_hash` in hex, or None with the error."""

    path: str
    expected: Fingerprint
    content_hash: str | None
    error: SyncError | None = None


def is_racy(fingerprint: Fingerprint, looked_at_ns: int) -> bool:
    """Whether a file is so young that it could change once more without its times showing it.

    `looked_at_ns`: when looking began, in nanoseconds since the epoch. Git calls such index entries racy.
    """
    # A time of content far ahead of the clock was set by hand: a write sets it back to now.
    content_is_young = looked_at_ns - RACY_NS < fingerprint.mtime_ns <= looked_at_ns + RACY_NS
    return content_is_young or fingerprint.ctime_ns > looked_at_ns - RACY_NS


def open_regular(path: str) -> int:
    """Open a regular file for reading, or raise SourceChanged; never blocks. Whoever calls compares fingerprints."""
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
    """Hash a file. Raises SourceChanged if it is not, or does not stay, what was expected."""
    try:
        return hash_regular(path, _expected(expected))
    except Unhashable as reason:
        raise _changed(path, str(reason)) from None


def read_file(path: str, expected: Fingerprint) -> bytes:
    """A small file, whole. Raises SourceChanged if it is not, or does not stay, what was expected."""
    try:
        return read_regular(path, _expected(expected))
    except Unhashable as reason:
        raise _changed(path, str(reason)) from None


def _expected(fingerprint: Fingerprint) -> Expected:
    return fingerprint.size_bytes, fingerprint.mtime_ns, fingerprint.inode, fingerprint.ctime_ns


def _changed(path: str, reason: str) -> SourceChanged:
    remedy = "The next run takes it as it is then." if reason == MOVED else None
    return SourceChanged(reason, where=path, remedy=remedy)


def changed_while_read(path: str) -> SourceChanged:
    """The error of a file whose version is not the expected one."""
    return _changed(path, MOVED)


def hash_files(requests: Iterable[HashRequest], threads: int) -> Generator[HashOutcome, None, None]:
    """Hash many files, in the order asked for; errors are outcomes. Memory stays flat.

    A caller that may stop early closes the iterator (`contextlib.closing`), which ends the processes at once.
    """
    with Hasher(threads) as hasher:
        yield from hasher.hash_files(requests)


class Hasher:
    """Hashes files, many at once: few of them here, more in threads, and thousands of small ones in processes.

    `threads`: how many at once, either way. Used as a context manager, by one thread. The processes live until it is
    closed; closing it, or an iterator that is not at its end, ends them at once, whatever they are working on.
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
        """End processes and threads without waiting for what they were asked. What is needed later is started anew."""
        pool, workers = self._pool, self._workers or ()
        self._pool = self._workers = None
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.end()

    def hash_files(self, requests: Iterable[HashRequest]) -> Generator[HashOutcome, None, None]:
        """The outcomes in the order asked for; errors are outcomes."""
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
                # Nobody will read these answers, and the next caller must not get them.
                self._stop()

    def _begin(self, task: list[HashRequest], alone: bool) -> Iterator[Callable[[], list[HashOutcome]]]:
        """Set a task going. `alone`: there is nothing else to do meanwhile."""
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
                # Most plans hash nothing, and this import costs as much as scanning some thousand files.
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="hash")
            yield self._pool.submit(_hash_some, task).result


class _Worker:
    """A process that hashes. One that died is no loss: what it owes is done here."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls, count: int) -> list[_Worker]:
        """Start so many; none where the system does not let us."""
        import subprocess

        program = (sys.executable, "-I", hash_worker.__file__)
        try:
            return [cls(subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) for _ in range(count)]
        except OSError:
            return []

    def begin(self, task: list[HashRequest]) -> Callable[[], list[HashOutcome]]:
        """Ask for the hashes of some files; what is returned waits for them. Answers come in the order of tasks."""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            # As bytes: with other settings of Python there, letters may mean others.
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
        """End it at once: it only reads, so nothing can be left half done."""
        self._process.kill()
        # What is still to be written to it is lost with it.
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
