"""Runs an asyncio server: in a thread of this process, or in the foreground until a signal.

Owns: the event loop, the thread, start and stop. Must not: know what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from metalake_sync.errors import UsageError


class ServerThread(ABC):
    """A server in a thread, as a context manager. Starting it raises what `serving` raises."""

    def __init__(self, name: str) -> None:
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def serving(self) -> contextlib.AbstractAsyncContextManager[str]:
        """Serve during the block, and yield the address."""

    @abstractmethod
    def listening(self, address: str) -> None:
        """Receive the address before the caller continues."""

    def __enter__(self) -> Self:
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
            async with self.serving() as address:
                self.listening(address)
                self._ready.set()
                await self._stop.wait()

        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that uses the server
            self._failure = error
        finally:
            self._ready.set()


def serve_until_signal(
    serving: Callable[[], contextlib.AbstractAsyncContextManager[str]], announce: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM. `announce`: receives the address."""

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with serving() as address:
            announce(address)
            await stop.wait()

    asyncio.run(serve())


def cannot_listen(host: str, port: int, error: OSError | OverflowError, flags: str) -> UsageError:
    """Return the error for an address that is in use or does not exist. `flags`: the options that change it."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return UsageError(
        f"cannot listen on {host}:{port} ({reason})",
        remedy=f"Use another {flags}. Port 0 selects a free port.",
    )
