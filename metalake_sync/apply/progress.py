"""The progress of a run in numbers, emitted as events a few times per second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import field

from metalake_sync.core.events import EventSink, Progress
from metalake_sync.lazy_dataclass import dataclass

REPORT_EVERY_S = 0.25


@dataclass(slots=True)
class ProgressMeter:
    """Counts files and bytes."""

    emit: EventSink
    files_total: int = 0
    bytes_total: int = 0
    files_done: int = 0
    bytes_sent: int = 0
    """Uploaded and downloaded bytes."""
    stage: str = "starting"
    """A clause such as "uploading"."""
    _started: float = field(default_factory=time.monotonic)

    def received(self, size_bytes: int) -> None:
        """Count downloaded bytes. Their total is unknown, because listings have no sizes.

        A total that was known before grows. One that was unknown stays unknown.
        """
        self.bytes_sent += size_bytes
        if self.bytes_total:
            self.bytes_total = max(self.bytes_total, self.bytes_sent)

    def sent_before(self, files: int) -> None:
        """Count files that an interrupted run sent, and that this run only has to finish."""
        self.files_done += files

    def send_again(self, files: int, size_bytes: int) -> None:
        """Take back files, and add bytes, that an interrupted run sent in vain."""
        self.files_done -= files
        self.bytes_total += size_bytes

    def finished(self) -> None:
        """Set the totals to what was done, because all is done now."""
        self.files_total, self.bytes_total = self.files_done, self.bytes_sent

    def report(self) -> None:
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

    async def keep_reporting(self, is_cancelled: Callable[[], bool] | None, cancel: Callable[[], object]) -> None:
        """Emit progress events until this task is cancelled. Calls `cancel` once `is_cancelled` returns True."""
        while is_cancelled is None or not is_cancelled():
            await asyncio.sleep(REPORT_EVERY_S)
            self.report()
        cancel()
