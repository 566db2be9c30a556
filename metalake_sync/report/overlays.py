"""Shapes as SVG over an image, in pixels of the displayed image.

Owns: outlines, the part of the image around a change, and how many shapes one figure draws. Must not: know images or
HTML.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from metalake_sync.core.shape_diff import Aspect, Diff, ShapeChange
from metalake_sync.core.shape_summary import change_text, place_text
from metalake_sync.core.shape_values import Size
from metalake_sync.core.shapes import Point, Shape, ShapeType
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.report.text import SENTENCE_LENGTH, visible
from metalake_sync.report.thumbnails import Box

CHANGED_DRAWN = 500
UNCHANGED_DRAWN = 300
POINTS_DRAWN = 20_000
"""How many changed shapes, unchanged shapes, and points of all shapes a figure draws."""

DOT_RADIUS = 0.006
"""The radius of a point, relative to the long side of what is shown."""

MARGIN = 0.5
"""The space around a change in its enlarged part, relative to the change's size."""

PART_AT_LEAST = 32.0
"""The smallest side of an enlarged part in pixels of the image."""

SHARED_FROM = 3
"""So many changes of one kind in a set come after rarer ones."""

ASPECT = 4 / 3
"""Width by height of an enlarged part."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One shape to draw."""

    label: str
    path: str
    """The data of an SVG path; empty for points."""
    dots: tuple[Point, ...]
    box: Box


@dataclass(frozen=True, slots=True)
class DrawnChange:
    """One change, with what is drawn for it."""

    verb: str
    """`added`, `removed`, or what changes: `moved and relabeled`."""
    sign: str
    text: str
    before: Outline | None
    after: Outline | None
    region: Box
    """The part of the image to enlarge."""
    kind: Hashable
    """Equal for changes that differ in places and values only."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What one figure draws."""

    changes: tuple[DrawnChange, ...]
    unchanged: tuple[Outline, ...]
    changes_left_out: int
    unchanged_left_out: int


def overlay(diff: Diff, unchanged: Sequence[Shape], size: Size) -> Overlay:
    """Return the overlay of a set on an image of this size. Shapes with coordinates that are not finite, and shapes
    above the bounds, are left out and counted."""
    scale = (float(size[0]), float(size[1])) if diff.normalized else (1.0, 1.0)
    points_left = POINTS_DRAWN
    drawn: list[DrawnChange] = []
    everything = _rare_first(
        [
            *(ShapePair(one.before, one.after, one) for one in diff.changed),
            *(ShapePair(shape, None) for shape in diff.removed),
            *(ShapePair(None, shape) for shape in diff.added),
        ]
    )
    for pair in everything[:CHANGED_DRAWN]:
        points_left -= pair.points
        one = _drawn(pair, scale, size) if points_left >= 0 else None
        if one is None:
            points_left += pair.points
        else:
            drawn.append(one)
    same: list[Outline] = []
    for shape in unchanged[:UNCHANGED_DRAWN]:
        outline = outline_of(shape, scale) if len(shape.points) <= points_left else None
        if outline is not None:
            points_left -= len(shape.points)
            same.append(outline)
    # A diff may count unchanged shapes that its source does not list.
    all_unchanged = max(diff.unchanged, len(unchanged))
    return Overlay(tuple(drawn), tuple(same), len(everything) - len(drawn), all_unchanged - len(same))


def _rare_first(pairs: Sequence[ShapePair]) -> list[ShapePair]:
    """Put changes that many shapes of the set share after the others, so that they hide none."""
    counts = Counter(pair.kind for pair in pairs)
    return sorted(pairs, key=lambda pair: counts[pair.kind] if counts[pair.kind] >= SHARED_FROM else 0)


