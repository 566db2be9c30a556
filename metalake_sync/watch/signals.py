"""Signals: stop, stop at once, and read the manifest again.

Owns: the signal handlers. They set flags and wake the loop. They take no lock, because they run between any two steps
of the loop.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from metalake_sync.lazy_dataclass import dataclass

DRAIN_S = 30.0


@dataclass(slots=True)
class Signals:
    """The requests of the system. What a run finished before it was interrupted is recorded."""

    wake: Callable[[], None]
    """Ends the loop's wait."""
    drain_s: float = DRAIN_S
    """Seconds that a run may continue after the first SIGTERM or SIGINT. Then, or at the second signal,
    KeyboardInterrupt ends it."""
    stopping: bool = False
    reload: bool = False

    def install(self) -> None:
        """Install handlers for SIGTERM, SIGINT, SIGHUP and SIGALRM. Only the main thread may call this."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGALRM, self._leave)
        signal.signal(signal.SIGHUP, self._reload)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:
            self._leave(number, frame)
        self.stopping = True
        signal.setitimer(signal.ITIMER_REAL, self.drain_s)
        self.wake()

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload = True
        self.wake()
