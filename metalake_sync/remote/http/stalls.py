"""Aborts stalled transfers, and lets slow ones finish.

Only time spent waiting for the other side counts: a bandwidth limit or a slow disk is not a stall.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType

from metalake_sync.remote.http import limits


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

    async def __call__(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        size = 0
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


async def read_timed(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the chunks as they arrive. Raises TimeoutError if they arrive more slowly than SLOWEST_BYTES_S."""
    waited = 0.0
    size = 0
    while True:
        asked = time.monotonic()
        chunk = await anext(chunks, None)
        waited += time.monotonic() - asked
        if chunk is None:
            return
        size += len(chunk)
        if waited > limits.STALL_S:
            if size < limits.STALL_S * limits.SLOWEST_BYTES_S:
                raise TimeoutError("the store sends too slowly")
            waited, size = 0.0, 0
        yield chunk
