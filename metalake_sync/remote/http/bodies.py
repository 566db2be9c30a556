"""Bodies in libcurl's callbacks: complete in memory, or sent and received piece by piece.

Owns: backpressure, so that the faster side waits for the slower one, and time limits that abort stalled transfers and
let slow ones finish. Only time spent waiting for the other side counts, not a bandwidth limit or a slow disk.
Callbacks never raise, and never start or end a transfer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Any

import pycurl

from metalake_sync.remote.http import limits

HELD_BYTES = 1 << 20
"""How much of a response is buffered until it is read. Beyond that, the sender has to wait."""


class WholeAnswer:
    """A response that is read into memory, up to `most_bytes`."""

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
    """A body that is sent one piece at a time."""

    def __init__(self, curl: Any, size: int) -> None:
        self._curl = curl
        self._left = size
        self._piece = memoryview(b"")
        self._ended = False
        self._starving = False
        self._wanted: asyncio.Future[None] | None = None

    def give(self, size: int) -> bytes | int:
        """libcurl's read callback: return up to `size` bytes."""
        if self._piece:
            given = bytes(self._piece[:size])
            self._piece = self._piece[size:]
            self._left -= len(given)
            if not self._left:
                # libcurl does not call again after the last byte, so `feed` has to be woken here.
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

    async def feed(self, body: AsyncGenerator[bytes, None], done: asyncio.Future[None]) -> None:
        """Pass on the pieces until the transfer is `done`. Does not return earlier."""
        loop = asyncio.get_running_loop()
        async with aclosing(body):
            async for piece in body:
                if done.done():
                    return
                self._piece = memoryview(piece)
                while self._is_taking():
                    self._wanted = loop.create_future()
                    self._resume()
                    if self._is_taking():
                        await self._wanted
        self._ended = True
        if not done.done():
            self._resume()
            await asyncio.wait([done])

    def _is_taking(self) -> bool:
        """Whether libcurl still sends the piece, or will ask for the next one."""
        return bool(self._piece or (self._left and not self._starving))

    def _resume(self) -> None:
        if self._starving:
            self._starving = False
            self._curl.pause(pycurl.PAUSE_CONT)


class IncomingBody:
    """A body that is received. The sender waits while HELD_BYTES of it are buffered."""

    def __init__(self, curl: Any) -> None:
        self._curl = curl
        self.lines: list[bytes] = []
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._paused = False
        self._arrival: asyncio.Future[None] | None = None

    def take(self, data: bytes) -> int | None:
        if self._held_bytes >= HELD_BYTES:
            self._paused = True
            paused: int = pycurl.WRITEFUNC_PAUSE
            return paused
        self._held.append(data)
        self._held_bytes += len(data)
        self._notify()
        return None

    def ends_with(self, done: asyncio.Future[None]) -> None:
        self._done = done
        done.add_done_callback(lambda _: self._notify())

    def _notify(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def _wait(self, within_s: float) -> None:
        self._arrival = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within_s):
                await self._arrival
        finally:
            self._arrival = None

    async def head(self) -> None:
        """Wait for the response's head. It is final when the first byte of the body arrives, or the body ends."""
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


class BodyWatch:
    """Ends its block with a TimeoutError if the request's body stalls, or no response follows.

    Call it with the request's body to get the body to send, in pieces with a time limit each.
    """

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(None)
        self._over = False

    async def __aenter__(self) -> BodyWatch:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        await self._timeout.__aexit__(kind, error, trace)

    async def __call__(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        size = 0
        async with aclosing(body):
            async for chunk in body:
                size += len(chunk)
                view = memoryview(chunk)
                for start in range(0, len(view), limits.PIECE_BYTES):
                    piece = view[start : start + limits.PIECE_BYTES]
                    self._expect(len(piece))
                    yield piece  # type: ignore[misc]  # any buffer is accepted
                self._stop_waiting()
        self._expect(min(size, limits.BUFFERED_BYTES))

    def _expect(self, size_bytes: int) -> None:
        """Set the time limit to send `size_bytes` and, if they are the last, to receive the response."""
        if not self._over and not self._timeout.expired():
            within = limits.STALL_S + size_bytes / limits.SLOWEST_BYTES_S
            self._timeout.reschedule(asyncio.get_running_loop().time() + within)

    def _stop_waiting(self) -> None:
        if not self._over and not self._timeout.expired():
            self._timeout.reschedule(None)


async def read_timed(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the chunks as they arrive. Raises TimeoutError if they arrive more slowly than SLOWEST_BYTES_S."""
    waited = 0.0
    size = 0
    asked = time.monotonic()
    async with aclosing(chunks):
        async for chunk in chunks:
            waited += time.monotonic() - asked
            size += len(chunk)
            if waited > limits.STALL_S:
                if size < limits.STALL_S * limits.SLOWEST_BYTES_S:
                    raise TimeoutError("the store sends too slowly")
                waited, size = 0.0, 0
            yield chunk
            asked = time.monotonic()
