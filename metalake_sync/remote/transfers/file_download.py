"""Downloads one file: to a temporary name, resumed with ranges, checked, then renamed.

Owns: the GETs of a file, and what remains on disk after each. Failures are raised; `download` decides how far they
reach. Longer than 300 lines, because each step of a download depends on what is on disk after the one before.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import field
from pathlib import Path

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.errors import LakeAnswerInvalid, LakeRejected
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import ItemDetails
from metalake_sync.remote.async_calls import AsyncCalls, StoreBody, StoreFailure
from metalake_sync.remote.classify import Done, Fail, Outcome, Retry
from metalake_sync.remote.content_proof import Claims, claims_of
from metalake_sync.remote.http.limits import PIECE_BYTES
from metalake_sync.remote.item_details import size_in
from metalake_sync.remote.retry import Attempt
from metalake_sync.remote.storage import EXPIRED_STATUSES, SIGNATURES_LIMIT, every_url_rejected
from metalake_sync.remote.transfers.limits import Bandwidth
from metalake_sync.remote.transfers.partial import (
    ExpectedFile,
    Partial,
    PartialFiles,
    WrongBody,
    content_length,
    content_range,
)

CHUNK_BYTES = 1 << 20

WRONG_BODIES_LIMIT = 3
"""Complete responses with a wrong size or wrong bytes before the file fails. Each attempt uses a new URL."""

BREAKS_LIMIT = 8
"""Consecutive bodies that break off before they bring a lasting piece, before the file fails."""

PROVEN_BY_MD5_BYTES = 16 << 20
"""Up to this size, the store's MD5 saves the call for the size. For larger files, the size bounds what is received."""


@dataclass(frozen=True, slots=True)
class FileToFetch:
    """A file of the lake, and its local path."""

    unique_name: str
    path: Path
    key: str
    """Identifies the bytes: the item's id, because the bytes of an id never change."""
    url: str = field(default="", repr=False)
    """A signed URL, or '' to request one from the lake."""


@dataclass(frozen=True, slots=True)
class FileFetched:
    """The file is complete and at its path."""

    file: FileToFetch
    fingerprint: Fingerprint
    """Of the file at its path."""


@dataclass(frozen=True, slots=True)
class DownloadChannel:
    """What all downloads of a transfer share."""

    calls: AsyncCalls
    bandwidth: Bandwidth
    on_bytes: Callable[[int], None]
    """Receives the number of bytes of each chunk, in the event loop's thread."""

    @property
    def read_bytes(self) -> int:
        """How many bytes to read at once."""
        return self.bandwidth.piece_bytes if self.bandwidth.limited else CHUNK_BYTES

    async def received(self, size_bytes: int) -> None:
        """Report received bytes, and wait as long as the bandwidth limit requires."""
        self.on_bytes(size_bytes)
        await self.bandwidth.take(size_bytes)


