"""The rate of calls to one server: unlimited, until refusals (429, 503) show that the rate is too high.

Arithmetic only (`Pace`), with the clock handed in; the caller sleeps. The lake and each store have a pace of their own.

A refusal alone does not slow other calls down. Some servers refuse a share of the calls whatever the rate is, and a
client that slows down for each of them comes to a standstill. So the pace looks at the share of refused calls:

1. More refusals than usual within the last 8 to 128 calls raise an alarm.
2. When most of these calls were refused, the rate is too high: it falls to what the server accepted.
3. Otherwise the rate is halved as a test, twice. A server with a limit refuses nothing then: the limit is known. A
   server that goes on refusing the same share refuses it at any rate: the old rate comes back, and refusals have to
   exceed that share to raise the next alarm.
4. Under a known limit, the rate stays a little below it for a while and then grows, first slowly and then faster, until
   the next alarm.

Calls are numbered as they set out, and an alarm counts them in that order: refusals come back sooner than answers.
Calls that set out before the last change of the rate do not count towards the next one.
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
"""A share of refused calls that is no reason to slow down."""

MOST_SHARE = 0.4
"""A larger share of refused calls is always taken for a limit."""

WINDOWS = (8, 16, 32, 64, 128)
"""So many calls are looked at together. Short windows find a sudden limit, long ones a rate a little above a limit."""

STRICT, LENIENT = (3.0, 1.0), (5.0, 2.0)
"""When refusals raise an alarm: so many standard deviations and calls above the expected number. Strict while a limit
is known, because a false alarm costs little then."""

FIRST_PER_S = 10.0
"""The lowest rate after the first alarm."""

SLOWEST_PER_S = 0.2
FASTEST_PER_S = 2000.0
"""A rate that grew beyond it is unlimited."""

BELOW_LIMIT = 0.92
"""The rate after a limit was found, as a share of it."""

QUICK_PER_S = 0.7
"""Growth per second, as a share of the rate, while it is far below a known limit, or while none is known."""

CAREFUL_PER_S = 0.04
"""Growth per second near a known limit. It doubles after every 1.5 s and at least 20 answered calls."""

WATCHFUL_PER_S = 0.12
"""The most growth per second up to half above a known limit: a limit with a burst shows only after a while."""

FIRST_REST_S, LONGEST_REST_S = 2.0, 16.0
"""How long a rate below a known limit stays as it is. The time doubles whenever the limit is found where it was."""

CATCH_UP_S = 0.02
"""A caller that wakes up late may make good so much time."""

TEST_S = 0.5
"""The shortest test that may end with 'refuses at any rate': a limit with a burst refuses little at first."""

PHASE_S = 0.25
"""A limit on the calls of each second refuses everything at the second's end. For so long after a small correction,
further alarms change nothing."""

RECENT_CALLS = 12
_SET_OUTS_KEPT = 4096


@dataclass(slots=True)
class _Test:
    """A halved rate, to find out whether refusals depend on the rate."""

    share: float
    """Of refused calls, when the test began."""

    rate_before: float | None
    limit_if_any: float
    stage: int = 1


@dataclass(slots=True)
class _Wall:
    """Most calls of an unlimited rate were refused. Answers to the calls that are still on their way tell the limit."""

    first: int
    """The number of the first refused call."""

    span_s: float
    """How long calls set out from that one on."""

    accepted: int = 0


class _LastSecond:
    """How many calls succeeded in about the last second: a count that decays."""

    def __init__(self, now: float) -> None:
        self._count = 0.0
        self._at = now

    def add(self, now: float) -> None:
        self._count, self._at = self.count(now) + 1.0, now

    def count(self, now: float) -> float:
        return self._count * math.exp(self._at - now)


class Pace:
    """The rate of calls to one server, in calls per second; None while it is unlimited.

    Thread-safe. `clock` gives seconds and never runs backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._per_s: float | None = None
        self._next = 0.0
        """When the next call may set out."""
        self._held_until = 0.0
        """No call sets out earlier: most recent calls were refused with a Retry-After."""
        self._waiting_until = 0.0
        """Up to this time, the rate held calls back; only then it may grow."""
        self._limit: float | None = None
        self._limit_of_series: float | None = None
        """The highest limit since the rate last reached it. A rate far below it, and refusals still: that is a test."""
        self._rest_s = 0.0
        self._unavoidable = 0.0
        """The share of calls that the server refuses at any rate."""
        self._test: _Test | None = None
        self._wall: _Wall | None = None
        self._recovering = False
        self._settled_until = 0.0
        self._recently_refused = 0.0
        self._good = _LastSecond(clock())
        self._set_out = 0
        self._set_out_at = array("d", [0.0]) * _SET_OUTS_KEPT
        self._begin_round(clock())

    @property
    def free(self) -> bool:
        """Whether no call has to wait at present."""
        return self._per_s is None and self._held_until <= self._clock()

    @property
    def per_s(self) -> float | None:
        """The present rate in calls per second, None for no limit."""
        return self._per_s

    def wait_s(self) -> float:
        """0 gives the next call its turn; otherwise ask again after so many seconds."""
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
        """A call sets out. Returns its number, which `record` takes with its answer."""
        with self._lock:
            self._set_out += 1
            self._set_out_at[self._set_out % _SET_OUTS_KEPT] = self._clock()
            return self._set_out

    def record(self, number: int, outcome: Outcome[Any]) -> None:
        """An answer came to the call of this number. A server that fails (500) tells nothing about its rate."""
        refused = isinstance(outcome, Retry)
        if isinstance(outcome, Retry) and not outcome.slow_down:
            return
        with self._lock:
            now = self._clock()
            if not refused:
                self._good.add(now)
            self._recently_refused += (refused - self._recently_refused) / RECENT_CALLS
            if isinstance(outcome, Retry) and outcome.retry_after_s is not None:
                self._heed(now, outcome.retry_after_s)
            if number > self._round_began_after:
                self._count(now, number, refused)
            elif not refused:
                self._accepted_late(now, number)

    def _heed(self, now: float, retry_after_s: float) -> None:
        """Retry-After binds the refused call (`retry.delay_s`); all others only where most calls are refused."""
        if self._recently_refused > 0.5 and now >= self._settled_until:
            self._held_until = max(self._held_until, now + retry_after_s)

    def _begin_round(self, now: float) -> None:
        """The rate changes: what is counted for the next change begins anew."""
        self._round_began_after = self._latest = self._set_out
        self._round_began_at = now
        self._refusals: list[int] = []
        self._answers = self._refused = 0
        share = max(USUAL_SHARE, self._unavoidable)
        deviations, more = LENIENT if self._limit is None else STRICT
        self._thresholds = [
            (calls, share * calls + deviations * math.sqrt(share * (1 - share) * calls) + more) for calls in WINDOWS
        ]

    def _count(self, now: float, number: int, refused: bool) -> None:
        self._latest = max(self._latest, number)
        self._answers += 1
        if refused:
            self._refused += 1
            self._recovering = False
            bisect.insort(self._refusals, number)
            del self._refusals[: -WINDOWS[-1]]
        if self._test is not None:
            self._judge_test(now, self._test)
        elif not refused:
            self._grow(now)
        elif any(self._refused_of(calls) >= most for calls, most in self._thresholds):
            self._alarm(now)

    def _refused_of(self, calls: int) -> int:
        """How many of the latest calls were refused. Those without an answer yet count as accepted."""
        return len(self._refusals) - bisect.bisect_right(self._refusals, self._latest - calls)

    def _alarm(self, now: float) -> None:
        if now < self._settled_until:
            self._begin_round(now)
            return
        calls = min(WINDOWS[-1], self._latest - self._round_began_after)
        refused = self._refused_of(calls)
        self._recovering = False
        self._wall = None
        share = refused / max(calls, WINDOWS[1])
        offered = self._offered_per_s()
        good = self._good.count(now)
        at_once = self._per_s is None and self._refused_of(16) >= 8
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
        """The rate after most calls were refused."""
        if self._per_s is None:
            first = self._refusals[bisect.bisect_right(self._refusals, self._latest - calls)]
            began = self._set_out_at[first % _SET_OUTS_KEPT]
            self._wall = _Wall(first, max(0.02, now - began))
            return max(FIRST_PER_S, 0.7 * good)
        accepted = max(0.1, 1 - share) * self._per_s
        self._rest_s = 0.0
        self._limit = self._limit_of_series = min(self._per_s, max(0.9 * accepted, 0.7 * good))
        return self._limit

    def _accepted_late(self, now: float, number: int) -> None:
        """A call of the round before was accepted: after a wall, such answers tell what the server accepts."""
        wall = self._wall
        if wall is None or self._answers >= 3:
            return
        good = self._good.count(now)
        self._recovering = good < 3.0
        wall.accepted += number >= wall.first
        measured = 0.9 * wall.accepted / wall.span_s if wall.accepted >= 2 else 0.0
        self._per_s = max(FIRST_PER_S, measured, 0.7 * good)

    def _judge_test(self, now: float, test: _Test) -> None:
        """Compare two explanations of what the halved rate brought: refusals of about the same share, or none."""
        calls, refused = self._latest - self._round_began_after, self._refused
        latest = min(32, calls)
        if self._refused_of(latest) >= max(6, (0.7 if latest < 24 else MOST_SHARE) * latest):
            self._test = None
            self._alarm(now)
            return
        same = min(0.3, max(0.05, 0.7 * test.share))
        evidence = refused * math.log(same / 0.01) + (calls - refused) * math.log((1 - same) / 0.99)
        if evidence <= -4.0 or (calls >= 48 and refused < 0.35 * test.share * calls):
            self._test = None
            self._limit = self._limit_of_series = test.limit_if_any
            per_s = BELOW_LIMIT * test.limit_if_any
            if test.rate_before is None and self._held_until > self._round_began_at:
                # After a pause, a limit with a burst accepts any rate for a while. What it accepted on average, pause
                # included, is a safer start; the limit is to be found.
                self._limit = self._limit_of_series = None
                accepted = (self._answers - self._refused) / (now - self._round_began_at)
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
        if self._answers >= 300:
            # What was unavoidable need not stay so.
            self._unavoidable = min(self._unavoidable, 1.25 * self._refused / self._answers)
            self._answers, self._refused = WINDOWS[0], 0
        if self._per_s is None or now > self._waiting_until:
            return
        if self._recovering:
            self._per_s += self._per_s / 8
        elif self._limit is not None and self._per_s >= 0.9 * self._limit:
            undisturbed_s = self._undisturbed_s(now) - self._rest_s
            if undisturbed_s < 0:
                return
            doublings = min(self._answers / 20, undisturbed_s / 1.5)
            most = WATCHFUL_PER_S if self._per_s < 1.5 * self._limit else QUICK_PER_S
            growth = min(most, CAREFUL_PER_S * 2.0**doublings)
            self._per_s += min(growth, 0.1 * growth * self._per_s)
        else:
            self._per_s += min(QUICK_PER_S, 0.25 * self._per_s)
        if self._per_s > FASTEST_PER_S:
            self._per_s = self._limit = self._limit_of_series = None
            self._begin_round(now)

    def _undisturbed_s(self, now: float) -> float:
        """For how long the present rate is in force."""
        return now - max(self._round_began_at, self._held_until)

    def _set_rate(self, now: float, per_s: float | None) -> None:
        self._per_s = None if per_s is None else max(SLOWEST_PER_S, per_s)
        if self._per_s is not None:
            self._next = max(self._next, now + 1 / self._per_s)
        self._begin_round(now)

    def _offered_per_s(self) -> float:
        """At which rate the latest calls set out."""
        calls = min(WINDOWS[-2], self._latest - self._round_began_after)
        first = self._set_out_at[(self._latest - calls + 1) % _SET_OUTS_KEPT]
        last = self._set_out_at[self._latest % _SET_OUTS_KEPT]
        if first < self._held_until < last:
            first = self._held_until
        offered = (calls - 1) / max(0.05 if self._per_s is None else 0.001, last - first)
        return offered if self._per_s is None else min(offered, self._per_s)
