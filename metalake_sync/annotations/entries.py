"""What every reader gives: entries, one for each image that a source speaks of, and counts of what it could not read.

Owns: the vocabulary between readers and the index. Must not: read anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metalake_sync.core.shapes import ImageRecord, Point
from metalake_sync.errors import ManifestError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source. `shown_as`: what users call it. `root`: the folder that its relative path counts from."""

    path: Path
    shown_as: str
    root: Path


@dataclass(frozen=True, slots=True)
class Entry:
    """`record.image` is the name in the source's own words. `place` finds the entry in its file, such as images[3].
    `stem`: the file's name without its extension, where the source can be matched by that; in such a source `record`
    may have no name of its own."""

    record: ImageRecord
    place: str = ""
    stem: str | None = None


@dataclass(slots=True)
class ReadNotes:
    """What a reader left out, with how often: the clause goes on from the source's name."""

    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + times


def number(value: Any, where: str) -> float:
    """A JSON number. Raises ManifestError."""
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ManifestError(f"{_short(value)} is no number", where=where, remedy="Write a number.")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def text_number(text: str, where: str) -> float:
    """A number written as text; `nan` and `inf` are numbers too, and told of later. Raises ManifestError."""
    try:
        return float(text)
    except ValueError:
        raise ManifestError(f"{_short(text)} is no number", where=where, remedy="Write a number.") from None


def point_pairs(numbers: list[float]) -> tuple[Point, ...]:
    """x1 y1 x2 y2 ... as points."""
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
