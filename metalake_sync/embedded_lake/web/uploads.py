"""Handlers of the calls about uploads and jobs."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable
from dataclasses import replace

from aiohttp import web

from metalake_sync.embedded_lake.jobs import Jobs
from metalake_sync.embedded_lake.rejections import NoContent
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
