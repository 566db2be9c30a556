"""The part of Cloud Storage that the embedded lake and its clients use, for files of any size.

Run: python small_gcs.py PORT FOLDER. Objects and sessions are files. Each part is appended to its session when it
arrives, so neither memory nor work grows with the received bytes. Emulators keep all bytes in memory, or copy them for
each part. Source: Cloud Storage, "Resumable uploads" and "JSON API reference".

Limits: each session has one writer. Signatures are not checked. There are no generations, no metadata of objects and no
pages of lists. As with Google, a part other than the last one is truncated to a multiple of 256 KiB.
"""

from __future__ import annotations

import asyncio
import re
import sys
import uuid
from pathlib import Path
from urllib.parse import quote, unquote

from aiohttp import web

QUANTUM_BYTES = 256 << 10
_CONTENT_RANGE = re.compile(r"bytes (?:(\*)|(\d+)-(\d+))/(?:(\*)|(\d+))")


class SmallStore:
    """`folder`: contains a folder per bucket. An object's file name is its key, percent-encoded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sessions: dict[str, Path] = {}

    def app(self) -> web.Application:
        app = web.Application(client_max_size=0)
        app.add_routes(
            [
                web.post("/storage/v1/b", self.make_bucket),
                web.get("/storage/v1/b/{bucket}", self.bucket),
                web.get("/storage/v1/b/{bucket}/o", self.list),
                web.get("/storage/v1/b/{bucket}/o/{key}", self.about),
                web.get("/download/storage/v1/b/{bucket}/o/{key}", self.read),
                web.delete("/storage/v1/b/{bucket}/o/{key}", self.delete),
                web.post("/upload/storage/v1/b/{bucket}/o", self.begin),
                web.put("/session/{session}", self.receive),
                web.get("/{bucket}/{key:.+}", self.read),
            ]
        )
        return app

    async def make_bucket(self, request: web.Request) -> web.Response:
        name = (await request.json())["name"]
        (self._folder / name).mkdir(parents=True)
        return web.json_response({"kind": "storage#bucket", "name": name})

    async def bucket(self, request: web.Request) -> web.Response:
        name = request.match_info["bucket"]
        if not (self._folder / name).is_dir():
            raise web.HTTPNotFound
        return web.json_response({"kind": "storage#bucket", "name": name})

    async def list(self, request: web.Request) -> web.Response:
        prefix = quote(request.query.get("prefix", ""), safe="")
        names = sorted((self._folder / request.match_info["bucket"]).glob(f"{prefix}*"))
        return web.json_response({"kind": "storage#objects", "items": [_about(path) for path in names]})

    async def about(self, request: web.Request) -> web.StreamResponse:
        return await self.read(request) if "alt" in request.query else web.json_response(_about(self._object(request)))

    async def read(self, request: web.Request) -> web.StreamResponse:
        path = self._object(request)
        return web.FileResponse(path, headers={"ETag": f'"{path.stat().st_ino:032x}"'})

    async def delete(self, request: web.Request) -> web.Response:
        self._object(request).unlink()
        return web.Response(status=204)

    async def begin(self, request: web.Request) -> web.Response:
        """Open a session. The object exists after its last byte was received."""
        key = request.query.get("name") or (await request.json())["name"]
        session = uuid.uuid4().hex
        self._sessions[session] = self._folder / request.match_info["bucket"] / quote(key, safe="")
        (self._folder / f".{session}").touch()
        return web.Response(headers={"Location": f"{request.url.origin()}/session/{session}"})

    async def receive(self, request: web.Request) -> web.Response:
        """Receive a part, or answer how many bytes the session has."""
        target = self._sessions.get(request.match_info["session"])
        if target is None:
            raise web.HTTPNotFound
        so_far = self._folder / f".{request.match_info['session']}"
        if not so_far.exists():
            return web.json_response(_about(target))
        said = _CONTENT_RANGE.fullmatch(request.headers.get("Content-Range", "bytes 0-/*"))
        here = so_far.stat().st_size
        if said is None:
            raise web.HTTPBadRequest
        total = None if said[5] is None else int(said[5])
        if said[1] is None:
            if int(said[2]) != here:
                return _incomplete(here)
            with so_far.open("ab") as file:
                async for chunk in request.content.iter_chunked(1 << 20):
                    await asyncio.to_thread(file.write, chunk)
            here = so_far.stat().st_size
        if total is None or here < total:
            kept = here - here % QUANTUM_BYTES
            with so_far.open("r+b") as file:
                file.truncate(kept)
            return _incomplete(kept)
        so_far.rename(target)
        return web.json_response(_about(target))

    def _object(self, request: web.Request) -> Path:
        path = self._folder / request.match_info["bucket"] / quote(request.match_info["key"], safe="")
        if not path.is_file():
            raise web.HTTPNotFound
        return path


def _incomplete(here: int) -> web.Response:
    return web.Response(status=308, headers={"Range": f"bytes=0-{here - 1}"} if here else {})


def _about(path: Path) -> dict[str, str]:
    return {"kind": "storage#object", "name": unquote(path.name), "size": str(path.stat().st_size)}


if __name__ == "__main__":
    port, folder = sys.argv[1:]
    web.run_app(SmallStore(Path(folder)).app(), host="127.0.0.1", port=int(port), print=None)
