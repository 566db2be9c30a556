"""A limit on bytes per second, shared by everything that a transfer sends."""

from __future__ import annotations

import asyncio
import time


class Bandwidth:
    """A bucket that fills at `bytes_per_second` and holds a tenth of a second; None never waits."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0

    @property
    def limited(self) -> bool:
        return self._rate is not None

    async def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may go out."""
        if self._rate is None:
            return
        now = time.monotonic()
        start = max(self._free_at, now - 0.1)
        self._free_at = start + size_bytes / self._rate
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)
