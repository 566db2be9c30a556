"""When to try again, and how long to wait before. Arithmetic only: no clock, no sleep, no dice of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""What a later try may mend: time-outs, too early, too many, and a server that fails."""

INVALID_ANSWERS_TAKEN = 3
"""An answer that is no JSON may be a proxy's; so many in a row are the lake's own."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`give_up_after_s`: patience of one call, in seconds, from its first try. `base_s`: the first pause is up to that
    long; pauses double up to `cap_s`."""

    give_up_after_s: float = 900.0
    base_s: float = 0.25
    cap_s: float = 30.0


def delay_s(attempt: int, policy: RetryPolicy, unit_random: float, retry_after_s: float | None) -> float:
    """The pause before the next try: full jitter over a growing range, but never shorter than the server asked for.

    `attempt`: how many tries have failed, from 1. `unit_random`: 0 to 1. Source of full jitter: AWS Architecture Blog,
    "Exponential Backoff And Jitter".
    """
    ceiling = min(policy.cap_s, policy.base_s * 2.0 ** min(attempt - 1, 30))
    return max(ceiling * unit_random, retry_after_s or 0.0)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """A Retry-After header in seconds from now; both its forms are taken, nonsense is None."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
