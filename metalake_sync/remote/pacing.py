"""Keeping step with a server that asks for it: after a 429 or 503 the rate of calls goes down, and comes back slowly.

Arithmetic only (`Pace`); who sleeps, and how, is the caller's. Lake and store each have a pace of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from metalake_sync.remote.retry import Again, Done, GiveUp

BACK_OFF = 0.7
"""What is left of the rate after a complaint."""

FIRST_PER_S = 5.0
"""The least rate after a first complaint: what went well so far may have been too little to measure by."""

SLOWEST_PER_S = 0.2
FASTEST_PER_S = 2000.0
"""A rate that grew beyond it is none."""

QUICK, CAREFUL = 0.3, 0.05
"""How much a call that went well adds to the rate: far from where the server last complained, and near it."""

QUICK_SHARE, CAREFUL_SHARE = 0.1, 0.01
"""The most of that as a share of the rate: what is little for a fast lake is much for a slow one."""

NEAR = 0.1
MEASURED_OVER_S = 1.0


class Pace:
    """The rate of calls to one server, in calls per second; None until it complains.

    A burst that is refused is one complaint: calls that set out before the last back-off say nothing about the rate
    after it. Thread-safe. `clock` gives seconds and never runs backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._per_s: float | None = None
        self._complained_at_per_s: float | None = None
        self._next = 0.0
        self._round = 0
        self._window = clock()
        self._went_well = 0

    @property
    def free(self) -> bool:
        """Whether nobody has to wait at present."""
        return self._per_s is None and self._next <= self._clock()

    @property
    def round(self) -> int:
        """How often the rate went down. A call remembers it when it sets out, and tells it when it is refused."""
        return self._round

    def wait_s(self) -> float:
        """0 gives the next call its turn; otherwise ask again after so many seconds."""
        with self._lock:
            now = self._clock()
            if now < self._next:
                return self._next - now
            if self._per_s is not None:
                self._next = now + 1 / self._per_s
            return 0.0

    def heard(self, set_out_in: int, verdict: Done[Any] | Again | GiveUp) -> None:
        """An answer came, and this is what it means. Answers of a server that fails say nothing about its rate."""
        if not isinstance(verdict, Again):
            self.went_well()
        elif verdict.slow_down:
            self.too_many(set_out_in, verdict.retry_after_s)

    def too_many(self, set_out_in: int, retry_after_s: float | None) -> None:
        """The server asked for fewer calls; with a time, nobody calls before it is over."""
        with self._lock:
            now = self._clock()
            if set_out_in == self._round:
                self._round += 1
                self._per_s = self._lowered(now)
                self._next = max(self._next, now + 1 / self._per_s)
            if retry_after_s is not None:
                self._next = max(self._next, now + retry_after_s)

    def went_well(self) -> None:
        now = self._clock()
        if now - self._window > MEASURED_OVER_S:
            self._window, self._went_well = now, 0
        self._went_well += 1
        if self._per_s is not None:
            with self._lock:
                self._per_s = self._raised(self._per_s)

    def _lowered(self, now: float) -> float:
        if self._per_s is None:
            measured = self._went_well / MEASURED_OVER_S if now - self._window <= MEASURED_OVER_S else 0.0
            return max(FIRST_PER_S, BACK_OFF * measured)
        self._complained_at_per_s = self._per_s
        return max(SLOWEST_PER_S, BACK_OFF * self._per_s)

    def _raised(self, per_s: float | None) -> float | None:
        if per_s is None:
            return None
        limit = self._complained_at_per_s
        near = limit is not None and abs(per_s - limit) <= NEAR * limit
        raised = per_s + (min(CAREFUL, CAREFUL_SHARE * per_s) if near else min(QUICK, QUICK_SHARE * per_s))
        return raised if raised < FASTEST_PER_S else None
