"""Counts the refused calls at a constant rate, and decides when there are too many. Used by `pacing`.

Arithmetic only. Must not: change the rate.
"""

from __future__ import annotations

import bisect
import math

USUAL_SHARE = 0.05
"""A share of refused calls that does not reduce the rate."""

WINDOWS = (8, 16, 32, 64, 128)
"""Numbers of latest calls to evaluate. Short windows find a sudden limit, long ones a slightly exceeded limit."""

STRICT, LENIENT = (3.0, 1.0), (5.0, 2.0)
"""When refusals raise an alarm: this many standard deviations and calls above the expected number. Strict while a limit
is known, because a false alarm costs little then."""


class Round:
    """The calls since the last change of the rate.

    Calls are numbered when they start, and counted in that order, because refusals arrive sooner than answers. Calls
    that started before the round do not count.
    """

    def __init__(self, now: float, after: int, *, unavoidable: float, limit_known: bool) -> None:
        self.began_at = now
        self.began_after = after
        """The number of the last call before the round."""
        self.latest = after
        """The number of the latest call with an answer."""
        self.answers = self.refused = 0
        self._refusals: list[int] = []
        share = max(USUAL_SHARE, unavoidable)
        deviations, more = STRICT if limit_known else LENIENT
        self._thresholds = [
            (calls, share * calls + deviations * math.sqrt(share * (1 - share) * calls) + more) for calls in WINDOWS
        ]

    @property
    def calls(self) -> int:
        return self.latest - self.began_after

    def add(self, number: int, refused: bool) -> None:
        self.latest = max(self.latest, number)
        self.answers += 1
        if refused:
            self.refused += 1
            bisect.insort(self._refusals, number)
            del self._refusals[: -WINDOWS[-1]]

    def refused_of(self, calls: int) -> int:
        """Return how many of the latest calls were refused. Calls without an answer count as accepted."""
        return len(self._refusals) - bisect.bisect_right(self._refusals, self.latest - calls)

    def first_refused_of(self, calls: int) -> int:
        """Return the number of the first refused call among the latest calls."""
        return self._refusals[bisect.bisect_right(self._refusals, self.latest - calls)]

    def too_many_refused(self) -> bool:
        return any(self.refused_of(calls) >= most for calls, most in self._thresholds)


class RecentSuccesses:
    """How many calls succeeded in about the last second: a decaying count."""

    def __init__(self, now: float) -> None:
        self._count = 0.0
        self._at = now

    def add(self, now: float) -> None:
        self._count, self._at = self.count(now) + 1.0, now

    def count(self, now: float) -> float:
        return self._count * math.exp(self._at - now)
