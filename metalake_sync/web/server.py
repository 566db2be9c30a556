"""The server of the pages: it listens, until it is stopped.

Owns: the socket, the event loop and the end of a workspace. Must not: know a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from aiohttp import web

from metalake_sync.errors import UsageError
from metalake_sync.web.access import Access, add_headers, check_loopback
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
async def running(workspace: Workspace, host: str, port: int) -> AsyncIterator[str]:
    """Serve during the block, and yield the first address, with its token. Raises UsageError for an unusable address.

    Closes the workspace at the end: a run is cancelled, and what it finished is recorded.
    """
    check_loopback(host)
    listening = _listen(host, port)
    access = Access(host, listening.getsockname()[1])
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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(
            f"cannot listen on {host}:{port} ({reason})",
            remedy="Use another --port. Port 0 selects a free port.",
        ) from None


def serve_until_stopped(workspace: Workspace, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. `announce`: receives the first address."""

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with running(workspace, host, port) as address:
            announce(address)
            await stop.wait()

    asyncio.run(serve())


class UiServer:
    """The server in a thread, as a context manager. `address`: the first address, with its token."""

    def __init__(self, workspace: Workspace, host: str = "127.0.0.1", port: int = 0) -> None:
        self.workspace = workspace
        self.address = ""
        self._where = host, port
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="ui", daemon=True)

    def __enter__(self) -> UiServer:
        """Raises what `running` raises."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            async with running(self.workspace, *self._where) as self.address:
                self._ready.set()
                await self._stop.wait()

        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that uses the server
            self._failure = error
        finally:
            self._ready.set()
