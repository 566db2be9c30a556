"""The server of the pages: it listens, until it is stopped.

Owns: the socket, the event loop and the end of a workspace. Must not: know a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from metalake_sync.server_thread import ServerThread, cannot_listen, serve_until_signal
from metalake_sync.web.access import Access, RemoteAccess, add_headers, check_loopback
from metalake_sync.web.pages import Pages
from metalake_sync.web.workspace import Workspace

REQUEST_BYTES = 65_536
"""A form has a few bytes."""

HEAD_LINE_BYTES = 16_384
SHUTDOWN_S = 2.0

# aiohttp logs requests that are not HTTP, with their bytes. Only their sender could use that.
_http_log = logging.getLogger("metalake_sync.web.http")
_http_log.addHandler(logging.NullHandler())
_http_log.propagate = False


@contextlib.asynccontextmanager
async def running(
    workspace: Workspace, host: str, port: int, option: str = "--port", remote: RemoteAccess | None = None
) -> AsyncIterator[str]:
    """Serve during the block, and yield the first address, with its token. Raises UsageError for an unusable address.
    `option`: the option of the command line that sets the port. `remote`: None for this machine only.

    Closes the workspace at the end: a run is cancelled, and what it finished is recorded.
    """
    if remote is None:
        check_loopback(host)
    listening = _listen(host, port, option)
    access = Access(host, listening.getsockname()[1], remote)
    pages = Pages(workspace, access)
    app = web.Application(middlewares=[pages.guard], client_max_size=REQUEST_BYTES, logger=_http_log)
    app.on_response_prepare.append(add_headers)
    app.add_routes(pages.routes())
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_http_log,
        handle_signals=False,
        shutdown_timeout=SHUTDOWN_S,
        max_line_size=HEAD_LINE_BYTES,
    )
    workspace.changes.attach(asyncio.get_running_loop())
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield f"http://{access.authority}/?token={access.token}"
    finally:
        workspace.changes.close()
        await asyncio.to_thread(workspace.close)
        await runner.cleanup()


def _listen(host: str, port: int, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise cannot_listen(host, port, error, option) from None


def serve_until_stopped(
    workspace: Workspace,
    host: str,
    port: int,
    announce: Callable[[str], None],
    remote: RemoteAccess | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. `announce`: receives the first address. `remote`: None for this machine only."""

    serve_until_signal(lambda: running(workspace, host, port, remote=remote), announce)


class UiServer(ServerThread):
    """The server in a thread, as a context manager. `address`: the first address, with its token."""

    def __init__(
        self,
        workspace: Workspace,
        host: str = "127.0.0.1",
        port: int = 0,
        option: str = "--port",
        remote: RemoteAccess | None = None,
    ) -> None:
        super().__init__("ui")
        self.workspace = workspace
        self.address = ""
        self._where = host, port, option, remote

    def serving(self) -> contextlib.AbstractAsyncContextManager[str]:
        return running(self.workspace, *self._where)

    def listening(self, address: str) -> None:
        self.address = address