class FileDownload:
    """The download of one file."""

    def __init__(self, channel: DownloadChannel, file: FileToFetch, partials: PartialFiles) -> None:
        self._channel = channel
        self._calls = channel.calls
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
        """Fetch the file. The retry timeout starts again with each lasting piece."""
        while True:
            complete = await self._calls.receive(self._retries, self._attempt, self._classify)
            if complete and self._partial is not None:
                return FileFetched(self._file, self._partials.put_in_place(self._partial, self._file.path.name))

    async def _attempt(self, attempt: Attempt) -> bool | Exception:
        """Make one GET. Returns whether the file is complete, or why the attempt failed."""
        self._size_before_attempt = self._partial.size_bytes if self._partial else 0
        self._current = None
        try:
            self._partial, complete = await self._get(self._partial, attempt)
        except (StoreFailure, WrongBody) as error:
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
            case WrongBody():
                self._partials.discard(self._current or self._partial)
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
                    self._partials.discard(partial)
                    expected = await self._expected(content_length(body.headers), claims_of(200, body.headers))
                    self._current = self._partials.new(self._file.key, body.headers.get("etag"))
                    return await self._receive(self._current, body, expected)
                case 206 if partial is not None:
                    start, total = content_range(body.headers)
                    # Some stores ignore If-Range. Only an equal ETag proves that the rest belongs to the same bytes.
                    if start != partial.size_bytes or body.headers.get("etag") != partial.etag:
                        self._partials.discard(partial)
                        return None, False
                    expected = await self._expected(total, claims_of(206, body.headers))
                    self._current = partial
                    return await self._receive(partial, body, expected)
                case 416 if partial is not None:
                    # Either the part on disk is the whole file, or it is longer and so belongs to other bytes.
                    if content_range(body.headers)[1] == partial.size_bytes:
                        claims = claims_of(206, {"etag": partial.etag or ""})
                        expected = await self._expected(partial.size_bytes, claims)
                        expected.check(partial, await self._md5_of(partial, expected))
                        return partial, True
                    self._partials.discard(partial)
                    return None, False
                case status if status in EXPIRED_STATUSES:
                    self._url = ""
                    return partial, False
                case status:
                    raise LakeRejected(f"the store answered {status}", status=status, where=self._file.unique_name)

    async def _expected(self, store_size: int | None, claims: Claims) -> ExpectedFile:
        """Return what proves the file. `store_size`: its size in bytes according to the store.

        Raises WrongBody if the lake gives another size, and LakeAnswerInvalid if nothing can prove the file.
        """
        if store_size is not None and store_size <= PROVEN_BY_MD5_BYTES and claims.of_whole:
            return ExpectedFile(store_size, claims)
        size = await self._ask_size()
        if size is not None and store_size is not None and size != store_size:
            raise WrongBody(f"the store has {store_size} bytes, and the lake says {size}")
        if size is None and store_size is None and not claims.of_whole:
            raise LakeAnswerInvalid(
                "neither the lake nor the store says how large the file is, so it cannot be checked",
                where=self._file.unique_name,
                remedy="Check the storage settings of the lake, and any proxy in between.",
            )
        return ExpectedFile(store_size if size is None else size, claims)

    async def _ask_size(self) -> int | None:
        """Return the file's size in bytes according to the lake. None if the lake does not give it."""
        if not self._size_asked:
            request = ItemDetails(
                unique_file_name=self._file.unique_name, required_meta_obj={"fileSize": True, "url": False}
            )
            self._size_in_lake = None
            with contextlib.suppress(LakeRejected, LakeAnswerInvalid):
                answer = await self._calls.call(routes.ITEM_DETAILS, request)
                self._size_in_lake = size_in(answer.item_details) if answer is not None else None
            self._size_asked = True
        return self._size_in_lake

    def _left_on_disk(self) -> Partial | None:
        """What a broken GET left on disk, to continue from. Without an ETag, the next GET starts from the beginning."""
        current = self._current or self._partial
        left = self._partials.on_disk(current) if current is not None else None
        if left is None or left.etag is None:
            self._partials.discard(current)
            return None
        return left

    async def _receive(self, partial: Partial, body: StoreBody, expected: ExpectedFile) -> tuple[Partial, bool]:
        """Append the body to the partial file, and check the file.

        Raises StoreFailure if the end is missing and can be requested separately, WrongBody if it is another file.
        """
        md5 = await self._md5_of(partial, expected)
        descriptor = self._partials.open(partial)
        size = partial.size_bytes
        try:
            async with aclosing(body.chunks(self._channel.read_bytes)) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > expected.most_bytes:
                        raise WrongBody(f"the store sends more than the {expected.most_bytes} bytes of the file")
                    await self._write(descriptor, chunk, md5)
                    await self._channel.received(len(chunk))
        finally:
            os.close(descriptor)
        here = Partial(partial.name, size, partial.etag)
        if expected.size_bytes is not None and size < expected.size_bytes and partial.etag is not None:
            raise StoreFailure(Retry(f"the store sent {size} of {expected.size_bytes} bytes"))
        expected.check(here, md5)
        return here, True

    async def _md5_of(self, partial: Partial, expected: ExpectedFile) -> hashlib._Hash | None:
        """Return the MD5 state of the bytes on disk. None if the store does not give an MD5 of the whole file."""
        if not expected.claims.of_whole:
            return None
        md5 = hashlib.md5(usedforsecurity=False)
        if partial.size_bytes:
            await asyncio.to_thread(self._partials.feed, partial, md5.update)
        return md5

    @staticmethod
    async def _write(descriptor: int, chunk: bytes, md5: hashlib._Hash | None) -> None:
        """Write in this thread if the chunk is small, else in another one, which does not block other transfers."""
        if len(chunk) < CHUNK_BYTES // 4:
            _write_all(descriptor, chunk, md5)
        else:
            await asyncio.to_thread(_write_all, descriptor, chunk, md5)

    def _broken(self, why: str) -> LakeAnswerInvalid:
        return LakeAnswerInvalid(
            f"the file could not be downloaded completely: {why}",
            where=self._file.unique_name,
            remedy="The target file was not changed. Run the command again. If the error persists, check the file in "
            "the lake and any proxy in between.",
        )

    async def _sign(self) -> None:
        self._signatures += 1
        if self._signatures > SIGNATURES_LIMIT:
            raise every_url_rejected(self._file.unique_name)
        answer = await self._calls.call(routes.DOWNLOAD_URL, query={"file_key": self._file.unique_name})
        if answer is None:
            raise LakeRejected("the file no longer exists in the lake", status=404, where=self._file.unique_name)
        self._url = answer.url


def _write_all(descriptor: int, chunk: bytes, md5: hashlib._Hash | None) -> None:
    if md5 is not None:
        md5.update(chunk)
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]
