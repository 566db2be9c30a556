"""Where a run stands, as numbers; and telling it a few times a second."""

from __future__ import annotations

import asyncio
import time
from dataclasses import field

from metalake_sync.core.events import EventSink, Progress
from metalake_sync.lazy_dataclass import dataclass

TELL_EVERY_S = 0.25


@dataclass(slots=True)
class ProgressMeter:
    """`stage` is a clause such as "uploading". `bytes_sent`: on the wire, either way."""

    emit: EventSink
    files_total: int = 0
    bytes_total: int = 0
    files_done: int = 0
    bytes_sent: int = 0
    stage: str = "starting"
    _started: float = field(default_factory=time.monotonic)

    def received(self, size_bytes: int) -> None:
        """Bytes came in. How many there will be is not known, because lists carry no sizes: a total that was known
        before grows, and one that was not stays open."""
        self.bytes_sent += size_bytes
        if self.bytes_total:
            self.bytes_total = max(self.bytes_total, self.bytes_sent)

    def finished(self) -> None:
        """All that there was is done, however much it turned out to be: the totals are known now."""
        self.files_total, self.bytes_total = self.files_done, self.bytes_sent

    def tell(self) -> None:
        self.emit(
            Progress(
                self.files_done,
                self.files_total,
                self.bytes_sent,
                self.bytes_total,
                self.stage,
                time.monotonic() - self._started,
            )
        )

    async def keep_telling(self) -> None:
        """Tell until cancelled."""
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            self.tell()
