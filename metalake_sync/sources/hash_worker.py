"""Hashing one file with few system calls, and a program that does so for another process.

    python -I hash_worker.py

reads requests from standard input until its end and writes the answers to standard output, in order. For small files,
threads do not help because of the GIL; processes do.

Owns: the checks before a hash is valid. Must not: import more than it needs, because each process imports it again.
"""

import marshal
import os
import stat
import sys
from typing import IO, Any

from blake3 import blake3

CHUNK_BYTES = 1 << 20

# Size in bytes, mtime in nanoseconds, inode, ctime in nanoseconds, as in a fingerprint.
Expected = tuple[int, int, int, int]
Wanted = tuple[bytes | str, Expected]

_LATEST_NS = (1 << 63) - 1

MOVED = "the file changed since it was scanned"
NOT_REGULAR = "the file is not a regular file any more"


class Unhashable(Exception):
    """The message is a clause that says why."""


def hash_regular(path: bytes | str, expected: Expected) -> str:
    """Return the BLAKE3 hash in hex of a regular file with the expected fingerprint. Raises Unhashable."""
    if expected[0] < CHUNK_BYTES:
        return blake3(read_regular(path, expected)).hexdigest()
    descriptor = open_if_regular(path)
    try:
        if os.fstat(descriptor).st_size != expected[0]:
            raise Unhashable(MOVED)
        digest = blake3()
        buffer = memoryview(bytearray(CHUNK_BYTES))
        left = expected[0]
        # Stop at the expected size: a file that grows as fast as it is read has no end.
        while left >= 0 and (read := os.readv(descriptor, [buffer])):
            digest.update(buffer[:read])
            left -= read
        check_version(descriptor, expected)
    except OSError as error:
        raise _unreadable(error) from None
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def read_regular(path: bytes | str, expected: Expected) -> bytes:
    """Return the bytes of a regular file with the expected fingerprint. Raises Unhashable."""
    size = expected[0]
    descriptor = open_if_regular(path)
    try:
        # One read of one byte more than the size usually returns the whole file. Network file systems may return less.
        body = os.read(descriptor, size + 1)
        while len(body) < size and (more := os.read(descriptor, size + 1 - len(body))):
            body += more
        check_version(descriptor, expected)
        if len(body) != size:
            raise Unhashable(MOVED)
    except OSError as error:
        raise _unreadable(error) from None
    finally:
        os.close(descriptor)
    return body


def read_head_of_regular(path: bytes | str, expected: Expected, size: int) -> bytes:
    """Return the first bytes of a regular file with the expected fingerprint. Raises Unhashable."""
    descriptor = open_if_regular(path)
    try:
        check_version(descriptor, expected)
        return os.read(descriptor, size)
    except OSError as error:
        raise _unreadable(error) from None
    finally:
        os.close(descriptor)


def open_if_regular(path: bytes | str) -> int:
    """Open a regular file for reading without blocking. Raises Unhashable.

    Devices are not opened, because opening alone can move a tape. Links are followed: a link or another file that
    replaces the expected one has another inode, which `check_version` finds.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unhashable(NOT_REGULAR)
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unhashable(f"the file cannot be opened ({error.strerror})") from None


def check_version(descriptor: int, expected: Expected) -> None:
    """Raise Unhashable unless an open file has the expected fingerprint."""
    found = os.fstat(descriptor)
    if (found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns) == expected:
        return
    # Times that the state cannot record are stored as the nearest time that it can.
    if (found.st_size, _recordable(found.st_mtime_ns), found.st_ino, _recordable(found.st_ctime_ns)) != expected:
        raise Unhashable(MOVED)


def _recordable(time_ns: int) -> int:
    """Like `core.snapshots.recordable_ns`, which is not imported here."""
    return min(max(time_ns, -_LATEST_NS), _LATEST_NS)


def _unreadable(error: OSError) -> Unhashable:
    return Unhashable(f"the file cannot be read ({error.strerror})")


def hash_some(wanted: list[Wanted]) -> list[tuple[str, str]]:
    """Return (hash, '') or ('', reason) for each file."""
    answers = []
    for path, expected in wanted:
        try:
            answers.append((hash_regular(path, expected), ""))
        except Unhashable as error:
            answers.append(("", str(error)))
    return answers


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until the parent process closes the pipe or dies."""
    while True:
        try:
            wanted = receive(requests)
        except EOFError:
            return
        send(answers, hash_some(wanted))


def send(stream: IO[bytes], message: Any) -> None:
    data = marshal.dumps(message)
    stream.write(len(data).to_bytes(4, "big") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Return the next message. Raises EOFError at the end, and for an incomplete message."""
    size = int.from_bytes(stream.read(4), "big")
    data = stream.read(size)
    if not size or len(data) < size:
        raise EOFError
    return marshal.loads(data)  # noqa: S302 - the other end is our own process


if __name__ == "__main__":
    import signal

    # The parent process handles Ctrl-C and closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)
