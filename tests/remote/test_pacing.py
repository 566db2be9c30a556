"""Keeping step with a server, in a time of its own: a lake that allows so many calls, and those who call it."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import pytest

from metalake_sync.remote.pacing import BACK_OFF, FASTEST_PER_S, FIRST_PER_S, QUICK, SLOWEST_PER_S, Pace
from metalake_sync.remote.retry import Again, Done, RetryPolicy, delay_s


@dataclass
class Time:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def gap_s(pace: Pace, time: Time) -> float:
    """How long after a turn the next one is."""
    while pause := pace.wait_s():
        time.now += pause
    return pace.wait_s()


def test_a_pace_that_nobody_complained_of_never_waits() -> None:
    pace = Pace(Time())
    assert [pace.wait_s() for _ in range(5)] == [0] * 5
    assert pace.free


def test_after_too_many_everyone_waits_and_calls_are_spread() -> None:
    time = Time()
    pace = Pace(time)
    pace.too_many(pace.round, retry_after_s=3)
    assert pace.wait_s() == pytest.approx(3)
    time.now += 3.001
    assert pace.wait_s() == 0
    assert pace.wait_s() == pytest.approx(1 / FIRST_PER_S)


def test_a_burst_that_is_refused_is_one_complaint() -> None:
    time = Time()
    pace = Pace(time)
    rounds = [pace.round for _ in range(64)]
    for set_out_in in rounds:
        pace.too_many(set_out_in, None)
    assert gap_s(pace, time) == pytest.approx(1 / FIRST_PER_S)
    for set_out_in in [pace.round] * 64:
        pace.too_many(set_out_in, None)
    assert gap_s(pace, time) == pytest.approx(1 / (BACK_OFF * FIRST_PER_S))


def test_a_late_complaint_of_an_old_burst_still_holds_everybody_back() -> None:
    pace = Pace(Time())
    old = pace.round
    pace.too_many(old, None)
    pace.too_many(old, retry_after_s=7)
    assert pace.wait_s() == pytest.approx(7)


def test_the_first_complaint_lowers_the_rate_to_a_part_of_what_went_well() -> None:
    time = Time()
    pace = Pace(time)
    for _ in range(40):
        pace.went_well()
    pace.too_many(pace.round, None)
    assert gap_s(pace, time) == pytest.approx(1 / (BACK_OFF * 40))


def test_the_rate_has_a_bound_below_and_success_takes_the_limit_away() -> None:
    time = Time()
    pace = Pace(time)
    for _ in range(50):
        pace.too_many(pace.round, None)
    assert gap_s(pace, time) == pytest.approx(1 / SLOWEST_PER_S)
    time.now += 10
    for _ in range(int(FASTEST_PER_S / QUICK) + 200):
        pace.went_well()
    assert pace.free


def test_a_server_that_fails_says_nothing_about_its_rate() -> None:
    pace = Pace(Time())
    pace.heard(pace.round, Again("it answered 500"))
    assert pace.free
    pace.heard(pace.round, Again("it answered 429", slow_down=True))
    assert not pace.free


@dataclass
class Crowd:
    """Workers that call a lake of `allowed_per_s` through one pace, as the clients do: each has one call at a time, and
    an answer takes `answer_s`."""

    allowed_per_s: float
    workers: int
    answer_s: float = 0.03
    taken: int = 0
    refused: int = 0
    time: Time = field(default_factory=Time)

    def run(self, seconds: float) -> None:
        """Everything happens in virtual time: (when, tie-break, what, worker, attempt, round)."""
        pace, policy = Pace(self.time), RetryPolicy()
        tokens, filled_at = self.allowed_per_s, self.time.now
        end = self.time.now + seconds
        queue: list[int] = []
        attempts = [0] * self.workers
        events: list[tuple[float, int, str, int, int]] = []
        count = 0

        def later(when: float, what: str, worker: int, set_out_in: int = 0) -> None:
            nonlocal count
            count += 1
            heapq.heappush(events, (when, count, what, worker, set_out_in))

        for worker in range(self.workers):
            later(self.time.now, "wants", worker)
        waiting = False
        while events and events[0][0] < end:
            self.time.now, _, what, worker, set_out_in = heapq.heappop(events)
            if what == "wants":
                queue.append(worker)
            elif what == "turn":
                waiting = False
            elif what == "taken":
                pace.heard(set_out_in, Done(None))
                attempts[worker] = 0
                later(self.time.now, "wants", worker)
            else:
                pace.heard(set_out_in, Again("it answered 429", slow_down=True))
                attempts[worker] += 1
                pause = delay_s(attempts[worker], policy, (worker % 7 + 1) / 8, None)
                later(self.time.now + pause, "wants", worker)
            while queue and not waiting:
                if pause := pace.wait_s():
                    waiting = True
                    later(self.time.now + pause, "turn", -1)
                    break
                caller = queue.pop(0)
                tokens = min(self.allowed_per_s, tokens + (self.time.now - filled_at) * self.allowed_per_s)
                filled_at = self.time.now
                allowed = tokens >= 1
                tokens -= allowed
                self.taken += allowed
                self.refused += not allowed
                later(self.time.now + self.answer_s, "taken" if allowed else "refused", caller, pace.round)


@pytest.mark.parametrize("allowed_per_s", [2, 5, 50, 300])
@pytest.mark.parametrize("workers", [1, 8, 64])
def test_a_lake_that_allows_so_many_calls_is_not_hammered_and_not_starved(allowed_per_s: int, workers: int) -> None:
    crowd = Crowd(allowed_per_s, workers)
    seconds = 120
    crowd.run(seconds)
    possible = min(allowed_per_s, workers / crowd.answer_s) * seconds
    first_burst = workers
    assert crowd.refused <= first_burst + 0.15 * crowd.taken
    assert crowd.taken >= 0.75 * possible
