"""Numbers, points and texts of sources, as readers and writers of all formats need them."""

from __future__ import annotations

import marshal
import math
import reprlib
import unicodedata
from collections.abc import Sequence
from typing import Any

from metalake_sync.core.shapes import Point
from metalake_sync.errors import ManifestError


def raw_bytes(value: Any) -> bytes:
    """Return a JSON value as bytes that this process reads back quickly. Equal values have equal bytes: version 2 of
    marshal writes each object out, where later versions write references."""
    return marshal.dumps(value, 2)


def raw_value(raw: bytes) -> Any:
    """Read back what `raw_bytes` wrote."""
    return marshal.loads(raw)  # noqa: S302 - the bytes never leave this process and its own temporary files


def number(value: Any, where: str) -> float:
    """Return a JSON number as a float. Raises ManifestError."""
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ManifestError(f"{shortened(value)} is not a number", where=where, remedy="Write a number.")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def text_number(text: str, where: str) -> float:
    """Return a number that is written as text. `nan` and `inf` are numbers here; the checks of shapes report them.
    Raises ManifestError."""
    try:
        # Python also reads underscores and the digits of other scripts; no annotation tool writes them.
        if "_" in text or not text.isascii():
            raise ValueError
        return float(text)
    except ValueError:
        if "," in text:
            message = f"{shortened(text)} has a comma, and is not a number"
            raise ManifestError(
                message, where=where, remedy="Write numbers with a decimal point, and separate them by blanks."
            ) from None
        raise ManifestError(f"{shortened(text)} is not a number", where=where, remedy="Write a number.") from None


def point_pairs(numbers: list[float]) -> tuple[Point, ...]:
    """Return x1 y1 x2 y2 ... as points."""
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def has_area(points: Sequence[Point]) -> bool:
    """Whether a polygon covers an area: its points are finite, and not all on one line."""
    if len(points) < 3 or not math.isfinite(sum(map(sum, points))):
        return False
    (ax, ay), *others = points
    bx, by = next((other for other in others if other != (ax, ay)), (ax, ay))
    return any((bx - ax) * (y - ay) != (by - ay) * (x - ax) for x, y in others)


def box_around(points: Sequence[Point]) -> list[float]:
    """Return x, y, width and height of the smallest box around all points."""
    across, down = zip(*points, strict=True)
    left, top = min(across), min(down)
    return [left, top, max(across) - left, max(down) - top]


def is_single_line(text: str) -> bool:
    """Whether a text is one line without leading or trailing blanks, and without characters that XML or a text file
    can't hold."""
    return (
        bool(text)
        and text == text.strip()
        and len(text.splitlines()) == 1
        and not any(unicodedata.category(char) in ("Cc", "Cs", "Cn") for char in text)
    )


_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxdict = 8
_REPR.maxlevel = 3
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 57


def shortened(value: Any) -> str:
    """Return a value as an error shows it. The cost does not grow with the value."""
    text = _REPR.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
