"""Uploads one file within an upload session: begin, sign, PUT each part, finalize.

The calls before finalize can be made in one process, and the finalize call in another. Owns: the order of a file's
calls, and expired URLs. Failures are raised; `upload` decides how far they reach.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from metalake_sync.errors import LakeAnswerInvalid, LakeRejected, SyncError
from metalake_sync.protocol import routes
from metalake_sync.protocol.uploads import BeginFile, BeginFileAnswer, FinalizeFile, FinishedPart, SignParts
from metalake_sync.remote.async_calls import AsyncCalls
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.storage import (
    EXPIRED_STATUSES,
    SIGNATURES_LIMIT,
    Store,
    choose_part_size,
    every_url_rejected,
    split_parts,
    store_for,
)
from metalake_sync.remote.transfers.limits import Bandwidth
from metalake_sync.remote.transfers.upload_files import (
    BytesPart,
    FileElsewhere,
    FileExisting,
    FilePart,
    FileSent,
    Outcome,
    PartSource,
    ReadFile,
    ResumePoint,
    StoredFile,
    TransferObserver,
    UploadSession,
    expect,
    hash_of,
)
from metalake_sync.sources.hashing import fingerprint_of, hash_file, open_regular

PARTS_AT_ONCE = 8
"""Parts of one large file in flight at once."""

WRONG_ETAGS_LIMIT = 3
"""How often a store may answer a part with the MD5 of other bytes before the file fails."""

_MD5 = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UploadChannel:
    """What all uploads of a transfer share."""

    calls: AsyncCalls
    bandwidth: Bandwidth
    counter: RequestCounter


class FileUpload:
    """The upload of one file."""

    def __init__(
        self, channel: UploadChannel, session: UploadSession, read: ReadFile, observer: TransferObserver
    ) -> None:
        self._channel = channel
        self._calls = channel.calls
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
                return await self._finish(await self._store_parts(self._file.resume))
            except LakeRejected:
                # The lake no longer knows the begun file. Begin it again.
                self._urls.clear()
        put = await self.put()
        return await self._finish(put) if isinstance(put, StoredFile) else put

    async def put(self) -> StoredFile | FileExisting | FileElsewhere:
        """Begin the file and send its bytes to the store. The lake does not have the file before it is finalized."""
        answer = await self._begin()
        if answer.upload_removed_file:
            return FileElsewhere(self._file)
        if answer.is_existing:
            return FileExisting(self._file)
        if not answer.file_id:
            raise LakeAnswerInvalid("the lake's answer has no file id", where=routes.BEGIN_FILE.path)
        part_size = choose_part_size(self._file.fingerprint.size_bytes)
        return await self._store_parts(ResumePoint(answer.file_id, answer.file_key, part_size, {}))

    async def _finish(self, stored: StoredFile) -> Outcome:
        await self._observer.about_to_finalize(self._file, stored.point, stored.content_hash)
        await finalize(self._calls, self._session.upload_id, stored.point, stored.finalize_url)
        return FileSent(self._file, stored.point.file_id, stored.content_hash, stored.bytes_sent)

    async def _begin(self) -> BeginFileAnswer:
        answer = await self._calls.call(
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

    async def _store_parts(self, begun: ResumePoint) -> StoredFile:
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
        return StoredFile(self._file, whole, content_hash, self._urls[len(parts)], self._bytes_sent)

    async def _send_large(
        self, begun: ResumePoint, parts: list[tuple[int, int]], missing: list[int], etags: dict[int, str]
    ) -> str:
        """Send the missing parts, several at once if the store allows it, while a thread hashes the file.

        The file must have the same fingerprint before and after, so that the recorded hash is that of the sent bytes.
        """
        descriptor = open_regular(self._file.path)
        hashing = asyncio.create_task(asyncio.to_thread(hash_file, self._file.path, self._file.fingerprint))
        # If sending fails first, the result is not awaited. This marks its exception as seen.
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
            # The thread cannot be cancelled. It has its own descriptor, and its result is ignored.
            hashing.cancel()
            os.close(descriptor)

    async def _send_part(self, begun: ResumePoint, number: int, parts: list[tuple[int, int]], part: PartSource) -> str:
        """PUT one part until the store has all of its bytes. Returns the part's ETag."""
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
                    self._channel.counter.add_sent_bytes(length)
                    return etag
                wrong += 1
                if wrong >= WRONG_ETAGS_LIMIT:
                    raise LakeRejected(
                        f"the store received part {number} with other bytes", status=500, where=self._file.path
                    )
            elif answer.status in EXPIRED_STATUSES:
                await self._sign_again(begun, len(parts), url)
            else:
                raise LakeRejected(f"the store answered {answer.status}", status=answer.status, where=self._file.path)

    def _body(self, part: PartSource) -> bytes | AsyncGenerator[bytes, None]:
        """Bytes in memory are sent with the request's head in one write, unless the bandwidth is limited."""
        whole = part.whole()
        if whole is None or self._channel.bandwidth.limited:
            return self._paced(part)
        self._observer.bytes_sent(len(whole))
        return whole

    async def _paced(self, part: PartSource) -> AsyncGenerator[bytes, None]:
        """Yield the part's bytes at the allowed rate, and report them as they are sent."""
        async with aclosing(self._channel.bandwidth.pieces(part.chunks())) as pieces:
            async for piece in pieces:
                yield piece
                self._observer.bytes_sent(len(piece))

    async def _sign(self, begun: ResumePoint, count: int) -> None:
        answer = await self._calls.call(
            routes.SIGN_PARTS,
            SignParts(
                file_id=begun.file_id, file_key=begun.file_key, parts=count, content_type=self._file.content_type
            ),
        )
        urls = {part.part_number: part.signed_url for part in answer.parts} if answer is not None else {}
        missing = [number for number in range(1, count + 1) if not urls.get(number)]
        if missing:
            raise LakeAnswerInvalid(
                f"the lake gave no URL for part {missing[0]} of {count}", where=routes.SIGN_PARTS.path
            )
        self._urls = urls

    async def _sign_again(self, begun: ResumePoint, count: int, refused_url: str) -> None:
        """Sign all URLs again after a store rejected one as expired. Finished parts are kept."""
        async with self._signing:
            if refused_url not in self._urls.values():
                return
            self._signatures += 1
            if self._signatures > SIGNATURES_LIMIT:
                raise every_url_rejected(self._file.path)
            await self._sign(begun, count)


async def finalize(calls: AsyncCalls, upload_id: str, stored: ResumePoint, url: str) -> None:
    """Finalize a file whose parts are all in the store. `url`: the signed URL of its last part."""
    await calls.call(
        routes.FINALIZE_FILE,
        FinalizeFile(
            file_id=stored.file_id,
            file_key=stored.file_key,
            upload_id=upload_id,
            parts=[FinishedPart(PartNumber=number, ETag=etag) for number, etag in sorted(stored.finished.items())],
            finalize_url=url,
        ),
    )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error of the part that failed. The other parts were cancelled because of it."""
    return next((error for error in errors.exceptions if isinstance(error, SyncError)), errors.exceptions[0])
