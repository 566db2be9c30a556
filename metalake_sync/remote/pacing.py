"""Controls the rate of calls to one server: unlimited, until refusals (429, 503) show that it is too high.

Arithmetic only; the clock is passed in, and the caller sleeps. The lake and its store have a rate each.

A single refusal does not slow other calls down. Some servers refuse a share of the calls at any rate, and a client that
slows down for each refusal would come to a standstill. So the share of refused calls decides:

1. More refusals than usual within the last 8 to 128 calls raise an alarm.
2. If most of these calls were refused, the rate is too high. It drops to what the server accepted.
3. Otherwise the rate is halved as a test, twice. If the server then refuses nothing, it has a limit, which is known
   now. If it still refuses the same share, it does so at any rate: the old rate is restored, and only a larger share
   raises the next alarm.
4. Below a known limit, the rate stays constant for a while and then grows, first slowly and then faster, until the next
   alarm.

Longer than 300 lines, because the steps of this algorithm depend on each other.
"""

from __future__ import annotations

import bisect
import math
import threading
from array import array
from collections.abc import Callable
from typing import Any

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.classify import Outcome, Retry

USUAL_SHARE = 0.05
"""A share of refused calls that does not reduce the rate."""

WINDOWS = (8, 16, 32, 64, 128)
"""Numbers of latest calls to evaluate. Short windows find a sudden limit, long ones a slightly exceeded limit."""

STRICT, LENIENT = (3.0, 1.0), (5.0, 2.0)
"""When refusals raise an alarm: this many standard deviations and calls above the expected number. Strict while a limit
is known, because a false alarm costs little then."""

MOST_SHARE = 0.4
"""A larger share of refused calls always means a limit."""

FIRST_PER_S = 10.0
"""The lowest rate after the first alarm."""

SLOWEST_PER_S = 0.2
FASTEST_PER_S = 2000.0
"""A rate that grows beyond this becomes unlimited."""

BELOW_LIMIT = 0.92
"""The rate after a limit was found, as a share of it."""

QUICK_PER_S = 0.7
"""Growth per second, as a share of the rate, far below a known limit or without one."""

CAREFUL_PER_S = 0.04
"""Growth per second near a known limit. It doubles after every 1.5 s and at least 20 answered calls."""

WATCHFUL_PER_S = 0.12
"""The maximum growth per second up to 1.5 times a known limit. A limit that allows bursts refuses late."""

FIRST_REST_S, LONGEST_REST_S = 2.0, 16.0
"""How long, in seconds, a rate below a known limit stays constant. Doubles when the same limit is found again."""

CATCH_UP_S = 0.02
"""How much time, in seconds, a caller that wakes up late may catch up."""

TEST_S = 0.5
"""The shortest test, in seconds, that may find refusals at any rate. A limit that allows bursts refuses late."""

PHASE_S = 0.25
"""Alarms within this many seconds after a small correction are ignored: a limit per clock second refuses everything at
the end of the second."""

RECENT_CALLS = 12
_START_TIMES_KEPT = 4096


class _Round:
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


class _RecentSuccesses:
    """How many calls succeeded in about the last second: a decaying count."""

    def __init__(self, now: float) -> None:
        self._count = 0.0
        self._at = now

    def add(self, now: float) -> None:
        self._count, self._at = self.count(now) + 1.0, now

    def count(self, now: float) -> float:
        return self._count * math.exp(self._at - now)


@dataclass(slots=True)
class _Test:
    """A test with a halved rate, which shows whether refusals depend on the rate."""

    share: float
    """The share of refused calls when the test began."""

    rate_before: float | None
    limit_if_any: float
    stage: int = 1


@dataclass(slots=True)
class _Wall:
    """Most calls of an unlimited rate were refused. The answers to the calls in flight show the limit."""

    first: int
    """The number of the first refused call."""

    span_s: float
    """How long calls were started after that one, in seconds."""

    accepted: int = 0


