"""Bodies on their way through libcurl's callbacks: whole ones, and those that come or go piece by piece.

Owns: that whoever is slower is waited for. A callback never raises, and never begins or ends a transfer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pycurl

from metalake_sync.remote.http import limits

HELD_BYTES = 1 << 20
"""So much of an answer may wait for whoever reads it; then the sender waits."""


class WholeAnswer:
    """An answer that is read whole, within reason."""

    __slots__ = ("body", "lines", "most_bytes", "too_large")

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.lines: list[bytes] = []
        self.body = bytearray()
        self.too_large = False

    def take(self, data: bytes) -> int | None:
        if len(self.body) + len(data) > self.most_bytes:
            self.too_large = True
            return 0
        self.body += data
        return None


class OutgoingBody:
    """A body on its way out, one piece at a time."""

    def __init__(self, curl: Any, size: int) -> None:
        self._curl = curl
        self._left = size
        self._piece = memoryview(b"")
        self._ended = False
        self._starving = False
        self._wanted: asyncio.Future[None] | None = None

    def give(self, size: int) -> bytes | int:
        """libcurl wants so much."""
        if self._piece:
            given = bytes(self._piece[:size])
            self._piece = self._piece[size:]
            self._left -= len(given)
            if not self._left:
                # It asks for nothing after the last byte, and whoever makes the pieces is to hear of that.
                self._wake()
            return given
        if self._ended:
            return b""
        self._starving = True
        self._wake()
        paused: int = pycurl.READFUNC_PAUSE
        return paused

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    async def feed(self, body: AsyncIterator[bytes], done: asyncio.Future[None]) -> None:
        """Hand over the pieces while the transfer is not `done`; returns no earlier than that."""
        loop = asyncio.get_running_loop()
        async for piece in body:
            if done.done():
                return
            self._piece = memoryview(piece)
            while self._is_taking():
                self._wanted = loop.create_future()
                self._go_on()
                if self._is_taking():
                    await self._wanted
        self._ended = True
        if not done.done():
            self._go_on()
            await asyncio.wait([done])

    def _is_taking(self) -> bool:
        """Whether libcurl is busy with the piece, and will ask for the next one."""
        return bool(self._piece or (self._left and not self._starving))

    def _go_on(self) -> None:
        if self._starving:
            self._starving = False
            self._curl.pause(pycurl.PAUSE_CONT)


class IncomingBody:
    """A body on its way in. The sender waits while much of it is held here."""

    def __init__(self, curl: Any) -> None:
        self._curl = curl
        self.lines: list[bytes] = []
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._paused = False
        self._news: asyncio.Future[None] | None = None

    def take(self, data: bytes) -> int | None:
        if self._held_bytes >= HELD_BYTES:
            self._paused = True
            paused: int = pycurl.WRITEFUNC_PAUSE
            return paused
        self._held.append(data)
        self._held_bytes += len(data)
        self._tell()
        return None

    def ends_with(self, done: asyncio.Future[None]) -> None:
        self._done = done
        done.add_done_callback(lambda _: self._tell())

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _wait(self, within_s: float) -> None:
        self._news = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within_s):
                await self._news
        finally:
            self._news = None

    async def head(self) -> None:
        """Wait for the answer's head. Only its first byte, or its end, tells that another one does not follow."""
        while not self._held:
            if self._done.done():
                self._done.result()
                break
            await self._wait(limits.CONNECT_TIMEOUT_S + limits.STALL_S)

    async def chunks(self, most_bytes: int) -> AsyncGenerator[bytes, None]:
        while True:
            while self._held:
                held = self._held[0] if len(self._held) == 1 else b"".join(self._held)
                self._held, self._held_bytes = [], 0
                for start in range(0, len(held), most_bytes):
                    yield held[start : start + most_bytes]
                if self._paused and not self._done.done():
                    self._paused = False
                    self._curl.pause(pycurl.PAUSE_CONT)
            if self._done.done():
                self._done.result()
                return
            await self._wait(limits.STALL_S)
