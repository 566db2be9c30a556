"""Downloading many files at once: to a temporary name, resumed with ranges, checked, then renamed.

Owns: the GETs of a file, the check that it is whole, and what becomes of each failure: an item's is an outcome and the
others go on, the run's is raised. Must not: list, decide which files are wanted, or choose their names.

A file is whole when the store's MD5 matches the received bytes, or when their number is the size that the lake gives.
The end of a body alone proves nothing: a connection that is cut ends a body without a Content-Length, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import field
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.errors import LakeAnswerInvalid, LakeRefused, SignedUrlExpired, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import ItemDetails
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.async_calls import AsyncCalls, StoreBody, StoreFailure
from metalake_sync.remote.classify import Done, Fail, Outcome, Retry
from metalake_sync.remote.content_proof import Claims, claims_of
from metalake_sync.remote.http.limits import PIECE_BYTES
from metalake_sync.remote.observe import size_in
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import Attempt, RetryPolicy
from metalake_sync.remote.transfers.bandwidth import Bandwidth
from metalake_sync.remote.transfers.partial import Partial, PartialFiles
from metalake_sync.remote.transfers.workers import Lane, WeightedSemaphore, run_side_by_side

CHUNK_BYTES = 1 << 20
SIGNATURES_LIMIT = 5
"""How often the URL of one file is signed anew, without a byte in between, before the file fails."""

WRONG_BODIES_LIMIT = 3
"""Complete answers with a wrong size or wrong bytes before the file fails. Each is asked for with a new URL."""

BREAKS_LIMIT = 8
"""Bodies that break off before they bring a lasting piece, one after another, before the file fails."""

PROVEN_BY_MD5_BYTES = 16 << 20
"""Up to this size, a store's MD5 of the file makes the call for its size needless. A larger file costs the call: it
bounds what is received, and takes little time beside the file's bytes."""

LARGEST_OF_UNKNOWN_SIZE = 1 << 30
"""The most bytes taken of a file whose size neither the lake nor the store gives."""

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
        counter: RequestCounter | None = None,
        rate_limit_bytes_s: float | None = None,
        received: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._parallelism = parallelism
        self._received = received
        self._bandwidth = Bandwidth(rate_limit_bytes_s)
        self._calls = AsyncCalls(address, retry=retry, connections=parallelism, counter=counter or RequestCounter())

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

        places = WeightedSemaphore(lambda: self._parallelism)
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


class _WrongBody(Exception):
    """A store's answer is complete and cannot be the file. The text says why."""


@dataclass(frozen=True, slots=True)
class _Expected:
    """What a whole file must be."""

    size_bytes: int | None
    """From the lake, else from the store; None where neither gives one."""

    claims: Claims

    @property
    def most_bytes(self) -> int:
        return LARGEST_OF_UNKNOWN_SIZE if self.size_bytes is None else self.size_bytes


