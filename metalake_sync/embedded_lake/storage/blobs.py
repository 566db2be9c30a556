"""Files with objects and parts in the lake's folder, named by ids of the lake.

Owns: receiving parts and assembling objects, so that acknowledged ones are complete. `objects/ab/ab12…` are complete
objects, `parts/ID.N.MD5` the parts of unfinished uploads. No name from a request reaches the file system, and memory
does not grow with the size of a part.

This order makes a kill at any moment harmless: a part gets its final name before it is recorded in the database; an
object is assembled before its upload is marked as finalized; parts are removed after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_UNFINISHED = ".unfinished"
_COPY_BYTES = 1 << 20
INLINE_BYTES = 256 << 10
"""Larger chunks are hashed and written in a thread, so that they do not block the event loop."""


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """A part on disk, under a temporary name."""

    path: Path
    etag: str
    """Its MD5 in hex."""
    size_bytes: int


class BlobStore:
    """Opens the folders, creating them if they do not exist. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._objects = folder / "objects"
        self._parts = folder / "parts"
        if not self._parts.exists():
            self._objects.mkdir(mode=0o700, exist_ok=True)
            self._parts.mkdir(mode=0o700)
        self._made: set[Path] = set()
        """Folders of objects that exist."""

    def sweep(self, known: Iterable[tuple[str, int, str]]) -> None:
        """Remove what a killed server left: parts that are not recorded, or whose upload is finalized."""
        wanted = {_part_name(*part) for part in known}
        for entry in os.scandir(self._parts):
            if entry.name not in wanted:
                os.unlink(entry.path)

    # Parts.

    async def receive(self, chunks: AsyncGenerator[bytes, None]) -> ReceivedPart:
        """Write a part to a file. If it raises OSError, or an error of `chunks`, no file remains."""
        path = self._parts / f"{secrets.token_hex(12)}{_UNFINISHED}"
        md5 = hashlib.md5(usedforsecurity=False)
        size_bytes = 0

        def absorb(file: BinaryIO, chunk: bytes) -> None:
            md5.update(chunk)
            file.write(chunk)

        try:
            with open(path, "wb", opener=_private) as file:  # noqa: ASYNC230  # opening a local file does not block
                async with aclosing(chunks):
                    async for chunk in chunks:
                        size_bytes += len(chunk)
                        if len(chunk) <= INLINE_BYTES:
                            absorb(file, chunk)
                        else:
                            await asyncio.to_thread(absorb, file, chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return ReceivedPart(path, md5.hexdigest(), size_bytes)

    def keep(self, part: ReceivedPart, file_id: str, number: int) -> None:
        """Give a part its final name, replacing an identical part."""
        os.replace(part.path, self._parts / _part_name(file_id, number, part.etag))

    def discard(self, part: ReceivedPart) -> None:
        part.path.unlink(missing_ok=True)

    def drop_parts(self, parts: Iterable[tuple[str, int, str]]) -> None:
        for part in parts:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._parts / _part_name(*part))

    # Objects.

    def assemble(self, parts: Sequence[tuple[str, int, str]], blob: str) -> int:
        """Assemble an object from parts, in order. Returns its size in bytes.

        The parts are kept, so this can be repeated. It replaces an object whose upload was not finalized.
        """
        target = self._place(blob)
        if len(parts) == 1:
            self._link(self._parts / _part_name(*parts[0]), target)
        else:
            self._copy([self._parts / _part_name(*part) for part in parts], target)
        return target.stat().st_size

    def copy_in(self, source: str) -> tuple[str, str]:
        """Copy a file into a new object. Returns the object's name and its MD5 in hex."""
        blob = secrets.token_hex(12)
        self._copy([Path(source)], self._place(blob))
        with self.path(blob).open("rb") as file:
            return blob, hashlib.file_digest(file, _md5).hexdigest()

    def flush(self, blobs: Iterable[str]) -> None:
        """Write these objects to the disk itself, so that they survive a power failure."""
        folders = set()
        for blob in blobs:
            path = self.path(blob)
            _fsync(path)
            folders.add(path.parent)
        if folders:
            folders.add(self._objects)
        for folder in folders:
            _fsync(folder)

    def remove(self, blobs: Iterable[str]) -> None:
        for blob in blobs:
            self.path(blob).unlink(missing_ok=True)

    def path(self, blob: str) -> Path:
        return self._objects / blob[-2:] / blob

    def _place(self, blob: str) -> Path:
        """Return an object's path, and create its folder if it does not exist."""
        path = self.path(blob)
        if path.parent not in self._made:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self._made.add(path.parent)
        return path

    def _link(self, part: Path, target: Path) -> None:
        target.unlink(missing_ok=True)
        try:
            os.link(part, target)
        except FileNotFoundError:
            raise
        except OSError:
            # Some file systems do not support links.
            self._copy([part], target)

    def _copy(self, parts: Sequence[Path], target: Path) -> None:
        unfinished = target.with_name(target.name + _UNFINISHED)
        with open(unfinished, "wb", opener=_private) as whole:
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole, _COPY_BYTES)
        os.replace(unfinished, target)


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _part_name(file_id: str, number: int, etag: str) -> str:
    return f"{file_id}.{number}.{etag}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
