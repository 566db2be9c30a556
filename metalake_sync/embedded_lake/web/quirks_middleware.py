"""The middleware that applies the quirks of a lake to its answers, after everything else has been done.

Must not: know what a quirk changes (`quirk_changes`).
"""

from __future__ import annotations

import json
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.request_log import STORE_ROUTES, RequestKind
from metalake_sync.embedded_lake.web.quirk_changes import CHANGES, NO_BODY, Html


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
