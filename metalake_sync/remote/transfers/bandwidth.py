"""Limits the bytes per second of a transfer. All of its files share the limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from metalake_sync.remote.http.limits import PIECE_BYTES

HELD_S = 0.1
"""The bucket holds the bytes of this many seconds: enough for the timer's precision, too little for bursts."""

SMALLEST_PIECE_BYTES = 1024


class Bandwidth:
    """A token bucket that fills at `bytes_per_second`. None means no limit.

    Bytes are taken in pieces that fit into the bucket, so that a low rate is a steady flow. Bursts with long pauses
    would make the other side time out.
    """

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
        """How many bytes to take at once."""
        if self._rate is None:
            return PIECE_BYTES
        return max(SMALLEST_PIECE_BYTES, min(PIECE_BYTES, int(self._rate * HELD_S)))

    async def take(self, size_bytes: int) -> None:
        """Wait until `size_bytes` may be transferred."""
        if self._rate is None:
            return
        now = self._now_s()
        self._free_at = max(self._free_at, now - HELD_S) + size_bytes / self._rate
        if self._free_at > now:
            await self._sleep(self._free_at - now)

    async def pieces(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the chunks at the allowed rate, split into pieces if they are too large."""
        async for chunk in chunks:
            if self._rate is None:
                yield chunk
                continue
            for start in range(0, len(chunk), self.piece_bytes):
                piece = chunk[start : start + self.piece_bytes]
                await self.take(len(piece))
                yield piece
