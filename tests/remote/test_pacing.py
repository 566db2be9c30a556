"""The rate of calls to a server, in virtual time: servers with limits, servers that refuse at random, and both."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from metalake_sync.remote.classify import Done, Fail, Retry
from metalake_sync.remote.pacing import FASTEST_PER_S, RECENT_CALLS, SLOWEST_PER_S, Pace
from metalake_sync.remote.retry import RetryPolicy, delay_s


class Limit(Protocol):
    def allows(self, now: float) -> bool: ...


class NoLimit:
    def allows(self, now: float) -> bool:
        return True


@dataclass
class Bucket:
    """A token bucket: `per_s` calls, of which `burst` may arrive at once."""

    per_s: float
    burst: float
    tokens: float = -1.0
    filled_at: float = 0.0

    def allows(self, now: float) -> bool:
        if self.tokens < 0:
            self.tokens = self.burst
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.per_s)
        self.filled_at = now
        allowed = self.tokens >= 1 - 1e-9
        self.tokens -= allowed
        return allowed


@dataclass
class EachSecond:
    """A number of calls within each second of the clock."""

    per_s: float
    second: int = -1
    taken: int = 0

    def allows(self, now: float) -> bool:
        if int(now) != self.second:
            self.second, self.taken = int(now), 0
        self.taken += 1
        return self.taken <= self.per_s


@dataclass
class Crowd:
    """Callers that share the pace of one server, as in the clients.

    Each makes one call at a time, and one of them waits for the next turn. The server processes calls in
    sequence. A refusal takes no time.
    """

    limit: Limit = field(default_factory=NoLimit)
    workers: int = 64
    latency_s: float = 0.03
    service_s: float = 1 / 1200
    refuses: float = 0.0
    """The share of calls that are refused at random."""

    retry_after_s: float | None = None
    outages: Sequence[tuple[float, float]] = ()
    seed: int = 0

    now: float = 0.0
    taken: int = 0
    refused: int = 0
    turns: list[tuple[float, float]] = field(default_factory=list)
    """When each refused call was refused, and when it was repeated."""

    def run(self, *, calls: int | None = None, seconds: float = 1e9) -> Crowd:
        chance, policy = random.Random(self.seed), RetryPolicy()
        pace = self.pace = Pace(lambda: self.now)
        events: list[tuple[float, int, str, int, int]] = []
        order = itertools.count()
        queue = deque(range(self.workers))
        attempts = [0] * self.workers
        refused_at = [0.0] * self.workers
        free_at, waiting = 0.0, False

        def later(when: float, what: str, worker: int, number: int = 0) -> None:
            heapq.heappush(events, (when, next(order), what, worker, number))

        while True:
            while queue and not waiting:
                if pause := pace.wait_s():
                    waiting = True
                    later(self.now + pause, "turn", -1)
                    break
                worker = queue.popleft()
                if attempts[worker]:
                    self.turns.append((refused_at[worker], self.now))
                later(self.now + self.latency_s / 2, "arrives", worker, pace.start_call())
            when, _, what, worker, number = heapq.heappop(events)
            if when > seconds:
                return self
            self.now = when
            back = self.now + self.latency_s / 2 * (0.9 + 0.2 * chance.random())
            if what == "turn":
                waiting = False
            elif what == "wants":
                queue.append(worker)
            elif what == "arrives":
                out = any(begins <= self.now < ends for begins, ends in self.outages)
                if out or chance.random() < self.refuses or not self.limit.allows(self.now):
                    later(back, "refused", worker, number)
                else:
                    busy_s = max(0.0, free_at - self.now) + self.service_s
                    free_at = self.now + busy_s
                    later(back + busy_s, "answered", worker, number)
            elif what == "answered":
                pace.record(number, Done(None))
                self.taken += 1
                attempts[worker] = 0
                queue.append(worker)
                if self.taken == calls:
                    return self
            else:
                self.refused += 1
                attempts[worker] += 1
                refused_at[worker] = self.now
                pace.record(number, Retry("it answered 429", self.retry_after_s, slow_down=True))
                later(
                    self.now + delay_s(attempts[worker], policy, chance.random(), self.retry_after_s), "wants", worker
                )

    @property
    def share(self) -> float:
        return self.refused / (self.refused + self.taken)


CALLS = 1300
"""Of 300 small files."""


def time_of(crowd: Crowd) -> float:
    return crowd.run(calls=CALLS).now


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("workers", "latency_s"), [(16, 0.01), (64, 0.005), (64, 0.03), (64, 0.2), (256, 0.5)])
@pytest.mark.parametrize(
    ("refuses", "retry_after_s", "most"),
    [(0.01, None, 1.5), (0.03, None, 2), (0.05, None, 2), (0.1, None, 3), (0.03, 1.0, 5), (0.05, 1.0, 8)],
)
def test_refusals_at_any_rate_cost_little(
    refuses: float, retry_after_s: float | None, most: float, workers: int, latency_s: float, seed: int
) -> None:
    undisturbed = time_of(Crowd(workers=workers, latency_s=latency_s))
    crowd = Crowd(workers=workers, latency_s=latency_s, refuses=refuses, retry_after_s=retry_after_s, seed=seed)
    assert time_of(crowd) <= most * undisturbed


@pytest.mark.parametrize("per_s", [50, 500])
@pytest.mark.parametrize("limit", ["a second's burst", "a tenth's burst", "each second"])
@pytest.mark.parametrize(("workers", "latency_s"), [(64, 0.03), (32, 0.005), (64, 0.1)])
@pytest.mark.parametrize("retry_after_s", [None, 0.1, 1.0])
def test_a_limit_is_used_and_not_exceeded(
    per_s: int, limit: str, workers: int, latency_s: float, retry_after_s: float | None
) -> None:
    servers: dict[str, Limit] = {
        "a second's burst": Bucket(per_s, per_s),
        "a tenth's burst": Bucket(per_s, per_s / 10),
        "each second": EachSecond(per_s),
    }
    seconds = 40.0
    crowd = Crowd(servers[limit], workers, latency_s, retry_after_s=retry_after_s).run(seconds=seconds)
    possible = min(per_s, workers / (latency_s + 1 / 1200)) * seconds
    assert crowd.taken >= 0.8 * possible
    # The first call of each caller starts before there is an answer.
    assert crowd.refused - workers <= 0.1 * (crowd.taken + crowd.refused)


@pytest.mark.parametrize("per_s", [2, 5])
@pytest.mark.parametrize("workers", [1, 8, 64])
def test_a_low_limit_is_used_and_hardly_exceeded(per_s: int, workers: int) -> None:
    seconds = 120.0
    crowd = Crowd(Bucket(per_s, per_s), workers).run(seconds=seconds)
    # The first calls cannot know the limit.
    assert crowd.refused <= workers + 0.25 * crowd.taken
    assert crowd.taken >= 0.75 * per_s * seconds


def test_a_limit_is_found_despite_refusals_at_any_rate() -> None:
    crowd = Crowd(Bucket(50, 50), refuses=0.05).run(seconds=60)
    assert crowd.taken >= 0.75 * 50 * 60
    assert crowd.share <= 0.2


def test_the_rate_follows_a_limit_that_changes() -> None:
    bucket = Bucket(500, 50)
    crowd = Crowd(bucket, workers=64)

    class Changing:
        def allows(self, now: float) -> bool:
            bucket.per_s = 500 if now < 20 or now >= 50 else 100
            return bucket.allows(now)

    crowd.limit = Changing()
    crowd.run(seconds=100)
    assert crowd.taken >= 0.75 * (20 * 500 + 30 * 100 + 50 * 500)
    assert crowd.share <= 0.1


def test_a_limit_that_is_lifted_is_forgotten() -> None:
    bucket = Bucket(50, 50)

    class Lifted:
        def allows(self, now: float) -> bool:
            return now >= 10 or bucket.allows(now)

    crowd = Crowd(Lifted()).run(seconds=25)
    # In the last seconds, only the server's speed limits the rate.
    assert crowd.taken > 10 * 50 * 0.8 + 5 * 1000
    assert (crowd.pace.per_s or FASTEST_PER_S) >= 1000


@pytest.mark.parametrize("outage_s", [0.05, 0.3, 1.0])
def test_the_rate_recovers_soon_after_an_outage(outage_s: float) -> None:
    undisturbed = Crowd().run(calls=10 * CALLS).now
    crowd = Crowd(outages=[(1.0, 1.0 + outage_s), (4.0, 4.0 + outage_s)]).run(calls=10 * CALLS)
    # A caller that was refused during the whole outage waits for up to as long again.
    assert crowd.now <= undisturbed + 2 * (2 * outage_s + 4)


@pytest.mark.parametrize("refuses", [0.05, 0.2])
def test_every_refused_call_waits_for_its_retry_after(refuses: float) -> None:
    crowd = Crowd(Bucket(200, 20), refuses=refuses, retry_after_s=1.5).run(seconds=20)
    assert crowd.turns
    assert all(again - refused >= 1.5 - 1e-9 for refused, again in crowd.turns)


# The calls are sequential.


@dataclass
class Time:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


REFUSED = Retry("it answered 429", slow_down=True)


def refused(pace: Pace, times: int, retry_after_s: float | None = None) -> None:
    for number in [pace.start_call() for _ in range(times)]:
        pace.record(number, Retry("it answered 429", retry_after_s, slow_down=True))


def test_a_pace_without_refusals_never_waits() -> None:
    pace = Pace(Time())
    for _ in range(500):
        assert pace.wait_s() == 0
        pace.record(pace.start_call(), Done(None))
    assert pace.free


def test_single_refusals_delay_only_the_refused_call() -> None:
    time = Time()
    pace = Pace(time)
    for turn in range(2000):
        time.now += 0.001
        number = pace.start_call()
        pace.record(number, Retry("it answered 503", 60.0, slow_down=True) if turn % 20 == 0 else Done(None))
        assert pace.free


def test_all_calls_wait_if_most_are_refused_with_a_retry_after() -> None:
    time = Time()
    pace = Pace(time)
    refused(pace, 2 * RECENT_CALLS, retry_after_s=7)
    assert pace.wait_s() == pytest.approx(7)
    time.now += 7.001
    assert pace.wait_s() == 0
    assert 0 < pace.wait_s() <= 0.1


def test_a_refused_burst_lowers_the_rate_once() -> None:
    pace = Pace(Time())
    numbers = [pace.start_call() for _ in range(64)]
    for number in numbers[:12]:
        pace.record(number, REFUSED)
    lowered = pace.per_s
    assert lowered is not None
    for number in numbers[12:]:
        pace.record(number, REFUSED)
    assert pace.per_s == lowered


def test_the_rate_has_a_lower_bound() -> None:
    time = Time()
    pace = Pace(time)
    for _ in range(60):
        time.now += 10
        refused(pace, 8)
    assert pace.per_s == pytest.approx(SLOWEST_PER_S)


def test_server_failures_do_not_change_the_rate() -> None:
    pace = Pace(Time())
    for _ in range(200):
        pace.record(pace.start_call(), Retry("it answered 500"))
    assert pace.free


def test_an_error_of_the_call_counts_as_an_accepted_call() -> None:
    from metalake_sync.errors import LakeRejected

    pace = Pace(Time())
    for turn in range(200):
        pace.record(pace.start_call(), REFUSED if turn % 20 == 0 else Fail(LakeRejected("no", status=404)))
    assert pace.free
