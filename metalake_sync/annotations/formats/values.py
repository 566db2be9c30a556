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


def flag_of(text: str | None) -> bool:
    """Whether a text says yes, as `1`, `true` and `yes` do."""
    return text is not None and text.strip().lower() in ("1", "true", "yes", "t", "y")


def number_or_text(text: str) -> int | float | str:
    """Return a text as a number if it is one, else the text."""
    text = text.strip()
    try:
        value = text_number(text, "")
    except ManifestError:
        return text
    if not math.isfinite(value):
        return text
    return int(value) if value.is_integer() and len(text) < _LONGEST_WHOLE else value


_LONGEST_WHOLE = 16
"""Whole numbers with as many digits are not exact as floats."""


def image_size(width: Any, height: Any) -> tuple[int, int] | None:
    """Return the size that a source states for an image, as numbers or texts. None without two whole numbers above 0:
    many tools write zeros or nothing."""
    across, down = _side(width), _side(height)
    return (across, down) if across and down else None


def _side(side: Any) -> int:
    """Return a width or height; 0 if it is not one."""
    if isinstance(side, str):
        side = side.strip()
        return int(side) if len(side) < 10 and side.isascii() and side.isdigit() else 0
    if type(side) is float and side.is_integer():
        side = int(side)
    return side if type(side) is int and 0 < side < 1 << 31 else 0


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


_JSON_WORDS = {None: "null", True: "true", False: "false"}
_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxdict = 8
_REPR.maxlevel = 3
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 57


def shortened(value: Any) -> str:
    """Return a value as an error shows it, and null, true and false as JSON writes them. The cost does not grow with
    the value."""
    if value is None or isinstance(value, bool):
        return _JSON_WORDS[value]
    text = _REPR.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
