"""Files that are half here: where they lie until they are whole, and which of them can be gone on with.

Owns: one folder beside the finished files, locked while in use and gone when nothing is left in it. A partial file's
name holds what it is a part of and the store's ETag, so that a later run can ask for the rest of the very same bytes.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import filelock
from blake3 import blake3

from metalake_sync.errors import StateLocked, SyncError
from metalake_sync.lazy_dataclass import dataclass

FOLDER = ".metalake-sync-partial"

_LOCK = "lock"
_ETAG = re.compile(r'"[A-Za-z0-9_-]{1,100}"')
"""Only a strong ETag of a usual form promises the same bytes, and can stand in a file's name."""


@dataclass(frozen=True, slots=True)
class Partial:
    """What is here of a file. `etag` is the store's, in quotes, or None if it can't be relied on."""

    path: Path
    size_bytes: int
    etag: str | None


class PartialFiles:
    """The partial files of one target folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left_over = self._scan()

    def find(self, key: str) -> Partial | None:
        """What an earlier run left of a file, if it can be gone on with; given once."""
        path = self._left_over.pop(_digest(key), None)
        if path is None:
            return None
        return Partial(path, path.stat().st_size, f'"{path.name.partition(".")[2]}"')

    def new(self, key: str, etag: str | None) -> Partial:
        """A new, empty partial file."""
        usable = etag if etag is not None and _ETAG.fullmatch(etag) else None
        name = f"{_digest(key)}.{usable[1:-1]}" if usable else _digest(key)
        return Partial(self._folder / name, 0, usable)

    def _scan(self) -> dict[str, Path]:
        """Those that can be gone on with; the others are removed."""
        found: dict[str, Path] = {}
        for entry in os.scandir(self._folder):
            digest, dot, _ = entry.name.partition(".")
            if entry.name == _LOCK:
                continue
            if dot and digest not in found and entry.is_file(follow_symlinks=False):
                found[digest] = Path(entry.path)
            elif not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
        return found


@contextlib.contextmanager
def partial_files(target: Path) -> Iterator[PartialFiles]:
    """Use a target folder; it is created if need be. Raises StateLocked if another run downloads into it, SyncError if
    it can't be written."""
    folder = target / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / _LOCK)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StateLocked(
            "another run downloads into this folder", where=str(target), remedy="Wait for it, or take another folder."
        ) from None
    except OSError as error:
        raise SyncError(
            f"the folder can't be written ({error.strerror})", where=str(target), remedy="Give one that can."
        ) from None
    try:
        yield PartialFiles(folder)
    finally:
        with contextlib.suppress(OSError):
            if {entry.name for entry in os.scandir(folder)} <= {_LOCK}:
                (folder / _LOCK).unlink(missing_ok=True)
                folder.rmdir()
        lock.release()


def _digest(key: str) -> str:
    return blake3(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
