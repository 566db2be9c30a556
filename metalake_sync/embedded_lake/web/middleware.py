"""What happens to every request besides its handler: access control, injected faults, and quirks of the answer.

Owns: counting requests, checking credentials, finishing due jobs, answering rejections, and how each kind of fault
appears on the wire. Must not: put a query, a header or a body into the log, choose faults (`embedded_lake.faults`), or
know what a quirk changes (`quirk_changes`).
"""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import hmac
import json
import logging
import socket
import sqlite3
import struct
from collections.abc import Awaitable, Callable
from typing import assert_never

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from metalake_sync.embedded_lake import LakeSettings
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
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import NoContent, Rejection, bad_request, disk_full
from metalake_sync.embedded_lake.request_log import STORE_ROUTES, RequestKind, RequestLog
from metalake_sync.embedded_lake.web.quirk_changes import CHANGES, NO_BODY, Html
from metalake_sync.protocol.routes import BASE_PATHS, Generation

Authorize = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

NGINX_NOT_FOUND = "<html>\n<head><title>404 Not Found</title></head>\n<body>not a path of this lake</body>\n</html>\n"
"""The answer of a gateway in front of a lake for every path that it does not route."""

logger = logging.getLogger(__name__)


def make_access_middleware(
    settings: LakeSettings, log: RequestLog, kind_of: Callable[[web.Request], RequestKind], settle: Callable[[], None]
) -> Middleware:
    """Return the middleware that logs a request, checks its credentials and answers its rejection.

    `kind_of`: what to count a request as. `settle`: called before any call is answered.
    """
    expected = b"Basic " + base64.b64encode(f"{settings.api_key}:{settings.secret}".encode())

    served = {f"{BASE_PATHS[generation] or '/api'}/": generation in settings.generations for generation in Generation}

    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        is_served = next((known for prefix, known in served.items() if request.path.startswith(prefix)), None)
        if is_served is False and resource is None:
            return web.Response(status=404, text=NGINX_NOT_FOUND, content_type="text/html")
        if is_served is not None:
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, expected):
                raise Rejection(401, "UnauthorizedError", "Authentication failed")
            settle()
        # Any other path is that of an object or a part, whose signature is checked there, or it does not exist.
        return await handler(request)

    @web.middleware
    async def access_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await _answered(authorize, request, handler)
        log.note(kind_of(request), response.status, getattr(request.content, "total_bytes", 0))
        return response

    return access_middleware


async def _answered(authorize: Authorize, request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return the answer, or the rejection in the form of the protocol."""
    try:
        return await authorize(request, handler)
    except NoContent:
        return web.Response(status=204)
    except Rejection as rejection:
        return _answer(rejection)
    except web.HTTPException as error:
        return _answer(Rejection(error.status, error.reason.replace(" ", ""), error.reason))
    except UnicodeEncodeError:
        return _answer(bad_request("A text is not valid Unicode"))
    except (web.RequestPayloadError, ConnectionError):
        return _answer(bad_request("The body ended early"))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _unexpected(request)
        return _answer(disk_full())
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_FULL:
            return _unexpected(request)
        return _answer(disk_full())
    except Exception:  # noqa: BLE001  # logged in full; an error in one handler must not stop the server
        return _unexpected(request)


def _answer(rejection: Rejection) -> web.Response:
    headers = {"WWW-Authenticate": "Basic"} if rejection.status == 401 else None
    return web.json_response(rejection.body, status=rejection.status, headers=headers)


def _unexpected(request: web.Request) -> web.Response:
    """Log the present exception. The query is not logged, because it may contain a signature."""
    logger.exception("%s %s failed", request.method, request.path)
    return _answer(Rejection(500, "InternalServerError", "The lake failed; see its log"))


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


def make_quirks_middleware(
    quirks: frozenset[Quirk], kind_of: Callable[[web.Request], RequestKind]
) -> Middleware | None:
    """Return the middleware, or None if no quirk concerns answers. It must be the outermost middleware."""
    changes = [change for quirk, change in CHANGES.items() if quirk in quirks]
    if not changes:
        return None

    @web.middleware
    async def quirks_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        kind = kind_of(request)
        if kind.route in STORE_ROUTES or response.prepared or not isinstance(response, web.Response):
            return response
        body = response.body if isinstance(response.body, bytes) else b""
        if body and response.content_type != "application/json":
            return response
        status, document = response.status, json.loads(body) if body else NO_BODY
        for change in changes:
            status, document = change(request, kind, status, document)
        headers = {name: value for name, value in response.headers.items() if name == "WWW-Authenticate"}
        if document is NO_BODY:
            return web.Response(status=status, headers=headers)
        if isinstance(document, Html):
            return web.Response(status=status, text=document, content_type="text/html", headers=headers)
        content = json.dumps(document).encode()
        return web.Response(status=status, body=content, content_type="application/json", headers=headers)

    return quirks_middleware
