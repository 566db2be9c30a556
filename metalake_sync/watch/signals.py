"""What the system asks of the daemon: to stop, to leave now, to read the manifest again.

Owns: the handlers. They set flags and wake the loop, and take no lock: they run between any two steps of it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from metalake_sync.lazy_dataclass import dataclass

DRAIN_S = 30.0


@dataclass(slots=True)
class Signals:
    """`wake`: ends the loop's wait. `drain_s`: how long a run may go on after the first SIGTERM or SIGINT; then, or at
    the second one, KeyboardInterrupt ends it: what was finished is recorded."""

    wake: Callable[[], None]
    drain_s: float = DRAIN_S
    stopping: bool = False
    reload: bool = False

    def install(self) -> None:
        """Take over SIGTERM, SIGINT, SIGHUP and SIGALRM. Only the main thread may."""
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
