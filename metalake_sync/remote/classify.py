"""Classifies what one attempt of a call brought: done, worth another attempt, or final.

Owns: which statuses, answers and connection errors are final. Both HTTP clients use these functions, so they cannot
disagree. Must not: do I/O, sleep, or read a clock; the caller passes the time.
"""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Generic, TypeAlias, TypeVar

from pydantic import BaseModel

from metalake_sync.errors import LakeAnswerInvalid, LakeUnreachable, SyncError
from metalake_sync.protocol.routes import Route
from metalake_sync.redaction import causes, describe
from metalake_sync.remote.answers import Differs, read_answer

AnswerT = TypeVar("AnswerT")
ModelT = TypeVar("ModelT", bound=BaseModel)

RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that a later attempt may not get: timeouts, too early, too many requests, and server failures."""

REFUSAL_STATUSES = frozenset({429, 503})
"""With these, a server asks for fewer calls."""

RETRY_AFTER_LIMIT_S = 120.0
"""The longest Retry-After that is honored, in seconds: the server's clock or the local one may be wrong."""

NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"})
"""OpenSSL's reasons for a server without TLS, or with insecure versions only. Another attempt cannot help."""


@dataclass(frozen=True, slots=True)
class Server:
    """The destination of a call, as error messages show it."""

    name: str
    """Used within sentences: "the lake" or "the store"."""
    address: str
    """Precedes the message."""


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A response as it came over the wire."""

    status: int
    body: bytes
    retry_after: str | None = None
    """The Retry-After header."""


@dataclass(frozen=True, slots=True)
class Done(Generic[AnswerT]):
    """The call succeeded."""

    answer: AnswerT


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt may succeed."""

    reason: str
    retry_after_s: float | None = None
    """The wait in seconds that the server asks for."""
    slow_down: bool = False
    """The server refused the call (429, 503): it asks for fewer calls."""
    invalid: LakeAnswerInvalid | None = None
    """The answer could not be read. This is the error to raise if that happens repeatedly."""


@dataclass(frozen=True, slots=True)
class Fail:
    """No other attempt can succeed."""

    error: SyncError


Outcome: TypeAlias = Done[AnswerT] | Retry | Fail


def classify_status(status: int, retry_after: str | None, now: datetime) -> Retry | None:
    """Classify a status from any server. Returns None if the body decides."""
    if status not in RETRY_STATUSES:
        return None
    return Retry(f"it answered {status}", parse_retry_after(retry_after, now), slow_down=status in REFUSAL_STATUSES)


def classify_response(
    route: Route[ModelT], response: RawResponse, now: datetime, differs: Differs = lambda _: None
) -> Outcome[ModelT | None]:
    """Classify a lake's response to a call. `differs` receives each deviation from the known form of the answer."""
    retry = classify_status(response.status, response.retry_after, now)
    if retry is not None:
        return retry
    try:
        return Done(read_answer(route, response.status, response.body, differs))
    except LakeAnswerInvalid as error:
        return Fail(error) if 300 <= response.status < 400 else Retry(error.message, invalid=error)
    except SyncError as error:
        return Fail(error)


def classify_failure(server: Server, error: Exception) -> Retry | Fail:
    """Classify an attempt without a response. `error` is the HTTP library's; no address in it is passed on."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = getattr(cause, "verify_message", "") or "it is not valid"
            return Fail(
                LakeUnreachable(
                    f"the certificate of {server.name} is not accepted ({why.rstrip('.')})",
                    where=server.address,
                    remedy="If your own CA signed it, name that CA: 'remote.ca_file' in the manifest, or "
                    "SSL_CERT_FILE in the environment.",
                )
            )
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None) in NO_TLS:
            return Fail(
                LakeUnreachable(
                    f"{server.name} does not support a secure TLS version ({cause.reason.lower().replace('_', ' ')})",
                    where=server.address,
                    remedy="Check the address and its port.",
                )
            )
    # Both libraries report a malformed address as a ValueError.
    if isinstance(error, ValueError):
        return Fail(
            LakeUnreachable(
                f"the address of {server.name} is not a valid URL",
                where=server.address,
                remedy="Correct 'remote.url'.",
            )
        )
    return Retry(describe(error))


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Parse a Retry-After header, seconds or a date, into seconds from `now`, from 0 to RETRY_AFTER_LIMIT_S.

    Returns None for anything else.
    """
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
