"""Uploading many files at once in one event loop: for each of them begin, sign, PUT, finalize.

Owns: the order of a file's calls, and what becomes of each failure: an item's is an outcome and the others go on, the
run's is raised. Must not: open or complete sessions, or write anything down (the observer does).
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import TypeVar

from pydantic import BaseModel

from metalake_sync.errors import LakeAnswerInvalid, LakeRefused, SignedUrlExpired, SourceChanged, SyncError
from metalake_sync.protocol import routes
from metalake_sync.protocol.routes import Route
from metalake_sync.protocol.uploads import BeginFile, BeginFileAnswer, FinalizeFile, FinishedPart, SignParts
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.async_calls import AsyncCalls
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.storage import PART_BYTES, Store, TooManyParts, choose_part_size, split_parts, store_for
from metalake_sync.remote.transfers.bandwidth import Bandwidth
from metalake_sync.remote.transfers.transfer_files import (
    BytesPart,
    FileElsewhere,
    FileExisting,
    FileFailed,
    FilePart,
    FileSent,
    FileToSend,
    Outcome,
    PartSource,
    ReadFile,
    ResumePoint,
    Source,
    TransferObserver,
    UploadSession,
    expect,
    hash_of,
)
from metalake_sync.remote.transfers.width import WIDEST, Width
from metalake_sync.remote.transfers.workers import Lane, WeightedSemaphore, run_side_by_side
from metalake_sync.sources.hashing import fingerprint_of, hash_file, open_regular

AnswerT = TypeVar("AnswerT", bound=BaseModel)

PARTS_AT_ONCE = 8
SMALL_BYTES_AT_ONCE = 32 << 20
"""Of small files, which are in memory whole while they are on the wire."""

BUFFERS_AT_ONCE = 32
"""Of large files: each part on the wire has one for its next chunk, and one in the socket's queue."""

DESCRIPTORS_KEPT = 160
"""For the state, the sources and what Python itself has open."""

SIGNATURES_LIMIT = 5
"""How often the URLs of one file are signed anew before it fails."""

WRONG_ETAGS_TAKEN = 3

_MD5 = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)

__all__ = [
    "FileElsewhere",
    "FileExisting",
    "FileFailed",
    "FileSent",
    "FileToSend",
    "Outcome",
    "ResumePoint",
    "Transfer",
    "TransferObserver",
    "UploadSession",
    "widest_for",
]