class Pace:
    """The rate of calls to one server. Safe to use from several threads.

    `clock`: seconds that never decrease. `unavoidable`: the share of calls that the server refuses at any rate, if
    another process has found it.
    """

    def __init__(self, clock: Callable[[], float], *, unavoidable: float = 0.0) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._per_s: float | None = None
        """Calls per second. None means unlimited."""
        self._next = 0.0
        """When the next call may start."""
        self._held_until = 0.0
        """No call may start earlier, because most recent calls were refused with a Retry-After."""
        self._waiting_until = 0.0
        """Until this time, calls waited for the rate. It grows only while calls wait."""
        self._limit: float | None = None
        self._limit_of_series: float | None = None
        """The highest limit since the rate last reached it. Refusals far below it start a test."""
        self._rest_s = 0.0
        self._unavoidable = unavoidable
        """The share of calls that the server refuses at any rate."""
        self._test: _Test | None = None
        self._wall: _Wall | None = None
        self._recovering = False
        self._settled_until = 0.0
        self._recently_refused = 0.0
        self._successes = _RecentSuccesses(clock())
        self._started = 0
        self._start_times = array("d", [0.0]) * _START_TIMES_KEPT
        self._begin_round(clock())

    @property
    def free(self) -> bool:
        """Whether calls may start without waiting."""
        return self._per_s is None and self._held_until <= self._clock()

    @property
    def per_s(self) -> float | None:
        """The present rate in calls per second. None means unlimited."""
        return self._per_s

    @property
    def unavoidable(self) -> float:
        """The share of calls that the server refuses at any rate."""
        return self._unavoidable

    def wait_s(self) -> float:
        """Return 0 if the next call may start, else the seconds after which to try again."""
        with self._lock:
            now = self._clock()
            if now < self._held_until:
                return self._held_until - now
            if self._per_s is None:
                return 0.0
            if now < self._next:
                self._waiting_until = now + max(0.25, 2 / self._per_s)
                return self._next - now
            self._next = max(self._next, now - CATCH_UP_S) + 1 / self._per_s
            return 0.0

    def start_call(self) -> int:
        """Record the start of a call. Returns its number, for `record`."""
        with self._lock:
            self._started += 1
            self._start_times[self._started % _START_TIMES_KEPT] = self._clock()
            return self._started

    def record(self, number: int, outcome: Outcome[Any]) -> None:
        """Record the outcome of a call. Failures of the server (500) say nothing about the rate, and are ignored."""
        refused = isinstance(outcome, Retry)
        if isinstance(outcome, Retry) and not outcome.slow_down:
            return
        with self._lock:
            now = self._clock()
            if not refused:
                self._successes.add(now)
            self._recently_refused += (refused - self._recently_refused) / RECENT_CALLS
            if isinstance(outcome, Retry) and outcome.retry_after_s is not None:
                self._honor_retry_after(now, outcome.retry_after_s)
            if number > self._round.began_after:
                self._count(now, number, refused)
            elif not refused:
                self._accepted_late(now, number)

    def _honor_retry_after(self, now: float, retry_after_s: float) -> None:
        """Hold all calls back if most are refused. Otherwise only the refused call waits (`retry.delay_s`)."""
        if self._recently_refused > 0.5 and now >= self._settled_until:
            self._held_until = max(self._held_until, now + retry_after_s)

    def _begin_round(self, now: float) -> None:
        """Start counting again, because the rate changes."""
        self._round = _Round(now, self._started, unavoidable=self._unavoidable, limit_known=self._limit is not None)

    def _count(self, now: float, number: int, refused: bool) -> None:
        self._round.add(number, refused)
        if refused:
            self._recovering = False
        if self._test is not None:
            self._evaluate_test(now, self._test)
        elif not refused:
            self._grow(now)
        elif self._round.too_many_refused():
            self._alarm(now)

    def _alarm(self, now: float) -> None:
        if now < self._settled_until:
            self._begin_round(now)
            return
        calls = min(WINDOWS[-1], self._round.calls)
        refused = self._round.refused_of(calls)
        self._recovering = False
        self._wall = None
        share = refused / max(calls, WINDOWS[1])
        offered = self._offered_per_s()
        good = self._successes.count(now)
        at_once = self._per_s is None and self._round.refused_of(16) >= 8
        if at_once or refused >= 0.7 * calls or (calls >= 24 and refused > 0.5 * calls):
            per_s = self._after_wall(now, refused / calls, calls, good)
            self._recovering = good < 3.0
        elif self._per_s is not None and self._limit is not None and self._per_s >= 0.75 * (self._limit_of_series or 0):
            found = max(offered * (1 - share), min(self._per_s, 0.7 * good))
            as_before = 0.8 * self._limit <= found <= 1.25 * self._limit
            self._rest_s = min(LONGEST_REST_S, max(FIRST_REST_S, 2 * self._rest_s)) if as_before else 0.0
            self._limit = found
            if self._per_s >= (self._limit_of_series or 0):
                self._limit_of_series = self._limit
            per_s = min(0.9 * self._per_s, BELOW_LIMIT * self._limit)
        else:
            before = None if self._per_s is None else max(self._per_s, self._limit_of_series or 0.0)
            self._test = _Test(share, before, offered * (1 - share))
            per_s = 0.5 * offered * (1 - share)
        self._set_rate(now, per_s)
        if self._test is None and self._limit is not None and good >= 0.7 * per_s:
            self._settled_until = now + PHASE_S

    def _after_wall(self, now: float, share: float, calls: int, good: float) -> float:
        """Return the rate after most calls were refused."""
        if self._per_s is None:
            first = self._round.first_refused_of(calls)
            began = self._start_times[first % _START_TIMES_KEPT]
            self._wall = _Wall(first, max(0.02, now - began))
            return max(FIRST_PER_S, 0.7 * good)
        accepted = max(0.1, 1 - share) * self._per_s
        self._rest_s = 0.0
        self._limit = self._limit_of_series = min(self._per_s, max(0.9 * accepted, 0.7 * good))
        return self._limit

    def _accepted_late(self, now: float, number: int) -> None:
        """A call of the previous round was accepted. After a wall, such answers show what the server accepts."""
        wall = self._wall
        if wall is None or self._round.answers >= 3:
            return
        good = self._successes.count(now)
        self._recovering = good < 3.0
        wall.accepted += number >= wall.first
        measured = 0.9 * wall.accepted / wall.span_s if wall.accepted >= 2 else 0.0
        self._per_s = max(FIRST_PER_S, measured, 0.7 * good)

    def _evaluate_test(self, now: float, test: _Test) -> None:
        """Compare two explanations of the answers at the halved rate: the same share of refusals, or a limit."""
        calls, refused = self._round.calls, self._round.refused
        latest = min(32, calls)
        if self._round.refused_of(latest) >= max(6, (0.7 if latest < 24 else MOST_SHARE) * latest):
            self._test = None
            self._alarm(now)
            return
        same = min(0.3, max(0.05, 0.7 * test.share))
        evidence = refused * math.log(same / 0.01) + (calls - refused) * math.log((1 - same) / 0.99)
        if evidence <= -4.0 or (calls >= 48 and refused < 0.35 * test.share * calls):
            self._test = None
            self._limit = self._limit_of_series = test.limit_if_any
            per_s = BELOW_LIMIT * test.limit_if_any
            if test.rate_before is None and self._held_until > self._round.began_at:
                # After a pause, a limit that allows bursts accepts any rate for a while. The average including the
                # pause is a safer start to search for the limit.
                self._limit = self._limit_of_series = None
                accepted = (self._round.answers - self._round.refused) / (now - self._round.began_at)
                per_s = min(per_s, max(0.1 * per_s, 1.25 * accepted))
            self._set_rate(now, per_s)
        elif evidence >= 4.0 and refused >= 3 and calls >= 24 and self._undisturbed_s(now) >= TEST_S:
            share = refused / calls
            if test.stage == 1 or share < 0.6 * test.share:
                test.stage, test.share = 2, share
                self._set_rate(now, 0.5 * (self._per_s or 0.0) * (1 - share))
                return
            self._test = self._limit = self._limit_of_series = None
            self._unavoidable = max(self._unavoidable, min(MOST_SHARE, share))
            self._set_rate(now, test.rate_before)

    def _grow(self, now: float) -> None:
        if self._round.answers >= 300:
            # The unavoidable share may decrease over time.
            self._unavoidable = min(self._unavoidable, 1.25 * self._round.refused / self._round.answers)
            self._round.answers, self._round.refused = WINDOWS[0], 0
        if self._per_s is None or now > self._waiting_until:
            return
        if self._recovering:
            self._per_s += self._per_s / 8
        elif self._limit is not None and self._per_s >= 0.9 * self._limit:
            undisturbed_s = self._undisturbed_s(now) - self._rest_s
            if undisturbed_s < 0:
                return
            doublings = min(self._round.answers / 20, undisturbed_s / 1.5)
            most = WATCHFUL_PER_S if self._per_s < 1.5 * self._limit else QUICK_PER_S
            growth = min(most, CAREFUL_PER_S * 2.0**doublings)
            self._per_s += min(growth, 0.1 * growth * self._per_s)
        else:
            self._per_s += min(QUICK_PER_S, 0.25 * self._per_s)
        if self._per_s > FASTEST_PER_S:
            self._per_s = self._limit = self._limit_of_series = None
            self._begin_round(now)

    def _undisturbed_s(self, now: float) -> float:
        """Return how long the present rate has applied, in seconds."""
        return now - max(self._round.began_at, self._held_until)

    def _set_rate(self, now: float, per_s: float | None) -> None:
        self._per_s = None if per_s is None else max(SLOWEST_PER_S, per_s)
        if self._per_s is not None:
            self._next = max(self._next, now + 1 / self._per_s)
        self._begin_round(now)

    def _offered_per_s(self) -> float:
        """Return the rate at which the latest calls were started."""
        calls = min(WINDOWS[-2], self._round.calls)
        first = self._start_times[(self._round.latest - calls + 1) % _START_TIMES_KEPT]
        last = self._start_times[self._round.latest % _START_TIMES_KEPT]
        if first < self._held_until < last:
            first = self._held_until
        offered = (calls - 1) / max(0.05 if self._per_s is None else 0.001, last - first)
        return offered if self._per_s is None else min(offered, self._per_s)
