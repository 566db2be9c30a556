"""Removes credentials and signed URLs from texts of libraries and tracebacks, before they are logged or printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_QUERY = re.compile(r"(https?://[^\s'\"?#<>]+)\?[^\s'\"<>]*")
_AUTHORIZATION = re.compile(r"(Basic|Bearer)\s+[A-Za-z0-9+/=_.~-]+", re.IGNORECASE)
_HOST = re.compile(r"^(https?://)[^/@]*@")

_ASSIGNED = re.compile(
    r"((?:token|passw(?:or)?d|passphrase|secret|credential|api[ _-]?key|key)s?[\"']?\s*[:=]\s*)\S+", re.IGNORECASE
)
_OPAQUE = re.compile(r"(?<![\w./-])(?=[\w+=~-]*[0-9])(?=[\w+=~-]*[A-Za-z])[\w+=~-]{20,}")

REDACTED = "…"


def redact(text: str) -> str:
    """Replace the queries of URLs, which may contain a signature, and authorization values in a text."""
    return _AUTHORIZATION.sub(rf"\1 {REDACTED}", _QUERY.sub(rf"\1?{REDACTED}", _HOST.sub(r"\1", text)))


def redact_output(text: str, secrets: Iterable[str]) -> str:
    """Return what a command wrote to standard error, without what may be a credential.

    Replaces the `secrets`, values of names such as token or password, and long words that mix letters and digits.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _OPAQUE.sub(REDACTED, _ASSIGNED.sub(rf"\1{REDACTED}", redact(text)))


def describe(error: BaseException) -> str:
    """Describe a library's error without any address: the system's message, or else the kind of error."""
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower() if cause.strerror.isascii() else cause.strerror
        if isinstance(cause, TimeoutError):
            return "timeout"
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__)
    return kind.lower().removesuffix(" error")


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, nearest first."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__ or _reason(cause)


def _reason(error: BaseException) -> BaseException | None:
    """Return the cause that requests and urllib3 keep in an argument."""
    for held in (getattr(error, "reason", None), *error.args):
        if isinstance(held, BaseException):
            return held
    return None
