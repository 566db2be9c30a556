"""Opening and reading files of unknown origin: regular files only, and with limits.

Owns: which files may be opened, how much is read, and how long reading may take. Must not: know what a file means.
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
"""A file may grow this much while it is read. A file that grows more is taken to be endless."""

READ_TIME_LIMIT_S = 120.0
BYTES_PER_SECOND_AT_LEAST = 1 << 20
"""Reading may take two minutes, plus one second per MiB of the file."""

NOT_REGULAR = "not a regular file"


class NotRegular(OSError):
    """The path is a pipe, a device, a socket or a folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(errno.EINVAL, NOT_REGULAR, os.fspath(path))


def open_regular_file(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> int:
    """Return a descriptor to read a regular file, which may be the target of a link. Raises NotRegular and OSError.

    The check before opening keeps devices closed, because opening one can move a tape. The check after opening decides.
    """
    if not stat.S_ISREG(os.stat(path, dir_fd=dir_fd).st_mode):
        raise NotRegular(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=dir_fd)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(path)
    return descriptor


class BoundedFile(io.FileIO):
    """A regular file with limits. Reading raises OSError if the file grows without end or takes too long."""

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
            raise OSError(errno.EFBIG, "the file grows while it is read", self._path)
        if self._seconds_left < 0:
            raise OSError(errno.ETIMEDOUT, "reading the file takes too long", self._path)
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
    """Open a regular file with the limits of BoundedFile. Raises OSError."""
    return io.BufferedReader(BoundedFile(open_regular_file(path, dir_fd=dir_fd), path))


def read_small_file(path: str | os.PathLike[str], limit_bytes: int, *, dir_fd: int | None = None) -> bytes:
    """Return the bytes of a regular file. Raises OSError if it is larger than `limit_bytes`."""
    with open_bounded(path, dir_fd=dir_fd) as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes >> 10} KiB", os.fspath(path))
    return content