class _FileDownload:
    """One file on its way."""

    def __init__(self, downloads: Downloads, file: FileToFetch, partials: PartialFiles) -> None:
        self._downloads = downloads
        self._calls = downloads.calls
        self._file = file
        self._partials = partials
        self._url = file.url
        self._signatures = 0
        self._retries = self._calls.store_retries()
        self._partial: Partial | None = partials.find(file.key)
        """The received bytes on disk, before and after each attempt."""
        self._current: Partial | None = None
        """The partial file that the present attempt writes to."""
        self._size_before_attempt = 0
        self._size_asked = False
        self._size_in_lake: int | None = None
        self._wrong_bodies = 0
        self._breaks = 0

    async def run(self) -> FileFetched:
        """Fetch the file, however often the connection breaks. The retry timeout starts again with each lasting
        piece."""
        while True:
            complete = await self._calls.receive(self._retries, self._attempt, self._classify)
            if complete and self._partial is not None:
                return self._put_in_place(self._partial)

    async def _attempt(self, attempt: Attempt) -> bool | Exception:
        """Make one GET. Returns whether the file is complete, or why the attempt failed."""
        self._size_before_attempt = self._partial.size_bytes if self._partial else 0
        self._current = None
        try:
            self._partial, complete = await self._get(self._partial, attempt)
        except (StoreFailure, _WrongBody) as error:
            return error
        return complete

    def _classify(self, received: bool | Exception) -> Outcome[bool]:
        """Keep or discard what a failed attempt left on disk, and decide whether another attempt may succeed."""
        match received:
            case StoreFailure(retry=retry):
                writing = self._current is not None
                self._partial = self._left_on_disk()
                if self._partial and self._partial.size_bytes >= self._size_before_attempt + PIECE_BYTES:
                    self._retries.restart()
                    self._signatures = self._breaks = 0
                elif writing:
                    self._breaks += 1
                if self._breaks >= BREAKS_LIMIT:
                    return Fail(self._broken(f"the store repeatedly breaks off ({retry.reason})"))
                return retry
            case _WrongBody():
                self._discard(self._current or self._partial)
                self._partial = None
                self._wrong_bodies += 1
                if self._wrong_bodies >= WRONG_BODIES_LIMIT:
                    return Fail(self._broken(str(received)))
                # The file may have been replaced after it was listed.
                self._url, self._size_asked = "", False
                return Retry(str(received))
            case Exception():
                raise received
        return Done(received)

    async def _get(self, partial: Partial | None, attempt: Attempt) -> tuple[Partial | None, bool]:
        """GET the rest if a part is on disk, else the whole file. Returns what is on disk afterwards, and whether that
        is the complete file."""
        if not self._url:
            await self._sign()
        headers = {}
        if partial is not None and partial.size_bytes and partial.etag is not None:
            headers = {"Range": f"bytes={partial.size_bytes}-", "If-Range": partial.etag}
        async with self._calls.get(self._url, headers, attempt) as body:
            match body.status:
                case 200:
                    self._discard(partial)
                    expected = await self._expected(_length(body), claims_of(200, body.headers))
                    self._current = self._partials.new(self._file.key, body.headers.get("etag"))
                    return await self._receive(self._current, body, expected)
                case 206 if partial is not None:
                    start, total = _range(body)
                    # Not every store heeds If-Range; without an ETag nothing says that these are the same bytes.
                    if start != partial.size_bytes or body.headers.get("etag") != partial.etag:
                        self._discard(partial)
                        return None, False
                    expected = await self._expected(total, claims_of(206, body.headers))
                    self._current = partial
                    return await self._receive(partial, body, expected)
                case 416 if partial is not None:
                    # All of it is here already, or more than there is: then it is something else.
                    if _range(body)[1] == partial.size_bytes:
                        claims = claims_of(206, {"etag": partial.etag or ""})
                        expected = await self._expected(partial.size_bytes, claims)
                        _check(partial, expected, await self._md5_of(partial, expected))
                        return partial, True
                    self._discard(partial)
                    return None, False
                case status if status in EXPIRED_STATUSES:
                    self._url = ""
                    return partial, False
                case status:
                    raise LakeRefused(f"the store answered {status}", status=status, where=self._file.unique_name)

    async def _expected(self, told: int | None, claims: Claims) -> _Expected:
        """What the file must be. `told`: its size in bytes as the store gives it. Raises _WrongBody where the lake
        gives another one, LakeAnswerInvalid where nothing can prove the file."""
        if told is not None and told <= PROVEN_BY_MD5_BYTES and claims.of_whole:
            return _Expected(told, claims)
        size = await self._ask_size()
        if size is not None and told is not None and size != told:
            raise _WrongBody(f"the store has {told} bytes of it, and the lake says {size}")
        if size is None and told is None and not claims.of_whole:
            raise LakeAnswerInvalid(
                "neither the lake nor the store says how large the file is, so it cannot be checked",
                where=self._file.unique_name,
                remedy="Check the storage settings of the lake, and any proxy in between.",
            )
        return _Expected(told if size is None else size, claims)

    async def _ask_size(self) -> int | None:
        """The file's size in bytes as the lake gives it; None where it gives none."""
        if not self._size_asked:
            request = ItemDetails(
                unique_file_name=self._file.unique_name, required_meta_obj={"fileSize": True, "url": False}
            )
            self._size_in_lake = None
            with contextlib.suppress(LakeRefused, LakeAnswerInvalid):
                answer = await self._calls.call(routes.ITEM_DETAILS, request)
                self._size_in_lake = size_in(answer.item_details) if answer is not None else None
            self._size_asked = True
        return self._size_in_lake

    def _left_on_disk(self) -> Partial | None:
        """What a broken GET left on disk, to continue from. Without an ETag, the next GET starts from the beginning."""
        current = self._current or self._partial
        left = self._partials.on_disk(current) if current is not None else None
        if left is None or left.etag is None:
            self._discard(current)
            return None
        return left

    async def _receive(self, partial: Partial, body: StoreBody, expected: _Expected) -> tuple[Partial, bool]:
        """Append the body, and check the file. Raises StoreFailure where its end is missing and the rest can be asked
        for, _WrongBody where it is not the file."""
        md5 = await self._md5_of(partial, expected)
        descriptor = self._partials.open(partial)
        size = partial.size_bytes
        try:
            async for chunk in body.chunks(self._downloads.read_bytes):
                size += len(chunk)
                if size > expected.most_bytes:
                    raise _WrongBody(f"the store sends more than the {expected.most_bytes} bytes of the file")
                await self._write(descriptor, chunk, md5)
                await self._downloads.took(len(chunk))
        finally:
            os.close(descriptor)
        here = Partial(partial.name, size, partial.etag)
        if expected.size_bytes is not None and size < expected.size_bytes and partial.etag is not None:
            raise StoreFailure(Retry(f"the store sent {size} of {expected.size_bytes} bytes"))
        _check(here, expected, md5)
        return here, True

    async def _md5_of(self, partial: Partial, expected: _Expected) -> hashlib._Hash | None:
        """The MD5 of the received bytes, to continue with; None where the store claims none of the whole file."""
        if not expected.claims.of_whole:
            return None
        md5 = hashlib.md5(usedforsecurity=False)
        if partial.size_bytes:
            await asyncio.to_thread(self._partials.feed, partial, md5.update)
        return md5

    @staticmethod
    async def _write(descriptor: int, chunk: bytes, md5: hashlib._Hash | None) -> None:
        """Small writes go to the page cache at once; larger ones would hold up all other transfers."""
        if len(chunk) < CHUNK_BYTES // 4:
            _write_all(descriptor, chunk, md5)
        else:
            await asyncio.to_thread(_write_all, descriptor, chunk, md5)

    def _put_in_place(self, partial: Partial) -> FileFetched:
        return FileFetched(self._file, self._partials.put_in_place(partial, self._file.path.name))

    def _discard(self, partial: Partial | None) -> None:
        if partial is not None:
            self._partials.discard(partial)

    def _broken(self, why: str) -> LakeAnswerInvalid:
        return LakeAnswerInvalid(
            f"the file could not be downloaded whole: {why}",
            where=self._file.unique_name,
            remedy="Nothing was put in its place. Run it again; if the error stays, check the file in the lake and any "
            "proxy in between.",
        )

    async def _sign(self) -> None:
        self._signatures += 1
        if self._signatures > SIGNATURES_LIMIT:
            raise SignedUrlExpired(
                "the store refuses every address that the lake signs",
                where=self._file.unique_name,
                remedy="Check the lake's storage settings and this machine's clock.",
            )
        answer = await self._calls.call(routes.DOWNLOAD_URL, query={"file_key": self._file.unique_name})
        if answer is None:
            raise LakeRefused("the lake has no such file any more", status=404, where=self._file.unique_name)
        self._url = answer.url


def _write_all(descriptor: int, chunk: bytes, md5: hashlib._Hash | None) -> None:
    if md5 is not None:
        md5.update(chunk)
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _check(here: Partial, expected: _Expected, md5: hashlib._Hash | None) -> None:
    """Raises _WrongBody for a file that has the wrong size or other bytes than the store's MD5 says."""
    if expected.size_bytes is not None and here.size_bytes != expected.size_bytes:
        raise _WrongBody(f"the store sent {here.size_bytes} of {expected.size_bytes} bytes")
    if md5 is not None and not expected.claims.match(md5.digest()):
        raise _WrongBody("the bytes do not match the MD5 that the store gives")


def _length(body: StoreBody) -> int | None:
    length = body.headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def _range(body: StoreBody) -> tuple[int, int]:
    """Where a range begins and how large the whole file is, in bytes; -1 where the store's answer does not say."""
    match = _CONTENT_RANGE.fullmatch(body.headers.get("content-range", ""))
    if match is None:
        return -1, -1
    return int(match[1] or -1), int(match[3])
