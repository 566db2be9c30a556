"""The object store of a lake that keeps objects in files: receives parts and serves objects, as S3 does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from metalake_sync.embedded_lake.rejections import forbidden, not_found
from metalake_sync.embedded_lake.storage.files import FileStorage
from metalake_sync.embedded_lake.store import LakeStore
from metalake_sync.embedded_lake.uploads import Uploads
from metalake_sync.embedded_lake.web.uploads import Locks

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


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        yield chunk
