"""How things read on a terminal: sizes, durations, and names that could hold anything."""

from __future__ import annotations

import re

_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#(?:\[|vso\[|teamcity\[))")


def shown(text: str) -> str:
    """Text that is safe to print: control characters, escapes, bytes that are no UTF-8, and the beginnings of commands
    that a CI system would take from its log (`::error::`, `##[group]`) stand as \\x.. codes."""
    if not text.isprintable():
        text = "".join(
            char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")
            for char in text
        )
    if "##" in text or "::" in text:
        text = _COMMAND.sub(lambda match: f"{match[1] or ''}\\x{ord(match[0][-1]):02x}", text)
    return text


def for_logs(document: str) -> str:
    """A JSON text in which no CI system finds a command. It holds the same values."""
    return document.replace("##", "#\\u0023") if "##" in document else document


def size(size_bytes: float) -> str:
    """Bytes in decimal units: 48200000 reads '48.2 MB'."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size_bytes /= 1000
        if size_bytes < 999.95 or unit == "TB":
            return f"{size_bytes:.1f} {unit}"
    raise AssertionError("the last unit returns")


def duration(seconds: float) -> str:
    """Seconds as people say them: '8.2 s', '3 min 20 s', '2 h 5 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: '1 file', '2 files'."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
