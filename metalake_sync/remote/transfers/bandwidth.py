"""A limit on bytes per second, shared by everything that a transfer moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from metalake_sync.remote.http.limits import PIECE_BYTES

HELD_S = 0.1
"""The bucket holds what flows in so long: more would be a burst, less would be lost to the timer."""

SMALLEST_PIECE_BYTES = 1024


class Bandwidth:
    """A bucket that fills at `bytes_per_second`; None never waits. Bytes are taken in pieces that the bucket holds, so
    that a low rate is a trickle and not a burst after a long pause, in which the other side would give up."""

    def __init__(
        self,
        bytes_per_second: float | None,
        *,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._now_s = now_s
        self._sleep = sleep
        self._free_at = now_s()

    @property
    def limited(self) -> bool:
        return self._rate is not None

    @property
    def piece_bytes(self) -> int:
        """The most to take at once."""
        if self._rate is None:
            return PIECE_BYTES
        return max(SMALLEST_PIECE_BYTES, min(PIECE_BYTES, int(self._rate * HELD_S)))

    async def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may move."""
        if self._rate is None:
            return
        now = self._now_s()
        self._free_at = max(self._free_at, now - HELD_S) + size_bytes / self._rate
        if self._free_at > now:
            await self._sleep(self._free_at - now)

    async def pieces(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks at the allowed rate, cut where they are too large for it."""
        async for chunk in chunks:
            if self._rate is None:
                yield chunk
                continue
            for start in range(0, len(chunk), self.piece_bytes):
                piece = chunk[start : start + self.piece_bytes]
                await self.take(len(piece))
                yield piece
