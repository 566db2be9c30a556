"""Nothing secret leaves: what texts of libraries and tracebacks may carry is cut out before anyone sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator

_QUERY = re.compile(r"(https?://[^\s'\"?#<>]+)\?[^\s'\"<>]*")
_AUTHORIZATION = re.compile(r"(Basic|Bearer)\s+[A-Za-z0-9+/=_.~-]+", re.IGNORECASE)
_HOST = re.compile(r"^(https?://)[^/@]*@")

REDACTED = "…"


def redact(text: str) -> str:
    """Cut queries of URLs (signed ones carry their signature there) and authorization values out of a text."""
    return _AUTHORIZATION.sub(rf"\1 {REDACTED}", _QUERY.sub(rf"\1?{REDACTED}", _HOST.sub(r"\1", text)))


def describe(error: BaseException) -> str:
    """A library's error in a few words that hold no address: its kind, and the system's words where there are any."""
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower() if cause.strerror.isascii() else cause.strerror
        if isinstance(cause, TimeoutError):
            return "timeout"
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__)
    return words.lower().removesuffix(" error")


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what lies behind it, nearest first."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__ or _reason(cause)


def _reason(error: BaseException) -> BaseException | None:
    """requests and urllib3 keep the cause in an argument."""
    for held in (getattr(error, "reason", None), *error.args):
        if isinstance(held, BaseException):
            return held
    return None
