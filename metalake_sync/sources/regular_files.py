"""Opens and reads regular files that others wrote: never a pipe or a device, never without a bound.

Owns: what may be opened, how much is read, and how long reading may take. Must not: know what a file means.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GROWTH_LIMIT_BYTES = 64 << 20
"""What a file may grow while it is read: more than that is a file that does not end."""

READ_TIME_LIMIT_S = 120.0
BYTES_PER_SECOND_AT_LEAST = 1 << 20
"""Reading may take two minutes, and one second more for each MiB of the file."""

NOT_REGULAR = "not a regular file"


class NotRegular(OSError):
    """A pipe, a device, a socket or a folder in a file's place."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(errno.EINVAL, NOT_REGULAR, os.fspath(path))


def open_regular_file(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> int:
    """A descriptor to read from. Links are followed to regular files only. Raises NotRegular, and OSError.

    The look before it is opened keeps devices closed (opening one can move a tape); the look after it is the one that
    counts.
    """
    if not stat.S_ISREG(os.stat(path, dir_fd=dir_fd).st_mode):
        raise NotRegular(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=dir_fd)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(path)
    return descriptor


class BoundedFile(io.FileIO):
    """A regular file that is read up to its size, and somewhat more if it grows. A file that does not end, or that
    takes too long, raises OSError."""

    def __init__(self, descriptor: int, path: str | os.PathLike[str]) -> None:
        super().__init__(descriptor, "rb")
        size_bytes = os.fstat(descriptor).st_size
        self._path = os.fspath(path)
        self._limit_bytes = size_bytes + GROWTH_LIMIT_BYTES
        self._seconds_left = READ_TIME_LIMIT_S + size_bytes / BYTES_PER_SECOND_AT_LEAST

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        began = time.monotonic()
        read = super().readinto(buffer) or 0
        self._seconds_left -= time.monotonic() - began
        self._limit_bytes -= read
        if self._limit_bytes < 0:
            raise OSError(errno.EFBIG, "it grows while it is read", self._path)
        if self._seconds_left < 0:
            raise OSError(errno.ETIMEDOUT, "reading it takes too long", self._path)
        return read

    def readall(self) -> bytes:
        chunks = []
        while chunk := self.read(io.DEFAULT_BUFFER_SIZE * 8):
            chunks.append(chunk)
        return b"".join(chunks)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])


def open_bounded(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> io.BufferedReader:
    """A regular file to read from, with the bounds of BoundedFile. Raises OSError."""
    return io.BufferedReader(BoundedFile(open_regular_file(path, dir_fd=dir_fd), path))


def read_small_file(path: str | os.PathLike[str], limit_bytes: int, *, dir_fd: int | None = None) -> bytes:
    """The whole of a regular file. Raises OSError for one that is larger than `limit_bytes`."""
    with open_bounded(path, dir_fd=dir_fd) as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes >> 10} KiB", os.fspath(path))
    return content
