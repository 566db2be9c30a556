"""Downloading many files at once: to a temporary name, resumed with ranges, checked, then renamed.

Owns: the GETs of a file, and what becomes of each failure: an item's is an outcome and the others go on, the run's is
raised. Must not: list, decide which files are wanted, or choose their names.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import field
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from metalake_sync.core.facts import Fingerprint
from metalake_sync.errors import LakeAnswerInvalid, LakeRefused, SignedUrlExpired, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol import routes
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.async_calls import AsyncCalls, StoreBody, StoreTrouble
from metalake_sync.remote.bandwidth import Bandwidth
from metalake_sync.remote.limits import PIECE_BYTES
from metalake_sync.remote.partial import Partial, PartialFiles
from metalake_sync.remote.retry import Again, RetryPolicy, Tries
from metalake_sync.remote.tally import RequestTally
from metalake_sync.remote.workers import Lane, Room, run_side_by_side

CHUNK_BYTES = 1 << 20
SIGNATURES_TAKEN = 5
"""How often the URL of one file is signed anew, without a byte in between, before the file fails."""

EXPIRED_STATUSES = frozenset({400, 401, 403})
"""How stores refuse a signature that is over: S3 and Azure 403, Google 400 (ExpiredToken)."""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


@dataclass(frozen=True, slots=True)
class FileToFetch:
    """`unique_name`: in the lake. `path`: where it goes. `key`: what its bytes are known by (the item's id: an id's
    bytes never change). `url`: signed, or '' where the lake is still to be asked for one."""

    unique_name: str
    path: Path
    key: str
    url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class FileFetched:
    """The file is whole and in its place. `fingerprint`: as it was when it was put there."""

    file: FileToFetch
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """`retryable`: a later run may succeed with nothing changed."""

    file: FileToFetch
    error: SyncError
    retryable: bool


FetchOutcome: TypeAlias = FileFetched | FetchFailed


class Downloads:
    """Fetches files. `parallelism`: files on the wire at once. `rate_limit_bytes_s`: None is as fast as it goes.
    `received` is told of bytes as they come, in the event loop's thread."""

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy,
        parallelism: int = 32,
        tally: RequestTally | None = None,
        rate_limit_bytes_s: float | None = None,
        received: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._parallelism = parallelism
        self._received = received
        self._bandwidth = Bandwidth(rate_limit_bytes_s)
        self._calls = AsyncCalls(address, retry=retry, connections=parallelism, tally=tally or RequestTally())

    async def __aenter__(self) -> Downloads:
        await self._calls.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._calls.__aexit__(kind, error, trace)

    async def fetch(self, files: Iterable[FileToFetch], partials: PartialFiles) -> AsyncIterator[FetchOutcome]:
        """Fetch files and give each one's outcome as it comes. `files` may block (it is read in a thread).

        Raises what concerns the run (credentials, a lake that is gone, a full disk).
        """
        source: Iterator[FileToFetch] = iter(files)

        async def take() -> FileToFetch | None:
            return await asyncio.to_thread(next, source, None)

        places = Room(lambda: self._parallelism)
        async for outcome in run_side_by_side([Lane(take)], lambda file: self._outcome(file, partials), places):
            yield outcome

    async def _outcome(self, file: FileToFetch, partials: PartialFiles) -> FetchOutcome:
        try:
            return await _FileDownload(self, file, partials).run()
        except (SignedUrlExpired, LakeAnswerInvalid) as error:
            return FetchFailed(file, error, retryable=True)
        except LakeRefused as error:
            return FetchFailed(file, error, retryable=error.status >= 500)
        except (IsADirectoryError, NotADirectoryError, PermissionError, FileNotFoundError) as error:
            words = f"it can't be put in its place ({error.strerror})"
            return FetchFailed(file, SyncError(words, where=str(file.path)), retryable=False)
        except OSError as error:
            raise SyncError(
                f"the folder can't be written ({error.strerror})",
                where=str(file.path.parent),
                remedy="What is whole stays; run it again to go on.",
            ) from None

    @property
    def calls(self) -> AsyncCalls:
        return self._calls

    @property
    def read_bytes(self) -> int:
        """What to read at once."""
        return self._bandwidth.piece_bytes if self._bandwidth.limited else CHUNK_BYTES

    async def took(self, size_bytes: int) -> None:
        """Bytes came in: tell it, and keep to the rate."""
        self._received(size_bytes)
        await self._bandwidth.take(size_bytes)


