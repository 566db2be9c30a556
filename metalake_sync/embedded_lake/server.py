"""Runs a lake: in a thread of the client's process, or in the foreground as a server.

Owns: the event loop, the address, start and stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from metalake_sync.embedded_lake import LakeSettings
from metalake_sync.embedded_lake.faults import Faults
from metalake_sync.embedded_lake.request_log import RequestLog
from metalake_sync.embedded_lake.store import LakeStore
from metalake_sync.embedded_lake.web.app import make_app
from metalake_sync.errors import StateError, UsageError
from metalake_sync.server_thread import ServerThread, cannot_listen, serve_until_signal

SHUTDOWN_S = 2.0
"""Seconds for requests in progress to finish when the server stops."""

IDLE_S = 75.0
"""A connection without a request is closed after this many seconds."""

LINES_PER_MINUTE = 100
"""The maximum number of log lines about bad requests."""

READ_BUFFER_BYTES = 512 << 10

http_log = logging.getLogger("metalake_sync.embedded_lake.http")


def _without_request_bytes(record: logging.LogRecord) -> bool:
    """Log a request that is not HTTP in one line. aiohttp logs a traceback that quotes it, and it may contain a key."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        # The traceback's cause also quotes the request.
        record.msg += " (the request is not valid HTTP: %s)"
        record.args = (*(record.args or ()), type(record.exc_info[1]).__name__)
        record.exc_info = record.exc_text = None
    return True


class _Bounded(logging.Filter):
    """Drops lines above LINES_PER_MINUTE, and reports how many were dropped."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._began = float("-inf")
        self._lines = 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        if now - self._began >= 60.0:
            dropped = max(0, self._lines - LINES_PER_MINUTE)
            self._began, self._lines = now, 0
            if dropped:
                record.msg = f"{record.msg} ({dropped} lines were dropped before)"
        self._lines += 1
        return self._lines <= LINES_PER_MINUTE


http_log.addFilter(_without_request_bytes)
http_log.addFilter(_Bounded())


@contextlib.asynccontextmanager
async def running(settings: LakeSettings, log: RequestLog, faults: Faults) -> AsyncIterator[str]:
    """Serve during the block, and yield the lake's URL.

    Raises StateLocked, StateError, and UsageError for an unusable address or missing credentials.
    """
    if not settings.api_key or not settings.secret:
        raise UsageError("a lake needs an API key and a secret", remedy="Set both, or neither to generate them.")
    with contextlib.ExitStack() as stack:
        store = LakeStore(settings)
        stack.callback(store.close)
        _open_log(log)
        stack.callback(log.close)
        app = make_app(settings, store, log, faults)
        silent = _SilentConnections()
        app.middlewares.append(silent.note_request)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=http_log,
            shutdown_timeout=SHUTDOWN_S,
            handle_signals=False,
            keepalive_timeout=IDLE_S,
            read_bufsize=READ_BUFFER_BYTES,
        )
        await runner.setup()
        try:
            port = await _listen(runner, settings)
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            scheme = "https" if settings.tls else "http"
            assert runner.server is not None
            ending = asyncio.create_task(silent.end(runner.server))
            try:
                yield f"{scheme}://{host}:{port}"
            finally:
                ending.cancel()
        finally:
            await runner.cleanup()


class _SilentConnections:
    """Closes connections that never send a request. aiohttp's timeout starts with the first answer only."""

    def __init__(self) -> None:
        active = self._active = set[object]()

        @web.middleware
        async def note_request(request: web.Request, handler: Handler) -> web.StreamResponse:
            active.add(request.protocol)
            return await handler(request)

        self.note_request = note_request

    async def end(self, server: web.Server) -> None:
        since: dict[web.RequestHandler, float] = {}
        while True:
            await asyncio.sleep(IDLE_S / 4)
            now = asyncio.get_running_loop().time()
            present = set(server.connections)
            self._active.intersection_update(present)
            since = {one: since.get(one, now) for one in present - self._active}
            for one, began in since.items():
                if now - began >= IDLE_S:
                    one.force_close()


def serve_forever(settings: LakeSettings, announce: Callable[[str], None]) -> Faults:
    """Serve until SIGINT or SIGTERM. Returns the injected faults."""
    faults = Faults(settings.faults)
    serve_until_signal(
        lambda: running(settings, RequestLog(settings.request_log), faults), lambda url: announce(f"listening on {url}")
    )
    return faults


class EmbeddedLake(ServerThread):
    """A lake in a separate thread, as a context manager. `url`: its address. `requests`: counts of requests."""

    def __init__(self, settings: LakeSettings) -> None:
        super().__init__("embedded-lake")
        self._settings = settings
        self.requests = RequestLog(settings.request_log)
        self.faults = Faults(settings.faults)
        self.url = ""

    def serving(self) -> contextlib.AbstractAsyncContextManager[str]:
        return running(self._settings, self.requests, self.faults)

    def listening(self, address: str) -> None:
        self.url = address


async def _listen(runner: web.AppRunner, settings: LakeSettings) -> int:
    """Start to listen, and return the port."""
    site = web.TCPSite(runner, settings.host, settings.port, ssl_context=settings.tls)
    try:
        await site.start()
    except (OSError, OverflowError) as error:
        raise cannot_listen(settings.host, settings.port, error, "--host or --port") from None
    port: int = runner.addresses[0][1]
    return port


def _open_log(log: RequestLog) -> None:
    try:
        log.open()
    except OSError as error:
        raise StateError(
            f"the request log cannot be written ({error.strerror or error})",
            where=str(log.path),
            remedy="Use a file in an existing, writable folder.",
        ) from error
