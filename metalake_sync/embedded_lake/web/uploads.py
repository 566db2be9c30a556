"""Handlers of the calls about uploads and jobs, and of the object store that keeps objects in files, as S3 does."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from metalake_sync.embedded_lake.jobs import Jobs
from metalake_sync.embedded_lake.rejections import NoContent, forbidden, not_found
from metalake_sync.embedded_lake.storage.files import FileStorage
from metalake_sync.embedded_lake.store import LakeStore
from metalake_sync.embedded_lake.uploads import Uploads
from metalake_sync.embedded_lake.web.messages import (
    Call,
    answer,
    answer_message,
    base_url,
    generation_of,
    is_true,
    read_message,
)
from metalake_sync.protocol import routes
from metalake_sync.protocol.uploads import (
    BeginFile,
    CompleteUploadAnswer,
    FinalizeFile,
    JobReport,
    JobStatusAnswer,
    OpenUpload,
    SignedPart,
    SignParts,
    SignPartsAnswer,
)
from metalake_sync.protocol.wire import SimpleAnswer


class UploadCalls:
    def __init__(self, store: LakeStore, uploads: Uploads, jobs: Jobs, locks: Locks) -> None:
        self._store = store
        self._uploads = uploads
        self._jobs = jobs
        self._locks = locks

    def calls(self) -> Iterable[Call]:
        yield routes.OPEN_UPLOAD, self.open
        yield routes.BEGIN_FILE, self.begin
        yield routes.SIGN_PARTS, self.sign
        yield routes.FINALIZE_FILE, self.finalize
        yield routes.COMPLETE_UPLOAD, self.complete
        yield routes.UPLOAD_PROGRESS, self.progress
        yield routes.JOB_STATUS, self.job_status
        yield routes.UPDATE_JOB, self.update_job

    async def open(self, request: web.Request) -> web.Response:
        return answer_message(self._uploads.open(await read_message(request, OpenUpload), generation_of(request)))

    async def begin(self, request: web.Request) -> web.Response:
        message = await read_message(request, BeginFile)
        async with self._locks.of(f"{message.upload_id}/{message.file_name}"):
            return answer_message(await self._uploads.begin(message))

    async def sign(self, request: web.Request) -> web.Response:
        message = await read_message(request, SignParts)
        storage = self._store.storage
        async with self._locks.of(message.file_id):
            pending = self._uploads.pending(message)
            ticket = await storage.start(pending, message.content_type)
            if ticket != pending.ticket:
                self._uploads.started(message.file_id, ticket)
                pending = replace(pending, ticket=ticket)
        urls = await storage.part_urls(pending, message.parts, base_url(request))
        parts = [SignedPart(PartNumber=number, signed_url=url) for number, url in enumerate(urls, start=1)]
        return answer_message(SignPartsAnswer(file_key=message.file_key, parts=parts))

    async def finalize(self, request: web.Request) -> web.Response:
        message = await read_message(request, FinalizeFile)
        async with self._locks.of(message.file_id):
            pending = self._uploads.to_finish(message)
            if pending is not None:
                self._uploads.finalized(message.file_id, await self._store.storage.finish(pending, message.parts))
        return answer_message(SimpleAnswer())

    async def complete(self, request: web.Request) -> web.Response:
        upload_id = request.match_info["upload_id"]
        await self._store.storage.flush(self._jobs.finalized_blobs(upload_id))
        names = self._jobs.complete(upload_id)
        wants_names = is_true(request, "isReturnedUniqueName")
        return answer_message(CompleteUploadAnswer(uploaded_file_list=names if wants_names else []))

    async def progress(self, request: web.Request) -> web.Response:
        progress = self._jobs.upload_progress(request.query.get("collectionName", ""))
        if progress is None:
            raise NoContent
        return answer({"isSuccess": True, "progress": progress})

    async def job_status(self, request: web.Request) -> web.Response:
        job_id = request.match_info["job_id"]
        status, progress = self._jobs.status(job_id)
        return answer_message(JobStatusAnswer(job_id=job_id, status=status, progress=progress))

    async def update_job(self, request: web.Request) -> web.Response:
        """Store a client's report on its own work. No other call reads it."""
        report = await read_message(request, JobReport)
        row = {"session_id": report.session_id, "report": report.model_dump_json(by_alias=True)}
        self._store.tables.table("client_jobs").insert(row, replace=True)
        return answer({"isSuccess": True})


class Locks:
    """One lock per file, held while the file is begun or assembled."""

    def __init__(self) -> None:
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    def of(self, file: str) -> asyncio.Lock:
        lock = self._locks.get(file)
        if lock is None:
            lock = self._locks[file] = asyncio.Lock()
        return lock


_READ_BYTES = 1 << 20


class _StoredObject(web.FileResponse):
    def __init__(self, path: Path, object_etag: str | None) -> None:
        super().__init__(path, chunk_size=_READ_BYTES)
        self.object_etag = object_etag


class ObjectCalls:
    def __init__(self, store: LakeStore, storage: FileStorage, uploads: Uploads, locks: Locks) -> None:
        self._store = store
        self._storage = storage
        self._uploads = uploads
        self._locks = locks

    async def put_part(self, request: web.Request) -> web.Response:
        """Receive a part. As in S3, the signature is the only authentication."""
        self._check_signature(request)
        file_id, number = request.match_info["file_id"], int(request.match_info["number"])
        if not self._uploads.takes_parts(file_id):
            raise not_found("The upload is finalized and accepts no more parts")
        blobs = self._storage.blobs
        part = await blobs.receive(_chunks(request))
        try:
            async with self._locks.of(file_id):
                if not self._uploads.takes_parts(file_id):
                    raise not_found("The upload is finalized and accepts no more parts")
                self._storage.part_received(file_id, number, part)
        finally:
            blobs.discard(part)
        return web.Response(headers={"ETag": f'"{part.etag}"'})

    async def get_object(self, request: web.Request) -> web.StreamResponse:
        """Serve an object, completely or a range of it."""
        self._check_signature(request)
        blob = request.match_info["blob"]
        path = self._storage.blobs.path(blob)
        if not path.exists():
            raise not_found("No such object")
        return _StoredObject(path, self._storage.etag(blob))

    @staticmethod
    async def set_etag(_: web.Request, response: web.StreamResponse) -> None:
        """Replace the ETag of aiohttp by that of the object, when a response's headers are ready."""
        if isinstance(response, _StoredObject) and response.object_etag and response.status in (200, 206):
            response.headers["ETag"] = f'"{response.object_etag}"'

    def _check_signature(self, request: web.Request) -> None:
        fault = self._store.signer.fault(request.method, request.path, request.query)
        if fault is not None:
            raise forbidden(fault)


async def _chunks(request: web.Request) -> AsyncGenerator[bytes, None]:
    async for chunk in request.content.iter_any():
        yield chunk
