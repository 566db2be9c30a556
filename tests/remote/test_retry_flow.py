"""The retry flow as both HTTP drivers step through it: which steps it yields, and what it reports to the rate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from metalake_sync.errors import LakeRejected, LakeUnreachable
from metalake_sync.remote.classify import Done, Fail, Outcome, Retry, Server
from metalake_sync.remote.pacing import RECENT_CALLS, Pace
from metalake_sync.remote.retry import (
    Attempt,
    Clock,
    Pause,
    RetryPolicy,
    RetryState,
    Step,
    WaitForTurn,
    retry_flow,
)

REFUSED = Retry("it answered 429", 3.0, slow_down=True)
CLOCK = Clock(now_s=lambda: 100.0, unit_random=lambda: 1.0, wall=lambda: datetime(2026, 1, 31, tzinfo=UTC))


class Rate(Pace):
    """A rate that records its outcomes."""

    def __init__(self) -> None:
        super().__init__(CLOCK.now_s)
        self.recorded: list[object] = []

    def record(self, number: int, outcome: Outcome[object]) -> None:
        self.recorded.append((number, outcome))
        super().record(number, outcome)


def state(policy: RetryPolicy) -> RetryState:
    return RetryState(policy, CLOCK, Server("the lake", "https://lake.example"))


def run(
    rate: Pace, results: Sequence[Outcome[str] | Exception], failed: list[None] | None = None
) -> tuple[list[Step], str]:
    """Drive a call whose attempts end with `results`; classification returns them unchanged."""

    def classify(received: Outcome[str] | Exception) -> Outcome[str]:
        return Retry("connection reset") if isinstance(received, Exception) else received

    left = iter(results)
    note = failed if failed is not None else []
    flow = retry_flow(rate, state(RetryPolicy(base_s=4)), CLOCK, classify, lambda: note.append(None))
    steps: list[Step] = []
    received: Outcome[str] | Exception | None = None
    while True:
        try:
            step = flow.send(received)
        except StopIteration as finished:
            return steps, finished.value
        steps.append(step)
        received = next(left) if isinstance(step, Attempt) else None


def test_a_call_is_attempted_with_pauses_until_it_succeeds() -> None:
    failed: list[None] = []
    steps, answer = run(Rate(), [OSError(), REFUSED, Done("answer")], failed)
    assert answer == "answer"
    assert [type(step) for step in steps] == [Attempt, Pause, Attempt, Pause, Attempt]
    assert [step.seconds for step in steps if isinstance(step, Pause)] == [4.0, 8.0]
    # A refusal concerns the rate and does not count as a failure.
    assert len(failed) == 1


def test_responses_are_reported_to_the_rate_once_and_broken_connections_are_not() -> None:
    rate = Rate()
    run(rate, [OSError(), REFUSED, Done("answer")])
    assert rate.recorded == [(2, REFUSED), (3, Done("answer"))]
    attempt = Attempt(rate)
    attempt.record(Done(None))
    attempt.record(REFUSED)
    assert rate.recorded[2:] == [(4, Done(None))]


def test_a_final_outcome_raises_its_error_after_one_attempt() -> None:
    rate = Rate()
    rejection = LakeRejected("no such file", status=404)
    with pytest.raises(LakeRejected, match="no such file"):
        run(rate, [Fail(rejection), Done("never sent")])
    assert rate.recorded == [(1, Fail(rejection))]


def test_a_limited_rate_makes_the_call_wait_before_its_attempt() -> None:
    rate = Rate()
    for number in [rate.start_call() for _ in range(2 * RECENT_CALLS)]:
        rate.record(number, REFUSED)
    steps, _ = run(rate, [Done("answer")])
    assert [type(step) for step in steps] == [WaitForTurn, Attempt]
    with pytest.raises(LakeUnreachable, match="asks for 3 s without calls"):
        next(WaitForTurn(rate, state(RetryPolicy(give_up_after_s=2))).pauses())


def test_progress_starts_the_retry_timeout_again() -> None:
    tries = state(RetryPolicy(base_s=4))
    assert [tries.pause_s(Retry("reset")) for _ in range(2)] == [4, 8]
    tries.restart()
    assert tries.pause_s(Retry("reset")) == 4
