"""The middleware of every request: counts it, checks credentials, finishes due jobs, and answers rejections.

Must not: put a query, a header or a body into the log.
"""

from __future__ import annotations

import base64
import errno
import hmac
import logging
import sqlite3
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from metalake_sync.embedded_lake.rejections import NoContent, Rejection, bad_request, disk_full
from metalake_sync.embedded_lake.request_log import RequestKind, RequestLog
from metalake_sync.embedded_lake.settings import LakeSettings
from metalake_sync.protocol.routes import BASE_PATHS, Generation

Authorize = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

NGINX_NOT_FOUND = "<html>\n<head><title>404 Not Found</title></head>\n<body>not a path of this lake</body>\n</html>\n"
"""The answer of a gateway in front of a lake for every path that it does not route."""

logger = logging.getLogger(__name__)


def make_access_middleware(
    settings: LakeSettings, log: RequestLog, kind_of: Callable[[web.Request], RequestKind], settle: Callable[[], None]
) -> Middleware:
    """`asked_for`: what to count a request as. `settle`: what is to be done before any call is answered."""
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
