"""What an answer means: done, once more after a while, or over. Both clients ask here, so that they can't disagree.

Pure: no I/O, no sleep, and no clock but the one that is handed in.
"""

from __future__ import annotations

import math
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar

from pydantic import BaseModel

from metalake_sync.errors import LakeAnswerInvalid, LakeUnreachable, SyncError
from metalake_sync.protocol.routes import Route
from metalake_sync.remote.answers import Differs, read_answer
from metalake_sync.remote.redaction import causes, describe

AnswerT = TypeVar("AnswerT")
ModelT = TypeVar("ModelT", bound=BaseModel)

RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""What a later try may mend: time-outs, too early, too many, and a server that fails."""

SLOW_DOWN_STATUSES = frozenset({429, 503})

INVALID_ANSWERS_TAKEN = 3
"""An answer that is no JSON may be a proxy's; so many in a row are the lake's own."""

RETRY_AFTER_LIMIT_S = 120.0
"""A server that wants to be left alone for longer is asked again after this: its clock or ours may be wrong."""

NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"})
"""Reasons of OpenSSL for a server that speaks no TLS, or none that is still safe. No later try mends that."""


TOLD_AFTER_S = 5.0
"""A call that fails for so long is told of: until then it may be a hiccup."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`give_up_after_s`: patience of one call, in seconds, from its first failure. `base_s`: the first pause is up to
    that long; pauses double up to `cap_s`. `waiting`: told, in a sentence and from any thread, that a call goes on
    trying."""

    give_up_after_s: float = 900.0
    base_s: float = 0.25
    cap_s: float = 30.0
    waiting: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, replaced in tests."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    unit_random: Callable[[], float] = random.random
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Server:
    """Whom a call goes to. `name` goes into sentences, `address` stands before them."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class RawResponse:
    """An answer as it came over the wire."""

    status: int
    body: bytes
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Done(Generic[AnswerT]):
    """The call is through."""

    answer: AnswerT


@dataclass(frozen=True, slots=True)
class Again:
    """Another try may help. `slow_down`: the server asked for fewer calls. `invalid`: the answer could not be read, and
    this is the error if it stays so."""

    reason: str
    retry_after_s: float | None = None
    slow_down: bool = False
    invalid: LakeAnswerInvalid | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No other try helps."""

    error: SyncError


def judge_status(status: int, retry_after: str | None, now: datetime) -> Again | None:
    """What a status means for any server; None where its answer has to be looked at."""
    if status not in RETRY_STATUSES:
        return None
    slow_down = status in SLOW_DOWN_STATUSES
    return Again(f"it answered {status}", parse_retry_after(retry_after, now), slow_down=slow_down)


def judge_status_alone(heard: RawResponse, now: datetime) -> Done[RawResponse] | Again:
    """Whether there is an answer at all, whatever it says."""
    return judge_status(heard.status, heard.retry_after, now) or Done(heard)


def judge_answer(
    route: Route[ModelT], heard: RawResponse, now: datetime, differs: Differs = lambda _: None
) -> Done[ModelT | None] | Again | GiveUp:
    """What a lake's answer to a call means. `differs`: receives what is unlike the form that we know."""
    again = judge_status(heard.status, heard.retry_after, now)
    if again is not None:
        return again
    try:
        return Done(read_answer(route, heard.status, heard.body, differs))
    except LakeAnswerInvalid as error:
        return GiveUp(error) if 300 <= heard.status < 400 else Again(error.message, invalid=error)
    except SyncError as error:
        return GiveUp(error)


def judge_break(server: Server, error: Exception) -> Again | GiveUp:
    """What it means that there was no answer. `error`: the library's; its address goes nowhere."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = getattr(cause, "verify_message", "") or "it is not valid"
            return GiveUp(
                LakeUnreachable(
                    f"the certificate of {server.name} is not accepted ({why.rstrip('.')})",
                    where=server.address,
                    remedy="If a CA of your own signed it, name that CA: 'remote.ca_file' in the manifest, or "
                    "SSL_CERT_FILE in the environment.",
                )
            )
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None) in NO_TLS:
            return GiveUp(
                LakeUnreachable(
                    f"{server.name} speaks no TLS that is safe ({cause.reason.lower().replace('_', ' ')})",
                    where=server.address,
                    remedy="Check the address and its port.",
                )
            )
    # Both libraries call an address that is none a ValueError.
    if isinstance(error, ValueError):
        return GiveUp(
            LakeUnreachable(
                f"the address of {server.name} can't be used", where=server.address, remedy="Correct 'remote.url'."
            )
        )
    return Again(describe(error))


class RetryState:
    """The tries of one call: how many failed, for how long, and whether there is to be another."""

    def __init__(self, policy: RetryPolicy, clock: Clock, server: Server) -> None:
        self._policy = policy
        self._clock = clock
        self._server = server
        self._failing_since = 0.0
        self._failures = 0
        self._invalid = 0

    def pause_s(self, again: Again | GiveUp) -> float:
        """How long to wait before the next try. Raises what there is to give up with: also LakeUnreachable when
        patience is over, LakeAnswerInvalid when answers stay unreadable."""
        if isinstance(again, GiveUp):
            raise again.error
        now = self._clock.now_s()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        if again.invalid is not None:
            self._invalid += 1
            if self._invalid >= INVALID_ANSWERS_TAKEN:
                raise again.invalid
        pause = delay_s(self._failures, self._policy, self._clock.unit_random(), again.retry_after_s)
        waited = now - self._failing_since
        if waited + pause > self._policy.give_up_after_s:
            asked = f"; it asks for {again.retry_after_s:.0f} s without calls" if again.retry_after_s else ""
            raise LakeUnreachable(
                f"{self._server.name} could not be reached ({again.reason}), after {self._failures} tries in "
                f"{waited:.0f} s{asked}",
                where=self._server.address,
                remedy="Check the address and the network; what was finished is recorded, so apply again later.",
            )
        if self._policy.waiting is not None and waited + pause > TOLD_AFTER_S:
            left = self._policy.give_up_after_s - waited
            what = f"{self._server.address}: {self._server.name} can't be reached ({again.reason})"
            self._policy.waiting(f"{what}; trying again for another {left:.0f} s")
        return pause

    def hold(self, pause_s: float) -> None:
        """The server asked everybody to wait. Raises LakeUnreachable where that is longer than patience."""
        if pause_s > self._policy.give_up_after_s:
            raise LakeUnreachable(
                f"{self._server.name} asks for {pause_s:.0f} s without calls",
                where=self._server.address,
                remedy="Apply again later; what was finished is recorded.",
            )


def delay_s(attempt: int, policy: RetryPolicy, unit_random: float, retry_after_s: float | None) -> float:
    """The pause before the next try: full jitter over a growing range, but never shorter than the server asked for.

    `attempt`: how many tries have failed, from 1. `unit_random`: 0 to 1. Source of full jitter: AWS Architecture Blog,
    "Exponential Backoff And Jitter".
    """
    ceiling = min(policy.cap_s, policy.base_s * 2.0 ** min(attempt - 1, 30))
    return max(ceiling * unit_random, retry_after_s or 0.0)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """A Retry-After header in seconds from now, 0 to RETRY_AFTER_LIMIT_S; both its forms are taken, nonsense is
    None."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
        except (ValueError, OverflowError):
            return None
    return min(RETRY_AFTER_LIMIT_S, max(0.0, seconds)) if math.isfinite(seconds) else None
