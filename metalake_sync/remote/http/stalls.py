"""Ending a transfer that no longer moves, and leaving alone one that does, however long it takes.

Time counts only while we wait for the other side: a limit on bandwidth of our own, or a slow disk, is no stall.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType

from metalake_sync.remote.http import limits


class BodyWatch:
    """Ends the block with a TimeoutError when what is being sent stands still, or no answer comes to it.

    Called with the request's body, it gives the body to send: in pieces, each with time of its own.
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
                yield piece  # type: ignore[misc]  # any buffer will do
            self._rest()
        self._expect(min(size, limits.BUFFERED_BYTES))

    def _expect(self, size_bytes: int) -> None:
        """So many bytes are to go out now, and be answered if they are the last."""
        if not self._over and not self._timeout.expired():
            within = limits.STALL_S + size_bytes / limits.SLOWEST_BYTES_S
            self._timeout.reschedule(asyncio.get_running_loop().time() + within)

    def _rest(self) -> None:
        if not self._over and not self._timeout.expired():
            self._timeout.reschedule(None)


async def read_timed(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The chunks as they come. Raises TimeoutError where less comes in the time of a stall than the slowest connection
    brings."""
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
                raise TimeoutError("the store hardly sends")
            waited, size = 0.0, 0
        yield chunk
