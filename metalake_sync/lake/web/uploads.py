"""Calls about uploads and jobs, and the store that takes parts and gives objects."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterable

from aiohttp import web

from metalake_sync.lake.jobs import Jobs
from metalake_sync.lake.refusals import NothingThere, forbidden, not_found
from metalake_sync.lake.store import LakeStore
from metalake_sync.lake.uploads import Uploads
from metalake_sync.lake.web.messages import Call, answer, answer_message, base_url, is_true, read_message
from metalake_sync.protocol import routes
from metalake_sync.protocol.system import JobReport, JobStatusAnswer, SimpleAnswer
from metalake_sync.protocol.uploads import (
    BeginFile,
    CompleteUploadAnswer,
    FinalizeFile,
    OpenUpload,
    SignedPart,
    SignParts,
    SignPartsAnswer,
)

_READ_BYTES = 1 << 20


class UploadCalls:
    def __init__(self, store: LakeStore, uploads: Uploads, jobs: Jobs) -> None:
        self._store = store
        self._uploads = uploads
        self._jobs = jobs
        # While a file is assembled in a thread, its parts stand still.
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

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
        return answer_message(self._uploads.open(await read_message(request, OpenUpload)))

    async def begin(self, request: web.Request) -> web.Response:
        return answer_message(self._uploads.begin(await read_message(request, BeginFile)))

    async def sign(self, request: web.Request) -> web.Response:
        message = await read_message(request, SignParts)
        self._uploads.check_begun(message)
        sign, base = self._store.signer.part_url, base_url(request)
        parts = [
            SignedPart(PartNumber=number, signed_url=sign(base, message.file_id, number))
            for number in range(1, message.parts + 1)
        ]
        return answer_message(SignPartsAnswer(file_key=message.file_key, parts=parts))

    async def put_part(self, request: web.Request) -> web.Response:
        """A part comes in. It is opened by its signature alone, as with S3."""
        self._check_signature(request)
        file_id, number = request.match_info["file_id"], int(request.match_info["number"])
        if not self._uploads.takes_parts(file_id):
            raise not_found("The upload is finalized and takes no more parts")
        blobs = self._store.blobs
        part = await blobs.receive(_chunks(request))
        try:
            async with self._lock(file_id):
                if not self._uploads.takes_parts(file_id):
                    raise not_found("The upload is finalized and takes no more parts")
                self._uploads.part_received(file_id, number, part)
        finally:
            blobs.discard(part)
        return web.Response(headers={"ETag": f'"{part.etag}"'})

    async def get_object(self, request: web.Request) -> web.StreamResponse:
        """An object goes out, whole or in ranges."""
        self._check_signature(request)
        path = self._store.blobs.path(request.match_info["blob"])
        if not path.exists():
            raise not_found("No such object")
        return web.FileResponse(path, chunk_size=_READ_BYTES)

    async def finalize(self, request: web.Request) -> web.Response:
        message = await read_message(request, FinalizeFile)
        async with self._lock(message.file_id):
            parts = self._uploads.check_parts(message)
            if parts is not None:
                assemble, blob = self._store.blobs.assemble, message.file_id
                if len(parts) == 1:
                    size_bytes = assemble(parts, blob)
                else:
                    size_bytes = await asyncio.to_thread(assemble, parts, blob)
                self._uploads.finalized(message.file_id, size_bytes)
        return answer_message(SimpleAnswer())

    async def complete(self, request: web.Request) -> web.Response:
        upload_id = request.match_info["upload_id"]
        await asyncio.to_thread(self._store.blobs.flush, self._jobs.finalized_blobs(upload_id))
        names = self._jobs.complete(upload_id)
        asked = is_true(request, "isReturnedUniqueName")
        return answer_message(CompleteUploadAnswer(uploaded_file_list=names if asked else []))

    async def progress(self, request: web.Request) -> web.Response:
        progress = self._jobs.upload_progress(request.query.get("collectionName", ""))
        if progress is None:
            raise NothingThere
        return answer({"isSuccess": True, "progress": progress})

    async def job_status(self, request: web.Request) -> web.Response:
        job_id = request.match_info["job_id"]
        status, progress = self._jobs.status(job_id)
        return answer_message(JobStatusAnswer(job_id=job_id, status=status, progress=progress))

    async def update_job(self, request: web.Request) -> web.Response:
        """A client tells of its own long work: kept, and looked at by nobody yet."""
        report = await read_message(request, JobReport)
        row = {"session_id": report.session_id, "report": report.model_dump_json(by_alias=True)}
        self._store.tables.table("client_jobs").insert(row, replace=True)
        return answer({"isSuccess": True})

    def _check_signature(self, request: web.Request) -> None:
        fault = self._store.signer.fault(request.method, request.path, request.query)
        if fault is not None:
            raise forbidden(fault)

    def _lock(self, file_id: str) -> asyncio.Lock:
        lock = self._locks.get(file_id)
        if lock is None:
            lock = self._locks[file_id] = asyncio.Lock()
        return lock


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        yield chunk