class _FileDownload:
    """One file on its way."""

    def __init__(self, downloads: Downloads, file: FileToFetch, partials: PartialFiles) -> None:
        self._downloads = downloads
        self._calls = downloads.calls
        self._file = file
        self._partials = partials
        self._url = file.url
        self._signatures = 0

    async def run(self) -> FileFetched:
        """Get the bytes, however often it breaks; patience begins anew with every good piece that came."""
        partial = self._partials.find(self._file.key)
        patience = self._calls.patience()
        while True:
            here = partial.size_bytes if partial else 0
            try:
                partial, whole = await self._go_on(partial, patience)
            except StoreTrouble as trouble:
                partial = self._left(partial)
                if partial and partial.size_bytes >= here + PIECE_BYTES:
                    patience, self._signatures = self._calls.patience(), 0
                await asyncio.sleep(patience.pause_s(trouble.again))
                continue
            if whole and partial is not None:
                return self._put_in_place(partial)

    async def _go_on(self, partial: Partial | None, patience: Tries) -> tuple[Partial | None, bool]:
        """One GET: of the rest where a part is here, else of the whole. Returns what is here then, and whether that is
        all of it."""
        if not self._url:
            await self._sign()
        headers = {}
        if partial is not None and partial.size_bytes and partial.etag is not None:
            headers = {"Range": f"bytes={partial.size_bytes}-", "If-Range": partial.etag}
        async with self._calls.get(self._url, headers, patience) as body:
            match body.status:
                case 200:
                    self._discard(partial)
                    self._current = self._partials.new(self._file.key, body.headers.get("etag"))
                    total = _length(body)
                    return await self._receive(self._current, body, total)
                case 206 if partial is not None:
                    start, total = _range(body)
                    # Not every store heeds If-Range; without an ETag nothing says that these are the same bytes.
                    if start != partial.size_bytes or body.headers.get("etag") != partial.etag:
                        self._discard(partial)
                        return None, False
                    self._current = partial
                    return await self._receive(partial, body, total)
                case 416 if partial is not None:
                    # All of it is here already, or more than there is: then it is something else.
                    if _range(body)[1] == partial.size_bytes:
                        return partial, True
                    self._discard(partial)
                    return None, False
                case status if status in EXPIRED_STATUSES:
                    self._url = ""
                    return partial, False
                case status:
                    raise LakeRefused(f"the store answered {status}", status=status, where=self._file.unique_name)

    _current: Partial | None = None

    def _left(self, partial: Partial | None) -> Partial | None:
        """What a broken GET left here. Without an ETag to hold on to, the next one begins anew."""
        current = self._current or partial
        left = self._partials.on_disk(current) if current is not None else None
        if left is None or left.etag is None:
            self._discard(current)
            return None
        return left

    async def _receive(self, partial: Partial, body: StoreBody, total: int | None) -> tuple[Partial | None, bool]:
        """Append the body. `total`: the size of the whole file in bytes, None where the store does not tell."""
        descriptor = self._partials.open(partial)
        size = partial.size_bytes
        try:
            async for chunk in body.chunks(self._downloads.read_bytes):
                await self._write(descriptor, chunk)
                size += len(chunk)
                await self._downloads.took(len(chunk))
        finally:
            os.close(descriptor)
        here = Partial(partial.name, size, partial.etag)
        if total is not None and size != total:
            raise StoreTrouble(Again(f"the store sent {size} of {total} bytes"))
        return here, True

    @staticmethod
    async def _write(descriptor: int, chunk: bytes) -> None:
        """Small writes go to the page cache at once; larger ones could hold up everybody else."""
        if len(chunk) < CHUNK_BYTES // 4:
            _write_all(descriptor, chunk)
        else:
            await asyncio.to_thread(_write_all, descriptor, chunk)

    def _put_in_place(self, partial: Partial) -> FileFetched:
        return FileFetched(self._file, self._partials.put_in_place(partial, self._file.path.name))

    def _discard(self, partial: Partial | None) -> None:
        if partial is not None:
            self._partials.discard(partial)

    async def _sign(self) -> None:
        self._signatures += 1
        if self._signatures > SIGNATURES_TAKEN:
            raise SignedUrlExpired(
                "the store refuses every address that the lake signs",
                where=self._file.unique_name,
                remedy="Check the lake's storage settings and this machine's clock.",
            )
        answer = await self._calls.call(routes.DOWNLOAD_URL, query={"file_key": self._file.unique_name})
        if answer is None:
            raise LakeRefused("the lake has no such file any more", status=404, where=self._file.unique_name)
        self._url = answer.url


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _length(body: StoreBody) -> int | None:
    length = body.headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def _range(body: StoreBody) -> tuple[int, int]:
    """Where a range begins and how large the whole file is, in bytes; -1 where the store's answer does not say."""
    match = _CONTENT_RANGE.fullmatch(body.headers.get("content-range", ""))
    if match is None:
        return -1, -1
    return int(match[1] or -1), int(match[3])