@dataclass(frozen=True, slots=True)
class ShapePair:
    """A shape before and after."""

    before: Shape | None
    after: Shape | None
    change: ShapeChange | None = None

    @property
    def kind(self) -> Hashable:
        """What changes of one kind have in common: types, labels and what differs, without places and values."""
        sides = tuple((one.type, one.label) if one is not None else None for one in (self.before, self.after))
        return sides, self.change.aspects if self.change is not None else ()

    @property
    def points(self) -> int:
        return sum(len(shape.points) for shape in (self.before, self.after) if shape is not None)


def _drawn(pair: ShapePair, scale: Point, size: Size) -> DrawnChange | None:
    before = outline_of(pair.before, scale) if pair.before is not None else None
    after = outline_of(pair.after, scale) if pair.after is not None else None
    boxes = [outline.box for outline in (before, after) if outline is not None]
    if not boxes or (pair.before is not None and before is None) or (pair.after is not None and after is None):
        return None
    if pair.change is not None:
        verb, sign, text = _aspects(pair.change.aspects), "~", change_text(pair.change, scale)
    else:
        shape = pair.after or pair.before
        assert shape is not None
        verb, sign = ("added", "+") if pair.after is not None else ("removed", "-")
        text = f"{shape.label}  {place_text(shape, scale)}"
    region = region_around(boxes[0].around(boxes[-1]), size)
    return DrawnChange(verb, sign, visible(text, SENTENCE_LENGTH), before, after, region, pair.kind)


_VERBS = {
    Aspect.MOVED: "moved",
    Aspect.RELABELED: "relabeled",
    Aspect.ATTRIBUTES: "attributes changed",
    Aspect.CONFIDENCE: "confidence changed",
}


def _aspects(aspects: Iterable[Aspect]) -> str:
    return " and ".join(_VERBS[aspect] for aspect in aspects)


def outline_of(shape: Shape, scale: Point) -> Outline | None:
    """Return a shape as it is drawn. `scale`: factors that turn coordinates to pixels. None where a coordinate is not
    finite, or there is no point."""
    points = [(x * scale[0], y * scale[1]) for x, y in shape.points]
    if not points or not all(math.isfinite(x) and math.isfinite(y) for x, y in points):
        return None
    if shape.type is ShapeType.RECTANGLE:
        if len(points) != 2:
            return None
        (x, y), (width, height) = points
        box = Box(min(x, x + width), min(y, y + height), abs(width), abs(height))
        path = f"M{number(box.x)} {number(box.y)}h{number(box.width)}v{number(box.height)}h{number(-box.width)}z"
        return Outline(shape.label, path, (), box)
    across, down = [x for x, _ in points], [y for _, y in points]
    box = Box(min(across), min(down), max(across) - min(across), max(down) - min(down))
    if shape.type is ShapeType.POINTS:
        return Outline(shape.label, "", tuple(points), box)
    path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return Outline(shape.label, path + ("z" if shape.type is ShapeType.POLYGON else ""), (), box)


def region_around(box: Box, size: Size) -> Box:
    """Return the part of an image to enlarge for a change: with a margin, of one aspect ratio where the image allows
    it, and inside the image where the change is."""
    width = max(PART_AT_LEAST, box.width * (1 + 2 * MARGIN))
    height = max(PART_AT_LEAST, box.height * (1 + 2 * MARGIN))
    width, height = max(width, height * ASPECT), max(height, width / ASPECT)
    x, width = _inside(box.x + box.width / 2, width, box.x, box.x + box.width, size[0])
    y, height = _inside(box.y + box.height / 2, height, box.y, box.y + box.height, size[1])
    return Box(x, y, width, height)


def _inside(middle: float, length: float, first: float, last: float, limit: int) -> tuple[float, float]:
    """Return where a stretch around `middle` begins and how long it is. It stays between 0 and `limit`, except where
    the change itself, from `first` to `last`, does not."""
    low, high = min(0.0, first), max(float(limit), last)
    length = min(length, high - low)
    return min(max(middle - length / 2, low), high - length), length


def number(value: float) -> str:
    """Return a coordinate with at most three digits after the point: a thousandth of a pixel."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
