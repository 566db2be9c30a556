"""Opening files and folders of unknown origin: regular files only, within limits, and folders without following links.

A path that is opened as a whole may lead through a link that was created a moment ago. `open_below` opens each part
relative to the one above it, and a link is an error. Owns: that walk, which files may be opened, how much is read, and
how long reading may take. Must not: create or delete files, or know what a file means.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_THROUGH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READABLE = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_folder(path: str | os.PathLike[str]) -> int:
    """Return a descriptor of a folder, to list it and to open its entries. Follows links in `path`."""
    return os.open(path, _READABLE)


def open_below(root: int, relative_dir: str, *, follow_symlinks: bool = False, create: bool = False) -> int:
    """Return a descriptor of a folder below another one. `relative_dir` has `/`; '' opens `root` itself again.

    `create` creates missing folders. Raises NotADirectoryError if a part is a link.
    """
    parts = relative_dir.split("/") if relative_dir else []
    nofollow = 0 if follow_symlinks else os.O_NOFOLLOW
    here = root
    try:
        for number, part in enumerate(parts, start=1):
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=here)
            below = os.open(part, (_READABLE if number == len(parts) else _THROUGH) | nofollow, dir_fd=here)
            if here != root:
                os.close(here)
            here = below
        return os.open(".", _READABLE, dir_fd=root) if here == root else here
    except OSError as error:
        if here != root:
            os.close(here)
        if error.errno == errno.ELOOP and not follow_symlinks:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from None
        raise


@contextlib.contextmanager
def opened_below(root: int, relative_dir: str, *, create: bool = False) -> Iterator[int]:
    """Like `open_below`, closed at the end of the block."""
    descriptor = open_below(root, relative_dir, create=create)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


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
