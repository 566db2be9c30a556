"""Temporary files, which stay in memory while they are small.

Owns: their creation and the errors if that fails. A container with a read-only root has no temporary folder, and most
runs need none. Must not: know what is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from metalake_sync.errors import SyncError

IN_MEMORY_BYTES = 1 << 20

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Spool:
    """Bytes that are appended and read by offset. Close it, or its file stays until the process ends."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._in_file = 0
        self.size_bytes = 0

    def append(self, data: bytes) -> int:
        """Append data and return its offset. Raises SyncError if the temporary folder is full or missing."""
        offset = self.size_bytes
        self._memory += data
        self.size_bytes += len(data)
        if len(self._memory) > IN_MEMORY_BYTES:
            with explained():
                if self._file is None:
                    self._file = tempfile.TemporaryFile(prefix="metalake-sync-", buffering=0)  # noqa: SIM115
                self._spill(self._file)
        return offset

    def read(self, offset: int, length: int) -> bytes:
        """Return the data at an offset."""
        if offset >= self._in_file or self._file is None:
            start = offset - self._in_file
            return bytes(self._memory[start : start + length])
        return os.pread(self._file.fileno(), length, offset)

    def close(self) -> None:
        self._memory.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _spill(self, file: IO[bytes]) -> None:
        """Move everything from memory to the file, so that no piece is split between them."""
        with memoryview(self._memory) as waiting:
            written = 0
            while written < len(waiting):
                written += file.write(waiting[written:])
        self._in_file += len(self._memory)
        self._memory.clear()


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a temporary folder and delete it at the end of the block. Raises SyncError if that fails or it is full."""
    with contextlib.ExitStack() as stack:
        with explained():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="metalake-sync-"))
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno in _FULL:
                raise unusable(error.strerror or str(error)) from None
            raise


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn errors of temporary files into a SyncError with a remedy."""
    try:
        yield
    except FileNotFoundError:
        # Python has tried every usual folder.
        raise SyncError(
            "no temporary folder is writable (neither TMPDIR, /tmp, /var/tmp, /usr/tmp nor the current folder)",
            remedy="Set TMPDIR to a writable folder.",
        ) from None
    except OSError as error:
        raise unusable(error.strerror or str(error)) from None


def unusable(reason: str) -> SyncError:
    """Return the error for a temporary folder that is not writable. `reason` is the message of the system."""
    try:
        folder = f"the temporary folder {tempfile.gettempdir()}"
    except OSError:
        folder = "the temporary folder"
    return SyncError(
        f"{folder} can't be written to ({reason})",
        remedy="Free some space there, or set TMPDIR to a folder with more of it.",
    )
