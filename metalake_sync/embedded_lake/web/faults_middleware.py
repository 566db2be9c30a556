"""The middleware that injects the faults of a fault plan into requests, over a real connection.

Owns: how each kind of fault appears on the wire. Must not: choose faults (`embedded_lake.faults`).
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from collections.abc import Callable
from typing import assert_never

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from metalake_sync.embedded_lake.faults import (
    Cut,
    DoesNothing,
    Down,
    ExpiredUrl,
    Fault,
    Faults,
    JobFails,
    JobNeverEnds,
    Latency,
    NoJson,
    Rate,
    Reset,
    Stall,
    Status,
    WrongEtag,
)
from metalake_sync.embedded_lake.jobs import Jobs
from metalake_sync.embedded_lake.rejections import Rejection
from metalake_sync.embedded_lake.request_log import RequestKind

_NO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: closing the socket sends a reset."""

_HTML = b"<html><body><h1>Welcome to the hotel network</h1></body></html>"


def make_faults_middleware(
    faults: Faults, kind_of: Callable[[web.Request], RequestKind], jobs: Jobs, read_object: Callable[[str], bytes]
) -> Middleware:
    """Return the middleware. `read_object` returns an object's bytes, of which a cut answer sends the first half."""

    @web.middleware
    async def faults_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = faults.pick(kind_of(request))
        return await handler(request) if fault is None else await inject(fault, request, handler)

    async def inject(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
        match fault:
            case Latency():
                await asyncio.sleep(fault.seconds)
                return await handler(request)
            case Status():
                await _receive(request, handler, fault.carried_out)
                return _error(fault)
            case Rate():
                await request.read()
                return _error(Status(kind="status", status=429, retry_after=fault.retry_after))
            case Reset():
                await _receive(request, handler, fault.when == "after")
                return _reset(request)
            case Down():
                return _reset(request)
            case Cut():
                return await half(request, await handler(request), 0)
            case Stall():
                return await half(request, await handler(request), fault.seconds)
            case NoJson():
                await handler(request)
                return web.Response(body=_HTML, content_type="text/html")
            case WrongEtag():
                await request.read()
                return web.Response(headers={"ETag": f'"{hashlib.md5(b"spoiled", usedforsecurity=False).hexdigest()}"'})
            case ExpiredUrl():
                await request.read()
                raise Rejection(403, "AccessDenied", "The signature has expired")
            case JobFails():
                jobs.let_fail(request.match_info["upload_id"])
                return await handler(request)
            case JobNeverEnds():
                jobs.delay(request.match_info["upload_id"], fault.seconds)
                return await handler(request)
            case DoesNothing():
                return await _pretend(request)
            case _:
                assert_never(fault)

    async def half(request: web.Request, answer: web.StreamResponse, stall_s: float) -> web.StreamResponse:
        """Send the first half of an answer, and close the connection after `stall_s` seconds."""
        if isinstance(answer, web.FileResponse):
            body = read_object(request.match_info["blob"])
        else:
            assert isinstance(answer, web.Response)
            body = answer.body if isinstance(answer.body, bytes) else b""
        cut = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
        if "ETag" in answer.headers:
            cut.headers["ETag"] = answer.headers["ETag"]
        # An answer without a body announces one that is not sent.
        cut.content_length = len(body) or 100
        await cut.prepare(request)
        await cut.write(body[: len(body) // 2])
        await asyncio.sleep(stall_s)
        if request.transport is not None:
            request.transport.close()
        return cut

    return faults_middleware


async def _receive(request: web.Request, handler: Handler, carried_out: bool) -> None:
    """Receive a whole request, and carry it out if `carried_out`."""
    if carried_out:
        await handler(request)
    else:
        await request.read()


def _error(fault: Status) -> web.Response:
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    rejection = Rejection(fault.status, "InjectedFault", f"The fault plan injects {fault.status}")
    return web.json_response(rejection.body, status=fault.status, headers=headers)


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        connection: socket.socket | None = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        request.transport.abort()
    return web.Response(status=500)


async def _pretend(request: web.Request) -> web.Response:
    body = await request.read()
    if request.method == "PUT":
        return web.Response(headers={"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'})
    return web.json_response({"isSuccess": True})
