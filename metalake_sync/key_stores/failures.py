"""What users see when a store fails: one sentence without credentials and without signed URLs.

Owns: the errors that a key store raises, and the text of an SDK's error. Must not: know an SDK.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from pathlib import Path

from metalake_sync.errors import StateCredentialsRejected, StateError, StateUnreachable, SyncError, UsageError
from metalake_sync.redaction import describe, redact

MESSAGE_LIMIT = 300


class Failure(enum.Enum):
    """Why a call failed."""

    UNREACHABLE = "unreachable"
    """No answer, an answer 5xx, or too many calls. A later attempt may succeed."""
    MISSING = "missing"
    """The bucket or the database does not exist."""
    NO_CREDENTIALS = "no credentials"
    CREDENTIALS_REJECTED = "credentials rejected"
    """The store does not accept the credentials, or they do not permit the call."""
    REJECTED = "rejected"
    """The store rejects this call, and would reject it again."""


def failed(why: Failure, detail: str, *, location: str, credentials: str, endpoint: str) -> SyncError:
    """Return the error of a failed call.

    `detail`: a clause without credentials. `credentials` and `endpoint`: how users set them.
    """
    match why:
        case Failure.UNREACHABLE:
            remedy = f"Try again later. Check the network, and {endpoint}."
            return StateUnreachable(
                f"the store did not answer or kept failing ({detail})", where=location, remedy=remedy
            )
        case Failure.MISSING:
            return StateUnreachable(
                f"the bucket or the database does not exist ({detail})",
                where=location,
                remedy="Create it, or fix the address of the state. metalake-sync creates keys in it only.",
            )
        case Failure.NO_CREDENTIALS:
            return UsageError(
                f"the credentials of the store are not set ({detail})", where=location, remedy=f"Set {credentials}."
            )
        case Failure.CREDENTIALS_REJECTED:
            return StateCredentialsRejected(
                f"the store rejected the credentials ({detail})",
                where=location,
                remedy=f"Check {credentials}. They must permit listing, reading, writing and deleting.",
            )
        case Failure.REJECTED:
            return StateError(f"the store rejected a call ({detail})", where=location)


def describe_sdk_error(error: BaseException) -> str:
    """Return the message of an SDK in one line, without URLs, which may be signed, and without authorization values."""
    words = (word for word in redact(str(error)).split() if "://" not in word and "?" not in word)
    return " ".join(words)[:MESSAGE_LIMIT] or describe(error)


def answer(status: int | None, code: str | None) -> str:
    """Describe an answer by its HTTP status and the store's own code. SDKs put signatures into their messages."""
    parts = [code or "" if code != str(status) else "", f"HTTP {status}" if status else ""]
    return ", ".join(part for part in parts if part) or "no code"


def why_status(status: int | None) -> Failure:
    """Return what the HTTP status of an answer means, where the store's own code says no more."""
    if status in (401, 403):
        return Failure.CREDENTIALS_REJECTED
    if status is None or status in (408, 429) or status >= 500:
        return Failure.UNREACHABLE
    return Failure.REJECTED


@contextlib.contextmanager
def local_file(path: Path) -> Iterator[None]:
    """Turn errors of a local file into StateError."""
    try:
        yield
    except OSError as error:
        raise StateError(f"the file cannot be read or written ({describe(error)})", where=str(path)) from None
