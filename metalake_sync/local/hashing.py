"""Content hashes: BLAKE3 of what a file holds, tied to the fingerprint that it had while it was read.

Owns: safe reading (only regular files are opened, a FIFO can't block, a file that changes meanwhile is an error and not
a wrong hash) and reading many at once. No memory map: a file that shrinks under one kills the process.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

from blake3 import blake3

from metalake_sync.core.facts import Fingerprint
from metalake_sync.errors import SourceChanged, SyncError
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from concurrent.futures import Future

CHUNK_BYTES = 1 << 20
FILES_PER_TASK = 64
TASKS_PER_THREAD = 4

RACY_NS = 2_000_000_000
"""Two seconds: the coarsest time stamp that is still in use (FAT)."""


@dataclass(frozen=True, slots=True)
class HashRequest:
    """A file to read, and what it is expected to be."""

    path: str
    expected: Fingerprint


@dataclass(frozen=True, slots=True)
class HashOutcome:
    """`content_hash` in hex, or None with the error."""

    path: str
    expected: Fingerprint
    content_hash: str | None
    error: SyncError | None = None


def is_racy(fingerprint: Fingerprint, looked_at_ns: int) -> bool:
    """Whether a file is so young that it could change once more without its times showing it.

    `looked_at_ns`: when looking began, in nanoseconds since the epoch. Git calls such index entries racy.
    """
    return max(fingerprint.mtime_ns, fingerprint.ctime_ns) > looked_at_ns - RACY_NS


def open_regular(path: str) -> int:
    """Open a regular file for reading, or raise SourceChanged; never blocks.

    A link is followed: whoever calls compares fingerprints, so that a link which was put in a file's place leads to
    another file than was expected. Devices are not even opened: that alone can move a tape.
    """
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) if regular else -1
    except OSError as error:
        raise SourceChanged(f"it can't be opened now ({error.strerror})", where=path) from None
    if descriptor >= 0 and stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    if descriptor >= 0:
        os.close(descriptor)
    raise SourceChanged("it is no regular file any more", where=path)


def fingerprint_of(descriptor: int) -> Fingerprint:
    found = os.fstat(descriptor)
    return Fingerprint(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)


def hash_file(path: str, expected: Fingerprint) -> str:
    """Hash a file. Raises SourceChanged if it is not, or does not stay, what was expected."""
    descriptor = open_regular(path)
    try:
        _check(path, descriptor, expected)
        if expected.size_bytes < CHUNK_BYTES:
            # One read, of a byte more than there is: what is short is the whole file.
            digest = blake3(os.read(descriptor, expected.size_bytes + 1))
        else:
            digest = blake3()
            buffer = memoryview(bytearray(CHUNK_BYTES))
            while read := os.readv(descriptor, [buffer]):
                digest.update(buffer[:read])
        _check(path, descriptor, expected)
    except OSError as error:
        raise SourceChanged(f"it can't be read now ({error.strerror})", where=path) from None
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _check(path: str, descriptor: int, expected: Fingerprint) -> None:
    found = os.fstat(descriptor)
    # Field by field: building a fingerprint for each of many small files takes longer than hashing them.
    if (
        found.st_size != expected.size_bytes
        or found.st_mtime_ns != expected.mtime_ns
        or found.st_ino != expected.inode
        or found.st_ctime_ns != expected.ctime_ns
    ):
        raise SourceChanged(
            "it changed since it was looked at", where=path, remedy="The next run takes it as it is then."
        )


def hash_files(requests: Iterable[HashRequest], threads: int) -> Iterator[HashOutcome]:
    """Hash many files in threads, in the order asked for; errors are outcomes. Memory stays flat."""
    remaining = iter(requests)
    first = list(islice(remaining, FILES_PER_TASK))
    if sum(request.expected.size_bytes for request in first) < CHUNK_BYTES and len(first) < FILES_PER_TASK:
        yield from _hash_some(first)
        return
    # Most plans hash nothing, and this import costs as much as scanning some thousand files.
    from concurrent.futures import ThreadPoolExecutor

    remaining = chain(first, remaining)
    with ThreadPoolExecutor(threads, thread_name_prefix="hash") as pool:
        under_way: deque[Future[list[HashOutcome]]] = deque()
        while True:
            while len(under_way) < threads * TASKS_PER_THREAD:
                task = list(islice(remaining, FILES_PER_TASK))
                if not task:
                    break
                under_way.append(pool.submit(_hash_some, task))
            if not under_way:
                return
            yield from under_way.popleft().result()


def _hash_some(requests: list[HashRequest]) -> list[HashOutcome]:
    outcomes: list[HashOutcome] = []
    for request in requests:
        try:
            content_hash = hash_file(request.path, request.expected)
        except SyncError as error:
            outcomes.append(HashOutcome(request.path, request.expected, None, error))
        else:
            outcomes.append(HashOutcome(request.path, request.expected, content_hash))
    return outcomes
