"""Removes credentials and signed URLs from texts of libraries and tracebacks, before they are logged or printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_QUERY = re.compile(r"(https?://[^\s'\"?#<>]+)\?[^\s'\"<>]*")
_AUTHORIZATION = re.compile(r"(Basic|Bearer)\s+[A-Za-z0-9+/=_.~-]+", re.IGNORECASE)
_HOST = re.compile(r"^(https?://)[^/@]*@")

_NAMES = r"(?:token|pass(?:w(?:or)?d|phrase|wd)?|pwd|secret|credential|api[ _-]?key|(?:access|private)[ _-]?key|key)s?"
_ASSIGNED = re.compile(rf"({_NAMES}[\"']?\s*[:=]\s*)\S+", re.IGNORECASE)
_OPTION = re.compile(rf"(--?(?:[\w-]*-)?{_NAMES}\s+)[^\s-]\S*", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [^-\n]+-----.*?(?:-----END [^-\n]+-----|\Z)", re.DOTALL)
_OPAQUE = re.compile(r"(?<![\w./-])(?=[\w+=~-]*[0-9])(?=[\w+=~-]*[A-Za-z])[\w+=~-]{20,}")
_BASE64 = re.compile(r"(?<![\w./+=-])(?=[\w/+=]*[0-9])(?=[\w/+=]*[a-z])(?=[\w/+=]*[A-Z])[\w+][\w/+=]{31,}")

REDACTED = "…"

USER_OF_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^/\s]*@|[^/\s:@]*:[^\s@]*@)")
"""The scheme of a URL, with the user and the password that follow it."""


def redact(text: str) -> str:
    """Replace the queries of URLs, which may contain a signature, and authorization values in a text."""
    return _AUTHORIZATION.sub(rf"\1 {REDACTED}", _QUERY.sub(rf"\1?{REDACTED}", _HOST.sub(r"\1", text)))


def redact_output(text: str, secrets: Iterable[str]) -> str:
    """Return what a command wrote to standard error, without what may be a credential.

    Replaces the `secrets`, values of names and options such as token or password, users of addresses, keys in PEM form,
    and long words that mix letters and digits.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    text = USER_OF_URL.sub(rf"\1{REDACTED}@", _PEM.sub(REDACTED, redact(text)))
    text = _OPTION.sub(rf"\1{REDACTED}", _ASSIGNED.sub(rf"\1{REDACTED}", text))
    return _OPAQUE.sub(REDACTED, _BASE64.sub(REDACTED, text))


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
