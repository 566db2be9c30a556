"""Keeping step with a server that asks for it: after a 429 or 503 everyone waits, and the pace picks up slowly.

Arithmetic only (`Pace`); who sleeps, and how, is the caller's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

ATTACK = 2.0
DECAY = 0.9
LONGEST_GAP_S = 5.0
FIRST_GAP_S = 0.05
SHORTEST_GAP_S = 0.001


class Pace:
    """The gap between calls to one server: doubled when it says "too many", shortened by a tenth with each success.

    Thread-safe. `clock` gives seconds and never runs backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._gap_s = 0.0
        self._next = 0.0

    def wait_s(self) -> float:
        """How long the next call has to wait; takes its turn."""
        with self._lock:
            now = self._clock()
            start = max(now, self._next)
            if self._gap_s or start > now:
                self._next = start + self._gap_s
            return start - now

    def too_many(self, retry_after_s: float | None) -> None:
        """The server asked for fewer calls; with a time, nobody calls before it is over."""
        with self._lock:
            self._gap_s = min(LONGEST_GAP_S, max(FIRST_GAP_S, self._gap_s * ATTACK))
            self._next = max(self._next, self._clock() + (retry_after_s or self._gap_s))

    def went_well(self) -> None:
        if self._gap_s:
            with self._lock:
                self._gap_s = self._gap_s * DECAY if self._gap_s > SHORTEST_GAP_S else 0.0
