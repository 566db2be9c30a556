"""The one retry flow: it decides when a call is attempted, for how long to pause, and when to give up.

`retry_flow` is a generator of steps, as httpx writes its authentication flow. A driver carries the steps out: it sends,
sleeps and waits in line, with threads (`connection`) or in an event loop (`async_calls`). Owns: attempts, pauses, the
retry timeout, Retry-After, and the order of rate limiting and sending. Must not: do I/O or sleep.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from metalake_sync.errors import LakeUnreachable
from metalake_sync.remote.classify import Done, Fail, Outcome, Retry, Server
from metalake_sync.remote.pacing import Pace

ReceivedT = TypeVar("ReceivedT")
AnswerT = TypeVar("AnswerT")

INVALID_ANSWERS_LIMIT = 3
"""An answer that is not JSON may come from a proxy. After this many, the call fails."""

REPORT_AFTER_S = 5.0
"""A call that fails for less than this many seconds is not reported."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long and how often a call is attempted."""

    give_up_after_s: float = 900.0
    """The retry timeout of one call, in seconds from its first failure."""
    base_s: float = 0.25
    """The upper bound of the first pause, in seconds. It doubles with each attempt."""
    cap_s: float = 30.0
    """The upper bound of every pause, in seconds."""
    waiting: Callable[[str], None] | None = None
    """Receives a sentence, from any thread, each time that a call which keeps failing is retried."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and randomness. Tests replace them."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    # Numbers of its own: threads that retry must not disturb other users of the shared generator.
    unit_random: Callable[[], float] = random.Random().random  # noqa: S311
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)


class RetryState:
    """The failed attempts of one call, and whether there is time for another."""

    def __init__(self, policy: RetryPolicy, clock: Clock, server: Server) -> None:
        self._policy = policy
        self._clock = clock
        self._server = server
        self.restart()

    def restart(self) -> None:
        """Forget all failures: the call made progress, so its retry timeout starts again."""
        self._failing_since = 0.0
        self._failures = 0
        self._invalid = 0

    def pause_s(self, outcome: Retry | Fail) -> float:
        """Return how long to pause before the next attempt, in seconds.

        Raises the error of a final outcome, LakeUnreachable after the retry timeout, and LakeAnswerInvalid after
        INVALID_ANSWERS_LIMIT unreadable answers.
        """
        if isinstance(outcome, Fail):
            raise outcome.error
        now = self._clock.now_s()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        if outcome.invalid is not None:
            self._invalid += 1
            if self._invalid >= INVALID_ANSWERS_LIMIT:
                raise outcome.invalid
        pause = delay_s(self._failures, self._policy, self._clock.unit_random(), outcome.retry_after_s)
        failing_s = now - self._failing_since
        if failing_s + pause > self._policy.give_up_after_s:
            asked = f"; it asks for {outcome.retry_after_s:.0f} s without calls" if outcome.retry_after_s else ""
            raise LakeUnreachable(
                f"{self._server.name} could not be reached ({outcome.reason}), after {self._failures} attempts in "
                f"{failing_s:.0f} s{asked}",
                where=self._server.address,
                remedy="Check the address and the network, then apply again. Finished work is recorded.",
            )
        if self._policy.waiting is not None and failing_s + pause > REPORT_AFTER_S:
            left_s = self._policy.give_up_after_s - failing_s
            what = f"{self._server.address}: {self._server.name} cannot be reached ({outcome.reason})"
            self._policy.waiting(f"{what}; retrying for another {left_s:.0f} s")
        return pause

    def check_wait(self, pause_s: float) -> None:
        """Raise LakeUnreachable if the server's pause for all calls is longer than the retry timeout."""
        if pause_s > self._policy.give_up_after_s:
            raise LakeUnreachable(
                f"{self._server.name} asks for {pause_s:.0f} s without calls",
                where=self._server.address,
                remedy="Apply again later. Finished work is recorded.",
            )


@dataclass(frozen=True, slots=True)
class Pause:
    """Step: sleep before the next attempt."""

    seconds: float


class WaitForTurn:
    """Step: wait until the server's rate allows the call.

    Drivers hold one lock per server while they sleep through `pauses`: the first call in line waits for its turn, and
    the others wait for the lock, so that calls start in the order of their arrival.
    """

    __slots__ = ("_pace", "_state")

    def __init__(self, pace: Pace, state: RetryState) -> None:
        self._pace = pace
        self._state = state

    def pauses(self) -> Iterator[float]:
        """Yield seconds to sleep until it is the call's turn. Raises LakeUnreachable if the wait is too long."""
        while pause := self._pace.wait_s():
            self._state.check_wait(pause)
            yield pause


class Attempt:
    """Step: send the request once, and hand back what was received or the exception that the attempt ended with."""

    __slots__ = ("_number", "_pace", "_recorded", "waited_s")

    def __init__(self, pace: Pace, waited_s: float = 0.0) -> None:
        self._pace = pace
        self._number = pace.start_call()
        self._recorded = False
        self.waited_s = waited_s
        """How long the attempt waited for its turn, in seconds."""

    def record(self, outcome: Outcome[Any]) -> None:
        """Report the outcome to the server's rate, once.

        The flow does so. A driver whose body takes long reports as soon as it has the head of the response.
        """
        if not self._recorded:
            self._recorded = True
            self._pace.record(self._number, outcome)


Step: TypeAlias = Pause | WaitForTurn | Attempt


def _ignore() -> None:
    pass


def retry_flow(
    pace: Pace,
    state: RetryState,
    clock: Clock,
    classify: Callable[[ReceivedT | Exception], Outcome[AnswerT]],
    on_failure: Callable[[], None] = _ignore,
) -> Generator[Step, ReceivedT | Exception | None, AnswerT]:
    """Yield the steps of one call, and return its answer.

    The driver sends back what an `Attempt` received, and None after other steps. `on_failure` is called for each
    failed attempt that was not refused for its rate. Raises what `RetryState` raises.
    """
    while True:
        ready = clock.now_s()
        if not pace.free:
            yield WaitForTurn(pace, state)
        attempt = Attempt(pace, clock.now_s() - ready)
        received = yield attempt
        assert received is not None, "the driver hands back what an attempt received"
        outcome = classify(received)
        if not isinstance(received, Exception):
            attempt.record(outcome)
        if isinstance(outcome, Done):
            return outcome.answer
        if not (isinstance(outcome, Retry) and outcome.slow_down):
            on_failure()
        yield Pause(state.pause_s(outcome))


def delay_s(attempt: int, policy: RetryPolicy, unit_random: float, retry_after_s: float | None) -> float:
    """Return the pause before the next attempt, in seconds, with full jitter and never shorter than `retry_after_s`.

    `attempt`: how many attempts failed, from 1. `unit_random`: from 0 to 1. Source of full jitter: AWS Architecture
    Blog, "Exponential Backoff And Jitter".
    """
    ceiling = min(policy.cap_s, policy.base_s * 2.0 ** min(attempt - 1, 30))
    return max(ceiling * unit_random, retry_after_s or 0.0)
