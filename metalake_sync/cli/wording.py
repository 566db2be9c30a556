"""Text for a terminal: sizes, durations, and names with any characters.

Owns: the formatting. Must not: print.
"""

from __future__ import annotations

import re

_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#(?:\[|vso\[|teamcity\[))")


def shown(text: str) -> str:
    """Return text that is safe to print.

    Control characters, escape sequences, bytes that are not UTF-8, and the start of commands that a CI system would
    execute from its log (`::error::`, `##[group]`) become \\x.. codes.
    """
    if not text.isprintable():
        text = "".join(
            char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")
            for char in text
        )
    if "##" in text or "::" in text:
        text = _COMMAND.sub(lambda match: f"{match[1] or ''}\\x{ord(match[0][-1]):02x}", text)
    return text


def for_logs(document: str) -> str:
    """Return an equal JSON document in which CI systems find no command."""
    return document.replace("##", "#\\u0023") if "##" in document else document


def size(size_bytes: float) -> str:
    """Return a number of bytes in decimal units: '48.2 MB' for 48200000."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size_bytes /= 1000
        if size_bytes < 999.95 or unit == "TB":
            return f"{size_bytes:.1f} {unit}"
    raise AssertionError("the last unit returns")


def duration(seconds: float) -> str:
    """Return a duration as text: '8.2 s', '3 min 20 s', '2 h 5 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: '1 file', '2 files'."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
