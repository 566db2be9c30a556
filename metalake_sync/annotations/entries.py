"""What every reader gives: entries, one for each image that a source speaks of, and counts of what it could not read.

Owns: the vocabulary between readers and the index. Must not: read anything.
"""

from __future__ import annotations

import marshal
import math
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from metalake_sync.core.shapes import ImageRecord, Point, Shape
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source."""

    path: Path
    shown_as: str
    """What users call it."""
    root: Path
    """The folder that its relative path counts from."""
    named: bool = True
    """The source names this file. False: the file was found in a folder, or by a glob."""
    data_file: Path | None = None
    """The YOLO data file that the source names, and that led to this file. Its class names count."""


REASONS_KEPT = 20
"""So many different reasons of one file are reported, each with its first place."""


class NotAnnotations(ManifestError):
    """The file is not an annotation file of the format. In a folder it is left out, unless it is called as an image
    is."""


@dataclass(slots=True)
class ReadNotes:
    """What a reader reports besides entries."""

    counts: dict[str, int] = field(default_factory=dict)
    """Clause → how often. The clause goes on from the source's name."""
    first: dict[str, str] = field(default_factory=dict)
    """Clause → the first place that it applies to, such as annotations[7]."""
    unreadable: dict[str, int] = field(default_factory=dict)
    """The same as `counts`, for entries that can't be read and are left out."""
    incomplete: bool = False
    """A part of the source can't be found. What it says of other images is not known."""

    def count(self, what: str, times: int = 1, at: str = "") -> None:
        self.counts[what] = self.counts.get(what, 0) + times
        if at:
            self.first.setdefault(what, at)

    def leave_out(self, what: str, at: str) -> None:
        """Count one entry that can't be read. `what`: a clause with the reason. `at`: its place."""
        if what not in self.unreadable and len(self.unreadable) >= REASONS_KEPT:
            what = "annotations can't be read for other reasons"
        self.unreadable[what] = self.unreadable.get(what, 0) + 1
        self.first.setdefault(what, at)

    def add(self, other: ReadNotes) -> None:
        for what, at in other.first.items():
            self.first.setdefault(what, at)
        for what, times in other.counts.items():
            self.count(what, times)
        for what, times in other.unreadable.items():
            self.unreadable[what] = self.unreadable.get(what, 0) + times
        self.incomplete |= other.incomplete

    def __bool__(self) -> bool:
        return bool(self.counts or self.unreadable or self.incomplete)


ImageSize = tuple[int, int] | None
"""Width and height in pixels, or None where they are not known."""

Drawn = tuple[tuple[Shape, ...], tuple[int, ...]]
"""Shapes, and the number of each in the source; no numbers where they are those of the shapes."""


@dataclass(frozen=True, slots=True)
class Undrawn:
    """The shapes of an entry before they are turned into ours, which is the larger part of reading.

    `raw`: as the source has them. `depends_on`: what else they depend on, as JSON values, one object for a whole file.
    `draw`: makes shapes of them for an image of a size in pixels, None where it is not known; raises ManifestError.
    `draw_again`: makes the same shapes of `raw` later, without their places.
    """

    raw: bytes
    depends_on: Any
    draw: Callable[[ReadNotes, ImageSize], Drawn]
    draw_again: Callable[[bytes, ImageSize], tuple[Shape, ...]]


@dataclass(frozen=True, slots=True)
class Entry:
    """`record.image` is the name in the source's own words. `place` finds the entry in its file, such as images[3].
    `stem`: the file's name without its extension, where the source can be matched by that; in such a source `record`
    may have no name of its own. `size`: of the picture, as the source has it. `shape_form` and `shape_numbers`: how a
    shape's own place is written, and its number there; without numbers it is the shape's number in the record.
    `undrawn`: shapes that are still in the source's own words, where `record` has none."""

    record: ImageRecord
    place: str = ""
    stem: str | None = None
    size: tuple[int, int] | None = None
    shape_form: str = "shape {}"
    shape_numbers: tuple[int, ...] = ()
    undrawn: Undrawn | None = None

    def drawn(self, notes: ReadNotes, size: ImageSize) -> Entry:
        """The entry with its shapes in the record. `notes`: takes what is left out. `size`: of the image. Raises
        ManifestError."""
        if self.undrawn is None:
            return self
        shapes, numbers = self.undrawn.draw(notes, size)
        return replace(self, record=replace(self.record, shapes=shapes), shape_numbers=numbers, undrawn=None)

    def place_of(self, shape: int) -> str:
        """Finds a shape of the record in the file, such as annotations[7]."""
        return self.shape_form.format(self.shape_numbers[shape] if self.shape_numbers else shape)


def raw_bytes(value: Any) -> bytes:
    """A JSON value as bytes that are quickly read back by this process: equal values have equal ones. In version 2 of
    Python's own format objects are written out each time, and not referred to."""
    return marshal.dumps(value, 2)


def raw_value(raw: bytes) -> Any:
    """Read back what `raw_bytes` wrote."""
    return marshal.loads(raw)  # noqa: S302 - it never leaves this process and its own temporary files


def number(value: Any, where: str) -> float:
    """A JSON number. Raises ManifestError."""
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ManifestError(f"{shortened(value)} is not a number", where=where, remedy="Write a number.")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def text_number(text: str, where: str) -> float:
    """A number written as text. `nan` and `inf` are numbers too; the checks of shapes report them. Raises
    ManifestError."""
    try:
        # Python's own underscores and digits of other scripts are no tool's.
        if "_" in text or not text.isascii():
            raise ValueError
        return float(text)
    except ValueError:
        if "," in text:
            message = f"{shortened(text)} has a comma, and is not a number"
            raise ManifestError(
                message, where=where, remedy="Write a point in numbers, and blanks between them."
            ) from None
        raise ManifestError(f"{shortened(text)} is not a number", where=where, remedy="Write a number.") from None


def point_pairs(numbers: list[float]) -> tuple[Point, ...]:
    """x1 y1 x2 y2 ... as points."""
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def draws(points: Sequence[Point]) -> bool:
    """Whether a polygon covers anything: its corners are finite, and do not lie on one line."""
    if len(points) < 3 or not math.isfinite(sum(map(sum, points))):
        return False
    (ax, ay), *others = points
    bx, by = next((other for other in others if other != (ax, ay)), (ax, ay))
    return any((bx - ax) * (y - ay) != (by - ay) * (x - ax) for x, y in others)


_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxdict = 8
_REPR.maxlevel = 3
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 57


def shortened(value: Any) -> str:
    """A value as an error shows it. A large one costs no more than a small one."""
    text = _REPR.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
