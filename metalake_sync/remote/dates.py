"""Parses dates in a lake's answers. Their form is not specified, because the vendor's clients do not read them.

Must not: guess. An unreadable date becomes an empty text, which comparisons ignore.
"""

from __future__ import annotations

from datetime import UTC, datetime

_LARGEST_SECONDS = 100_000_000_000
"""Larger numbers are milliseconds."""


def sortable_date(value: object) -> str:
    """Return a date as text that sorts by time, such as 2026-01-31T12:00:00.000Z, or '' if it is unreadable.

    Accepts ISO 8601, seconds and milliseconds since 1970 as numbers or digits, and {"$date": …} with any of these. A
    date without a time zone is UTC.
    """
    try:
        moment = _moment(value)
    except (ValueError, OverflowError, OSError):
        return ""
    if moment is None:
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(value: object) -> datetime | None:
    if isinstance(value, dict):
        inner = value.get("$date", value.get("$numberLong"))
        return _moment(inner) if inner is not None else None
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text.isdecimal():
            moment = datetime.fromisoformat(text)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        value = int(text)
    if not isinstance(value, int | float):
        return None
    return datetime.fromtimestamp(value / 1000 if abs(value) > _LARGEST_SECONDS else value, UTC)
