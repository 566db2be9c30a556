"""Hashing one file with few system calls, and a program that does so for another process.

    python -I hash_worker.py

reads requests from standard input until it ends and writes their answers to standard output, in order. Python's lock
lets threads gain nothing on small files; processes hash as many at once as there are.

Owns: what is checked before a hash counts. Must not: import more than a hash needs, because each worker starts anew.
"""

import marshal
import os
import stat
import sys
from typing import IO, Any

from blake3 import blake3

CHUNK_BYTES = 1 << 20

# Size in bytes, times of change of content and inode in nanoseconds around the inode's number, as a fingerprint has it.
Expected = tuple[int, int, int, int]
Wanted = tuple[bytes | str, Expected]

_LATEST_NS = (1 << 63) - 1

MOVED = "it changed since it was looked at"
NOT_REGULAR = "it is no regular file any more"


class Unhashable(Exception):
    """Says why."""


def hash_regular(path: bytes | str, expected: Expected) -> str:
    """BLAKE3, in hex, of a regular file that is, and stays, what was expected. Raises Unhashable."""
    if expected[0] < CHUNK_BYTES:
        return blake3(read_regular(path, expected)).hexdigest()
    descriptor = open_if_regular(path)
    try:
        if os.fstat(descriptor).st_size != expected[0]:
            raise Unhashable(MOVED)
        digest = blake3()
        buffer = memoryview(bytearray(CHUNK_BYTES))
        left = expected[0]
        # A file that grows as fast as it is read would have no end.
        while left >= 0 and (read := os.readv(descriptor, [buffer])):
            digest.update(buffer[:read])
            left -= read
        _check(descriptor, expected)
    except OSError as error:
        raise _unreadable(error) from None
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def read_regular(path: bytes | str, expected: Expected) -> bytes:
    """A regular file, whole, that is, and stays, what was expected. Raises Unhashable."""
    size = expected[0]
    descriptor = open_if_regular(path)
    try:
        # One read, of a byte more than there is: what is short is the whole file, but for some that come by a network.
        body = os.read(descriptor, size + 1)
        while len(body) < size and (more := os.read(descriptor, size + 1 - len(body))):
            body += more
        _check(descriptor, expected)
        if len(body) != size:
            raise Unhashable(MOVED)
    except OSError as error:
        raise _unreadable(error) from None
    finally:
        os.close(descriptor)
    return body


def open_if_regular(path: bytes | str) -> int:
    """Open a file for reading that was a regular one a moment ago; never blocks. Raises Unhashable.

    A link is followed: a link that was put in a file's place leads to another inode. Devices are not even opened: that
    alone can move a tape. Whatever takes the file's place after this look has another inode at the last.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unhashable(NOT_REGULAR)
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unhashable(f"it can't be opened now ({error.strerror})") from None


def _check(descriptor: int, expected: Expected) -> None:
    found = os.fstat(descriptor)
    if (found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns) == expected:
        return
    # A time past what the state can record stands as the last one that it can.
    if (found.st_size, _recordable(found.st_mtime_ns), found.st_ino, _recordable(found.st_ctime_ns)) != expected:
        raise Unhashable(MOVED)


def _recordable(time_ns: int) -> int:
    """As core.facts.recordable_ns, which is not imported here."""
    return min(max(time_ns, -_LATEST_NS), _LATEST_NS)


def _unreadable(error: OSError) -> Unhashable:
    return Unhashable(f"it can't be read now ({error.strerror})")


def hash_some(wanted: list[Wanted]) -> list[tuple[str, str]]:
    """For each file its hash and '', or '' and why there is none."""
    answers = []
    for path, expected in wanted:
        try:
            answers.append((hash_regular(path, expected), ""))
        except Unhashable as error:
            answers.append(("", str(error)))
    return answers


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until there are no more requests: whoever asked has closed the pipe, or died."""
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
    """Raises EOFError where there is no whole message."""
    size = int.from_bytes(stream.read(4), "big")
    data = stream.read(size)
    if not size or len(data) < size:
        raise EOFError
    return marshal.loads(data)  # noqa: S302 - the other end is a process of ours


if __name__ == "__main__":
    import signal

    # A Ctrl-C is for whoever asked; the end of the pipe is for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)
