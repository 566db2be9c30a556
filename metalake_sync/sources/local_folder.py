"""The `Source` of a local folder.

Owns: single files and their bytes; `scan` walks the folder. Must not: write anything.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from metalake_sync.core.snapshots import FileVersion
from metalake_sync.sources.base import FolderListing, ScannedFile, ScanProblem, Trouble, unsendable
from metalake_sync.sources.hashing import changed_while_read, fingerprint_of, open_regular
from metalake_sync.sources.rules import ScanRules
from metalake_sync.sources.scan import scan_folder, scan_part, scanned_file


class LocalFolder:
    """A folder on a disk of this machine."""

    def __init__(self, root: str) -> None:
        self._root = root

    @property
    def root(self) -> str:
        return self._root

    def list(self, rules: ScanRules, start: str = "", *, deep: bool = True) -> Iterator[FolderListing]:
        if not start and deep:
            return scan_folder(self._root, rules)
        return scan_part(self._root, rules, start, deep=deep)

    def stat(self, path: str) -> ScannedFile | ScanProblem:
        return scan_file(os.path.join(self._root, path))

    @contextlib.contextmanager
    def open_range(
        self, path: str, version: FileVersion, start: int = 0, length: int | None = None
    ) -> Iterator[BinaryIO]:
        place = os.path.join(self._root, path)
        descriptor = open_regular(place)
        try:
            _expect(place, version, descriptor)
            size = version[0] - start if length is None else length
            with io.BufferedReader(_Range(descriptor, start, size)) as body:
                yield body
            _expect(place, version, descriptor)
        finally:
            os.close(descriptor)


class _Range(io.RawIOBase):
    """Reads a range of an open file. Positions are its own, so that several ranges may share a descriptor."""

    def __init__(self, descriptor: int, start: int, length: int) -> None:
        self._descriptor = descriptor
        self._position, self._left = start, length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._left)
        if not wanted:
            return 0
        read = os.preadv(self._descriptor, [memoryview(buffer)[:wanted]], self._position)
        if not read:
            raise EOFError("the file ends before the end of the range")
        self._position += read
        self._left -= read
        return read


def _expect(path: str, version: FileVersion, descriptor: int) -> None:
    if fingerprint_of(descriptor).version() != version:
        raise changed_while_read(path)


def scan_file(path: str) -> ScannedFile | ScanProblem:
    """Return one file, or the problem that hides it. The path of the problem is ''."""
    name = os.path.basename(path)
    trouble = unsendable(name)
    if trouble is not None:
        return ScanProblem("", trouble, is_folder=False)
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return ScanProblem("", Trouble.MISSING, is_folder=True)
    except OSError as error:
        return ScanProblem("", Trouble.UNREADABLE, is_folder=True, detail=error.strerror or "")
    if stat.S_ISLNK(found.st_mode):
        return ScanProblem("", Trouble.LINK, is_folder=True)
    if not stat.S_ISREG(found.st_mode):
        return ScanProblem("", Trouble.SPECIAL_FILE, is_folder=True)
    return scanned_file(name, found)
