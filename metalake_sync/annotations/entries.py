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
    may have no name of its own. `size`: of the picture, as the source has it. `shape_form` and `shape_numbers`: how a
    shape's own place is written, and its number there; without numbers it is the shape's number in the record."""

    record: ImageRecord
    place: str = ""
    stem: str | None = None
    size: tuple[int, int] | None = None
    shape_form: str = "shape {}"
    shape_numbers: tuple[int, ...] = ()

    def place_of(self, shape: int) -> str:
        """Finds a shape of the record in the file, such as annotations[7]."""
        return self.shape_form.format(self.shape_numbers[shape] if self.shape_numbers else shape)


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
        raise ManifestError(f"{shortened(value)} is no number", where=where, remedy="Write a number.")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def text_number(text: str, where: str) -> float:
    """A number written as text; `nan` and `inf` are numbers too, and told of later. Raises ManifestError."""
    try:
        # Python's own underscores and digits of other scripts are no tool's.
        if "_" in text or not text.isascii():
            raise ValueError
        return float(text)
    except ValueError:
        raise ManifestError(f"{shortened(text)} is no number", where=where, remedy="Write a number.") from None


def point_pairs(numbers: list[float]) -> tuple[Point, ...]:
    """x1 y1 x2 y2 ... as points."""
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def shortened(value: Any) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
