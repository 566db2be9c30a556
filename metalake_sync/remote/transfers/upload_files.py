"""The inputs and outcomes of uploads, and reading local files for them.

Owns: reading. Small files are read ahead in a thread, many at a time; the same read gives body and hash, so that the
recorded hash is that of the sent bytes. Larger files are read in chunks for each attempt, in constant memory. Longer
than 300 lines, because one read of a file serves its body, its hash and its fingerprint.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeAlias

from blake3 import blake3

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.errors import SourceChanged, SyncError
from metalake_sync.protocol.wire import StorageKind
from metalake_sync.sources.hashing import read_file

SMALL_BYTES = 1 << 20
"""Files of up to this size are read into memory."""

READ_AHEAD_FILES = 64
READ_AHEAD_BYTES = 4 << 20
CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An open upload session of the lake."""

    upload_id: str
    job_id: str
    collection_id: str
    collection_name: str
    storage: StorageKind


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """A file that was begun in the same session, to resume."""

    file_id: str
    file_key: str
    part_size: int
    """In bytes."""
    finished: Mapping[int, str]
    """Part number → ETag."""


@dataclass(frozen=True, slots=True)
class FileToSend:
    """A local file to upload."""

    name: str
    """In the collection."""
    path: str
    fingerprint: Fingerprint
    """The file must still have it when it is read."""
    content_type: str
    resume: ResumePoint | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose bytes are all in the object store. Only the call that finalizes it is missing."""

    file: FileToSend
    point: ResumePoint
    """With the ETags of all parts."""
    content_hash: str
    """BLAKE3 of the sent bytes."""
    finalize_url: str = field(repr=False)
    """The signed URL of the last part, which the finalize call names."""
    bytes_sent: int


@dataclass(frozen=True, slots=True)
class FileSent:
    """The lake finalized the file."""

    file: FileToSend
    file_id: str
    content_hash: str
    """BLAKE3 of the sent bytes."""
    bytes_sent: int


@dataclass(frozen=True, slots=True)
class FileExisting:
    """The collection already has a file with this name. Nothing was sent."""

    file: FileToSend


@dataclass(frozen=True, slots=True)
class FileElsewhere:
    """The file was removed from this collection and is in another one. It cannot be sent."""

    file: FileToSend


@dataclass(frozen=True, slots=True)
class FileFailed:
    """The file could not be sent."""

    file: FileToSend
    error: SyncError
    retryable: bool
    """A later run may succeed although nothing was changed."""


Outcome: TypeAlias = FileSent | FileExisting | FileElsewhere | FileFailed

PutOutcome: TypeAlias = StoredFile | FileExisting | FileElsewhere | FileFailed
"""The outcome of a file that is not finalized."""


class TransferObserver(Protocol):
    """Receives every step of an upload before the next step. Called in the event loop's thread, so it must be fast.

    `about_to_finalize` may take longer: the call is sent when it returns, so that many files can be recorded together.
    """

    def file_begun(self, file: FileToSend, file_id: str, file_key: str, part_size: int, part_count: int) -> None: ...

    def part_finished(self, file: FileToSend, file_id: str, part_number: int, etag: str, size_bytes: int) -> None: ...

    async def about_to_finalize(self, file: FileToSend, point: ResumePoint, content_hash: str) -> None:
        """All parts are stored. A resume from `point` only has to finalize the file."""

    def bytes_sent(self, size_bytes: int) -> None: ...


@dataclass(slots=True)
class ReadFile:
    """A file after reading."""

    file: FileToSend
    body: bytes | None = None
    """Of a small file."""
    content_hash: str | None = None
    error: SyncError | None = None
    """Why the file could not be read as expected."""


class Source:
    """The files of one upload, in two lanes: large files unread, small files with their bytes.

    Small files are read in a thread, many at a time, while others are in flight. `last_ones` is called once, when at
    most `few()` files are left.
    """

    def __init__(self, files: Iterable[FileToSend], few: Callable[[], int], last_ones: Callable[[], None]) -> None:
        small: list[FileToSend] = []
        large: list[FileToSend] = []
        for file in files:
            (small if is_small(file) else large).append(file)
        self._left = len(small) + len(large)
        self._large = iter(large)
        self._small = iter(small)
        self._few = few
        self._last_ones: Callable[[], None] | None = last_ones
        self._ready: list[ReadFile] = []
        self._next: asyncio.Future[list[ReadFile]] | None = None
        self._count(0)

    async def take_large(self) -> ReadFile | None:
        """The next large file, or None after the last."""
        file = next(self._large, None)
        if file is None:
            return None
        self._count(1)
        return ReadFile(file)

    async def take_small(self) -> ReadFile | None:
        """The next small file, or None after the last."""
        if not self._ready:
            self._ready = list(reversed(await (self._next or self._read_more())))
            self._next = self._read_more() if self._ready else None
        if not self._ready:
            return None
        self._count(1)
        return self._ready.pop()

    def _count(self, taken: int) -> None:
        self._left -= taken
        if self._last_ones is not None and self._left <= self._few():
            self._last_ones()
            self._last_ones = None

    def _read_more(self) -> asyncio.Future[list[ReadFile]]:
        return asyncio.get_running_loop().run_in_executor(None, read_some, self._small)

    async def close(self) -> None:
        if self._next is not None:
            await asyncio.wait([self._next])


def is_small(file: FileToSend) -> bool:
    """Return whether a file is read into memory. A resumed file is not, because some of its parts may be stored."""
    return file.fingerprint.size_bytes <= SMALL_BYTES and file.resume is None


def read_some(files: Iterator[FileToSend]) -> list[ReadFile]:
    """Read the next files, limited by number and bytes."""
    some: list[ReadFile] = []
    size = 0
    for file in islice(files, READ_AHEAD_FILES):
        some.append(read_small(file))
        size += file.fingerprint.size_bytes
        if size >= READ_AHEAD_BYTES:
            break
    return some


def read_small(file: FileToSend) -> ReadFile:
    """Read a small file into memory, and hash it."""
    try:
        body = read_file(file.path, file.fingerprint)
    except SyncError as error:
        return ReadFile(file, error=error)
    return ReadFile(file, body, hash_of(body))


def expect(file: FileToSend, found: Fingerprint) -> None:
    """Raise SourceChanged if the file has another fingerprint now."""
    if found != file.fingerprint:
        raise _changed(file)


def _changed(file: FileToSend) -> SourceChanged:
    return SourceChanged(
        "it changed while it was sent", where=file.path, remedy="Run the command again to send the new version."
    )


def hash_of(body: bytes) -> str:
    """Return the content hash of bytes in memory."""
    return blake3(body).hexdigest()


class PartSource(Protocol):
    """The bytes of one part, read again for each attempt. `md5` is that of the last attempt, in hex."""

    def chunks(self) -> AsyncGenerator[bytes, None]: ...

    def whole(self) -> bytes | None:
        """Return all bytes, or None if they are not in memory."""

    def md5(self) -> str: ...


class BytesPart:
    """A part in memory."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield self._body

    def whole(self) -> bytes | None:
        return self._body

    def md5(self) -> str:
        return hashlib.md5(self._body, usedforsecurity=False).hexdigest()


class FilePart:
    """A part of an open file, read in chunks in a thread."""

    def __init__(self, descriptor: int, offset: int, length: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._length = length
        self._md5 = hashlib.md5(usedforsecurity=False)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the part's bytes. Raises SourceChanged if the file is too short or unreadable."""
        self._md5 = hashlib.md5(usedforsecurity=False)
        position, end = self._offset, self._offset + self._length
        while position < end:
            chunk = await asyncio.to_thread(self._read, position, min(CHUNK_BYTES, end - position))
            if not chunk:
                raise SourceChanged("it became shorter while it was sent")
            position += len(chunk)
            yield chunk

    def whole(self) -> bytes | None:
        return None

    def md5(self) -> str:
        return self._md5.hexdigest()

    def _read(self, position: int, length: int) -> bytes:
        try:
            chunk = os.pread(self._descriptor, length, position)
        except OSError as error:
            raise SourceChanged(f"it can no longer be read ({error.strerror})") from None
        self._md5.update(chunk)
        return chunk
