"""Running a lake: in a thread beside a client, or in the foreground as a server of its own.

Owns: the event loop, the address, start and stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from metalake_sync.embedded_lake.faults import Faults
from metalake_sync.embedded_lake.request_log import RequestLog
from metalake_sync.embedded_lake.settings import LakeSettings
from metalake_sync.embedded_lake.store import LakeStore
from metalake_sync.embedded_lake.web.app import make_app
from metalake_sync.errors import StateError, UsageError

SHUTDOWN_S = 2.0
"""How long requests that are under way may take when the server is stopped."""

IDLE_S = 75.0
"""A connection without a request is closed after this time, whether it had requests before or none."""

LINES_PER_MINUTE = 100
"""The most lines about bad requests in the log."""

READ_BUFFER_BYTES = 512 << 10

http_log = logging.getLogger("metalake_sync.embedded_lake.http")


def _without_what_was_sent(record: logging.LogRecord) -> bool:
    """What is no HTTP is told in a line. aiohttp tells it with a traceback that quotes it, and it may hold a key."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        # Its cause would be printed too, and quotes as well.
        record.msg += " (it is no HTTP that is taken here: %s)"
        record.args = (*(record.args or ()), type(record.exc_info[1]).__name__)
        record.exc_info = record.exc_text = None
    return True


class _Bounded(logging.Filter):
    """Drops what exceeds so many lines in a minute, and says how many that were."""

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
                record.msg = f"{record.msg} ({dropped} lines were left out before)"
        self._lines += 1
        return self._lines <= LINES_PER_MINUTE


http_log.addFilter(_without_what_was_sent)
http_log.addFilter(_Bounded())


@contextlib.asynccontextmanager
async def running(settings: LakeSettings, log: RequestLog, faults: Faults) -> AsyncIterator[str]:
    """Serve while the block lasts; gives the lake's URL.

    Raises StateLocked, StateError, and UsageError for an address or credentials that can't be used.
    """
    if not settings.api_key or not settings.secret:
        raise UsageError("a lake needs an API key and a secret", remedy="Give both, or let them be generated.")
    with contextlib.ExitStack() as stack:
        store = LakeStore(settings)
        stack.callback(store.close)
        _open_log(log)
        stack.callback(log.close)
        app = make_app(settings, store, log, faults)
        silent = _Silent()
        app.middlewares.append(silent.hears)
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


class _Silent:
    """Ends connections that never send a request: aiohttp's time for kept ones begins with the first answer."""

    def __init__(self) -> None:
        spoken = self._spoken = set[object]()

        @web.middleware
        async def hears(request: web.Request, handler: Handler) -> web.StreamResponse:
            spoken.add(request.protocol)
            return await handler(request)

        self.hears = hears

    async def end(self, server: web.Server) -> None:
        since: dict[web.RequestHandler, float] = {}
        while True:
            await asyncio.sleep(IDLE_S / 4)
            now = asyncio.get_running_loop().time()
            here = set(server.connections)
            self._spoken.intersection_update(here)
            since = {one: since.get(one, now) for one in here - self._spoken}
            for one, began in since.items():
                if now - began >= IDLE_S:
                    one.force_close()


def serve_forever(settings: LakeSettings, announce: Callable[[str], None]) -> Faults:
    """Serve until SIGINT or SIGTERM. Returns what was spoiled."""
    faults = Faults(settings.faults)

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with running(settings, RequestLog(settings.request_log), faults) as url:
            announce(f"listening on {url}")
            await stop.wait()

    asyncio.run(serve())
    return faults


class EmbeddedLake:
    """A lake in a thread of its own, while used as a context manager. `url` is its address, `requests` what it was
    asked, `faults` what it spoils."""

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings
        self.requests = RequestLog(settings.request_log)
        self.faults = Faults(settings.faults)
        self.url = ""
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="embedded-lake", daemon=True)

    def __enter__(self) -> EmbeddedLake:
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
        if self._failure is not None and error is None:
            raise self._failure

    def _run(self) -> None:
        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            async with running(self._settings, self.requests, self.faults) as self.url:
                self._ready.set()
                await self._stop.wait()

        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001  # it is raised where the lake is used, in the other thread
            self._failure = error
        finally:
            self._ready.set()


async def _listen(runner: web.AppRunner, settings: LakeSettings) -> int:
    """Listen, and return the port."""
    site = web.TCPSite(runner, settings.host, settings.port, ssl_context=settings.tls)
    try:
        await site.start()
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(
            f"{settings.host}:{settings.port} can't be listened on ({reason})",
            remedy="Give another --host or --port; port 0 takes a free one.",
        ) from None
    port: int = runner.addresses[0][1]
    return port


def _open_log(log: RequestLog) -> None:
    try:
        log.open()
    except OSError as error:
        raise StateError(
            f"the request log can't be written ({error.strerror or error})",
            where=str(log.path),
            remedy="Give a file in a folder that exists and is writable.",
        ) from error