class Transfer:
    """Sends files. `parallelism`: the most files on the wire at once; how many it really is finds itself, see `Width`.
    `rate_limit_bytes_s`: None is as fast as it goes."""

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy,
        parallelism: int | None = None,
        counter: RequestCounter | None = None,
        rate_limit_bytes_s: float | None = None,
    ) -> None:
        self._counter = counter or RequestCounter()
        widest = widest_for(parallelism)
        self.parallelism = parallelism
        self._bandwidth = Bandwidth(rate_limit_bytes_s)
        self.width = Width(time.monotonic, widest=widest)
        self._places = WeightedSemaphore(lambda: self.width.now)
        self._small = WeightedSemaphore(lambda: SMALL_BYTES_AT_ONCE)
        self._buffers = WeightedSemaphore(lambda: BUFFERS_AT_ONCE)
        self._calls = AsyncCalls(
            address,
            retry=retry,
            connections=widest + BUFFERS_AT_ONCE,
            counter=self._counter,
            on_failure=self.width.trouble,
            on_answer=self.width.answered,
        )

    async def __aenter__(self) -> Transfer:
        await self._calls.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._calls.__aexit__(kind, error, trace)

    async def upload(
        self,
        session: UploadSession,
        files: Iterable[FileToSend],
        observer: TransferObserver,
        last_ones: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[Outcome]:
        """Send files within a session, and give each one's outcome as it comes. Several may go on at once: they share
        the wire, first come, first served.

        `last_ones`: called when the last files set out, so that whoever has more can get it ready.
        Raises what concerns the run (credentials, a lake that is gone) after the outcomes that were there before it.
        """
        source = Source(files, lambda: self.width.now, last_ones)
        store = store_for(session.storage)
        lanes = [
            Lane(source.take_large, self._buffers, lambda read: _buffers(read.file, store)),
            Lane(source.take_small, self._small, lambda read: read.file.fingerprint.size_bytes),
        ]
        try:
            async for outcome in run_side_by_side(
                lanes, lambda read: self._outcome(session, read, observer), self._places
            ):
                self.width.came_through()
                yield outcome
        finally:
            await source.close()

    async def _outcome(self, session: UploadSession, read: ReadFile, observer: TransferObserver) -> Outcome:
        """Send one file; what concerns it alone is an outcome."""
        if read.error is not None:
            return FileFailed(read.file, read.error, retryable=True)
        try:
            return await _FileUpload(self, session, read, observer).run()
        except (SourceChanged, SignedUrlExpired) as error:
            return FileFailed(read.file, error, retryable=True)
        except TooManyParts as error:
            return FileFailed(read.file, error, retryable=False)
        except LakeRefused as error:
            return FileFailed(read.file, error, retryable=error.status >= 500)

    @property
    def calls(self) -> AsyncCalls:
        return self._calls

    @property
    def bandwidth(self) -> Bandwidth:
        return self._bandwidth

    @property
    def counter(self) -> RequestCounter:
        return self._counter


class _FileUpload:
    """One file on its way."""

    def __init__(self, transfer: Transfer, session: UploadSession, read: ReadFile, observer: TransferObserver) -> None:
        self._transfer = transfer
        self._calls = transfer.calls
        self._session = session
        self._store: Store = store_for(session.storage)
        self._read = read
        self._file = read.file
        self._observer = observer
        self._bytes_sent = 0
        self._signatures = 0
        self._urls: dict[int, str] = {}
        self._signing = asyncio.Lock()

    async def run(self) -> Outcome:
        if self._file.resume is not None:
            try:
                return await self._send(self._file.resume)
            except LakeRefused:
                # The lake no longer knows the file that was begun: begin it anew.
                self._urls.clear()
        answer = await self._begin()
        if answer.upload_removed_file:
            return FileElsewhere(self._file)
        if answer.is_existing:
            return FileExisting(self._file)
        if not answer.file_id:
            raise LakeAnswerInvalid("the lake gives no file id", where=routes.BEGIN_FILE.path)
        part_size = choose_part_size(self._file.fingerprint.size_bytes)
        return await self._send(ResumePoint(answer.file_id, answer.file_key, part_size, {}))

    async def _call(self, route: Route[AnswerT], body: BaseModel) -> AnswerT | None:
        return await self._calls.call(route, body)

    async def _begin(self) -> BeginFileAnswer:
        answer = await self._call(
            routes.BEGIN_FILE,
            BeginFile(
                file_name=self._file.name,
                collection_name=self._session.collection_name,
                upload_id=self._session.upload_id,
            ),
        )
        if answer is None:
            raise LakeAnswerInvalid("the lake's answer is empty", where=routes.BEGIN_FILE.path)
        return answer

    async def _send(self, begun: ResumePoint) -> Outcome:
        size = self._file.fingerprint.size_bytes
        parts = split_parts(size, begun.part_size)
        self._observer.file_begun(self._file, begun.file_id, begun.file_key, begun.part_size, len(parts))
        etags = {number: etag for number, etag in begun.finished.items() if number <= len(parts)}
        missing = [number for number in range(1, len(parts) + 1) if number not in etags]
        await self._sign(begun, len(parts))
        if size == 0 and self._store.parts_of_empty is not None:
            etags, content_hash = dict(self._store.parts_of_empty), hash_of(b"")
        elif self._read.body is not None:
            etags[1] = await self._send_part(begun, 1, parts, BytesPart(self._read.body))
            content_hash = self._read.content_hash or hash_of(self._read.body)
        else:
            content_hash = await self._send_large(begun, parts, missing, etags)
        whole = ResumePoint(begun.file_id, begun.file_key, begun.part_size, etags)
        await self._observer.about_to_finalize(self._file, whole, content_hash)
        await self._call(
            routes.FINALIZE_FILE,
            FinalizeFile(
                file_id=begun.file_id,
                file_key=begun.file_key,
                upload_id=self._session.upload_id,
                parts=[FinishedPart(PartNumber=number, ETag=etags[number]) for number in sorted(etags)],
                finalize_url=self._urls[len(parts)],
            ),
        )
        return FileSent(self._file, begun.file_id, content_hash, self._bytes_sent)

    async def _send_large(
        self, begun: ResumePoint, parts: list[tuple[int, int]], missing: list[int], etags: dict[int, str]
    ) -> str:
        """Send the parts that are missing, several at once where the store allows it, while a thread hashes the file.
        The file must be the same before and after: what is recorded is what was sent."""
        descriptor = open_regular(self._file.path)
        hashing = asyncio.create_task(asyncio.to_thread(hash_file, self._file.path, self._file.fingerprint))
        # Where sending fails first, nobody asks what came of it.
        hashing.add_done_callback(lambda done: done.cancelled() or done.exception())
        at_once = asyncio.Semaphore(PARTS_AT_ONCE if self._store.parallel_parts else 1)

        async def send(number: int) -> None:
            async with at_once:
                offset, length = parts[number - 1]
                part = FilePart(descriptor, offset, length)
                etags[number] = etag = await self._send_part(begun, number, parts, part)
                self._observer.part_finished(self._file, begun.file_id, number, etag, length)

        try:
            expect(self._file, fingerprint_of(descriptor))
            try:
                async with asyncio.TaskGroup() as group:
                    for number in missing:
                        group.create_task(send(number))
            except BaseExceptionGroup as errors:
                raise _first(errors) from None
            content_hash = await hashing
            expect(self._file, fingerprint_of(descriptor))
            return content_hash
        finally:
            # A thread can't be cancelled, but it reads through a descriptor of its own; its outcome is not wanted.
            hashing.cancel()
            os.close(descriptor)

    async def _send_part(self, begun: ResumePoint, number: int, parts: list[tuple[int, int]], part: PartSource) -> str:
        """PUT one part until the store has it, whole. Returns its ETag."""
        offset, length = parts[number - 1]
        retries = self._calls.store_retries()
        wrong = 0
        while True:
            url = self._urls[number]
            request = self._store.part_request(
                url,
                number=number,
                offset=offset,
                length=length,
                total=self._file.fingerprint.size_bytes,
                content_type=self._file.content_type,
            )
            answer = await self._calls.put(request.url, request.headers, lambda: self._body(part), retries)
            if self._store.accepted(answer.status, last=number == len(parts)):
                etag = self._store.etag(answer.headers)
                if etag is not None and (not _MD5.fullmatch(etag) or etag.lower() == part.md5()):
                    self._bytes_sent += length
                    self._transfer.counter.add_sent_bytes(length)
                    return etag
                wrong += 1
                if wrong >= WRONG_ETAGS_TAKEN:
                    raise LakeRefused(f"the store did not get part {number} whole", status=500, where=self._file.path)
            elif answer.status in (400, 401, 403):
                await self._sign_anew(begun, len(parts), url)
            else:
                raise LakeRefused(f"the store answered {answer.status}", status=answer.status, where=self._file.path)

    def _body(self, part: PartSource) -> bytes | AsyncIterator[bytes]:
        """What is in memory goes out with its head in one write, unless the rate is limited."""
        whole = part.whole()
        if whole is None or self._transfer.bandwidth.limited:
            return self._paced(part)
        self._observer.bytes_sent(len(whole))
        return whole

    async def _paced(self, part: PartSource) -> AsyncIterator[bytes]:
        """The part's bytes at the allowed rate, told as they go out."""
        async for piece in self._transfer.bandwidth.pieces(part.chunks()):
            yield piece
            self._observer.bytes_sent(len(piece))

    async def _sign(self, begun: ResumePoint, count: int) -> None:
        answer = await self._call(
            routes.SIGN_PARTS,
            SignParts(
                file_id=begun.file_id, file_key=begun.file_key, parts=count, content_type=self._file.content_type
            ),
        )
        urls = {part.part_number: part.signed_url for part in answer.parts} if answer is not None else {}
        missing = [number for number in range(1, count + 1) if not urls.get(number)]
        if missing:
            raise LakeAnswerInvalid(
                f"the lake gave no address for part {missing[0]} of {count}", where=routes.SIGN_PARTS.path
            )
        self._urls = urls

    async def _sign_anew(self, begun: ResumePoint, count: int, refused_url: str) -> None:
        """A store that refuses a signed URL says that it expired. Parts that it has are kept."""
        async with self._signing:
            if refused_url not in self._urls.values():
                return
            self._signatures += 1
            if self._signatures > SIGNATURES_LIMIT:
                raise SignedUrlExpired(
                    "the store refuses every address that the lake signs",
                    where=self._file.path,
                    remedy="Check the lake's storage settings and this machine's clock.",
                )
            await self._sign(begun, count)


def widest_for(parallelism: int | None) -> int:
    """The most files at once: as asked for, and as many as this process may have open. A file on its way can hold a
    connection to the lake and one to its store."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files = WIDEST if soft == resource.RLIM_INFINITY else max(1, (soft - DESCRIPTORS_KEPT) // 2)
    return min(parallelism or WIDEST, open_files, WIDEST)


def _buffers(file: FileToSend, store: Store) -> int:
    """How many parts of a large file can be on the wire at once."""
    parts = -(-file.fingerprint.size_bytes // PART_BYTES)
    return min(parts, PARTS_AT_ONCE if store.parallel_parts else 1)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of a part that says why the file failed; the others were cancelled for it."""
    return next((error for error in errors.exceptions if isinstance(error, SyncError)), errors.exceptions[0])
