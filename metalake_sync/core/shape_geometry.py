"""How alike two shapes of one type are, from 0 to 1, and which shapes of two sets are close enough to be compared.

Owns: overlap of boxes and polygons, distances of lines and points, and the grid that finds neighbors. Must not: know
labels.

Boxes: exact intersection over union (IoU). Polygons: IoU by the even-odd rule, measured along SCAN_LINES horizontal
lines; it is exact for boxes drawn as polygons and for equal polygons, and otherwise within 0.02 for outlines that cross
each line a few times. Lines and points: one minus ten times their mean distance in image diagonals, so that the
thresholds 0.5 and 0.9 mean distances of 5% and 1% of the diagonal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from metalake_sync.core.shape_values import Frame
from metalake_sync.core.shapes import Point, Shape, ShapeType

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

Row = list[float]
"""Where an outline crosses one horizontal line, from left to right."""

SCAN_LINES = 64
"""Lines along which a polygon's area is measured."""

DISTANCE_WEIGHT = 10
"""A mean distance of a tenth of the image's diagonal makes lines and points entirely different."""

FEW_PAIRS = 256
"""So many pairs of boxes are compared without a grid."""

GRID_LIMIT = 64
"""The grid has at most this many columns and rows."""


class Outline:
    """The geometry of one shape in the unit of a frame, after scaling."""

    __slots__ = ("_area", "box", "points", "type")

    def __init__(self, shape: Shape, frame: Frame) -> None:
        self.type = shape.type
        self.points = frame.scaled(shape.points)
        """As in the shape, also for a rectangle."""
        self.box = box_around(shape, frame)
        """The smallest box around the shape."""
        self._area: float | None = None

    @property
    def area(self) -> float:
        """The area of a rectangle or polygon; 0 for lines and points."""
        if self._area is None:
            self._area = self._measured_area()
        return self._area

    def _measured_area(self) -> float:
        if self.type is ShapeType.POLYGON:
            return _polygon_area(self.points, self.box)
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top) if self.type is ShapeType.RECTANGLE else 0.0


def box_around(shape: Shape, frame: Frame) -> Box:
    """Return the smallest box around a shape, after scaling."""
    points = frame.scaled(shape.points)
    if shape.type is ShapeType.RECTANGLE:
        (x, y), (width, height) = points
        return min(x, x + width), min(y, y + height), max(x, x + width), max(y, y + height)
    across, down = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
    return min(across), min(down), max(across), max(down)


def diagonal_around(boxes: Sequence[Box]) -> float:
    """Return the diagonal of the smallest box around all boxes; 0 without boxes."""
    if not boxes:
        return 0.0
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    return math.hypot(max(box[2] for box in boxes) - left, max(box[3] for box in boxes) - top)


def similarity(one: Outline, other: Outline, diagonal: float, threshold: float) -> float:
    """Return how alike two outlines of one type are, from 0 to 1. Below `threshold`, 0 may stand for any value."""
    if not (one.area and other.area):
        distance = mean_distance(one, other)
        return max(0.0, 1 - DISTANCE_WEIGHT * distance / diagonal) if diagonal else float(distance == 0)
    common = _common_box_area(one.box, other.box)
    if common < threshold * max(one.area, other.area) or min(one.area, other.area) < threshold * max(
        one.area, other.area
    ):
        return 0.0
    if one.type is ShapeType.POLYGON:
        common = _common_polygon_area(one, other)
    union = one.area + other.area - common
    overlap = common / union if union else 0.0
    return min(overlap, 1.0) if math.isfinite(overlap) else 0.0


def reach(shape_type: ShapeType, diagonal: float, threshold: float) -> float:
    """Return how far apart the boxes around two outlines can be that are alike at the threshold."""
    return diagonal * (1 - threshold) / DISTANCE_WEIGHT if shape_type in (ShapeType.LINE, ShapeType.POINTS) else 0.0


# Boxes and polygons.


def _common_box_area(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _polygon_area(points: Sequence[Point], box: Box) -> float:
    height = box[3] - box[1]
    rows = _rows(points, box[1], height) if 0 < height < math.inf else []
    return sum(sum(row[1::2]) - sum(row[::2]) for row in rows) * (height / SCAN_LINES)


def _common_polygon_area(one: Outline, other: Outline) -> float:
    top = max(one.box[1], other.box[1])
    height = min(one.box[3], other.box[3]) - top
    if height <= 0:
        return 0.0
    rows = zip(_rows(one.points, top, height), _rows(other.points, top, height), strict=True)
    return sum(_common_length(ours, theirs) for ours, theirs in rows) * (height / SCAN_LINES)


def _rows(points: Sequence[Point], top: float, height: float) -> list[Row]:
    """Cross a polygon with SCAN_LINES lines, each in the middle of its share of the height."""
    rows: list[Row] = [[] for _ in range(SCAN_LINES)]
    step = height / SCAN_LINES
    if not step:
        return rows
    x0, y0 = points[-1]
    for x1, y1 in points:
        if y0 != y1:
            first, last = ((y0 - top) / step - 0.5, (y1 - top) / step - 0.5)
            if first > last:
                first, last = last, first
            slope = (x1 - x0) / (y1 - y0)
            for number in range(_row_from(first), _row_from(last)):
                rows[number].append(x0 + slope * (top + (number + 0.5) * step - y0))
        x0, y0 = x1, y1
    for row in rows:
        row.sort()
    return rows


def _row_from(position: float) -> int:
    return math.ceil(max(0.0, min(float(SCAN_LINES), position)))


def _common_length(ours: Row, theirs: Row) -> float:
    if len(ours) == len(theirs) == 2:
        return max(0.0, min(ours[1], theirs[1]) - max(ours[0], theirs[0]))
    total, at, other = 0.0, 0, 0
    while at + 1 < len(ours) and other + 1 < len(theirs):
        left, right = max(ours[at], theirs[other]), min(ours[at + 1], theirs[other + 1])
        if right > left:
            total += right - left
        if ours[at + 1] < theirs[other + 1]:
            at += 2
        else:
            other += 2
    return total


# Lines and points.


def mean_distance(one: Outline, other: Outline) -> float:
    """Return the mean distance of two outlines: point by point where both have equally many, otherwise of each point to
    the nearest place of the other outline. A line may run the other way."""
    ours, theirs = one.points, other.points
    if not ours or not theirs:
        return math.inf if ours or theirs else 0.0
    if len(ours) == len(theirs):
        forward = _mean(math.dist(a, b) for a, b in zip(ours, theirs, strict=True))
        if one.type is not ShapeType.LINE:
            return forward
        return min(forward, _mean(math.dist(a, b) for a, b in zip(ours, reversed(theirs), strict=True)))
    is_line = one.type is ShapeType.LINE
    there = _mean(_nearest(point, theirs, is_line) for point in ours)
    back = _mean(_nearest(point, ours, is_line) for point in theirs)
    return (there + back) / 2


def _mean(distances: Iterator[float]) -> float:
    values = list(distances)
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.inf


def _nearest(point: Point, points: Sequence[Point], is_line: bool) -> float:
    if is_line and len(points) > 1:
        return min(_distance_to_segment(point, a, b) for a, b in itertools.pairwise(points))
    return min(math.dist(point, other) for other in points)


def _distance_to_segment(point: Point, start: Point, end: Point) -> float:
    across, down = end[0] - start[0], end[1] - start[1]
    length = across * across + down * down
    share = ((point[0] - start[0]) * across + (point[1] - start[1]) * down) / length if length else 0.0
    share = min(1.0, max(0.0, share))
    return math.dist(point, (start[0] + share * across, start[1] + share * down))


# Neighbors.


def neighbors(ours: Sequence[Box], theirs: Sequence[Box], apart: float) -> Iterator[tuple[int, int]]:
    """Yield the numbers of each pair of boxes that overlap, touch, or are at most `apart` from each other in x and y.

    A grid holds the second list, so that the cost grows with the pairs found. Its cells are about as large as the mean
    box, and it has about as many cells as there are boxes at most.
    """
    if len(ours) * len(theirs) <= FEW_PAIRS:
        for number, box in enumerate(ours):
            yield from ((number, other) for other in _touching(box, theirs, range(len(theirs)), apart))
        return
    left, top = min(box[0] for box in theirs), min(box[1] for box in theirs)
    columns, width = _cells_across([(box[0], box[2]) for box in theirs])
    rows, height = _cells_across([(box[1], box[3]) for box in theirs])

    def cells(box: Box) -> Iterator[int]:
        first, last = _cell((box[0] - left) / width, columns), _cell((box[2] - left) / width, columns)
        upper, lower = _cell((box[1] - top) / height, rows), _cell((box[3] - top) / height, rows)
        for row in range(upper, lower + 1):
            yield from range(row * columns + first, row * columns + last + 1)

    grid: dict[int, list[int]] = {}
    for number, box in enumerate(theirs):
        for cell in cells(box):
            grid.setdefault(cell, []).append(number)
    for number, box in enumerate(ours):
        found: set[int] = set()
        for cell in cells((box[0] - apart, box[1] - apart, box[2] + apart, box[3] + apart)):
            found.update(grid.get(cell, ()))
        yield from ((number, other) for other in _touching(box, theirs, sorted(found), apart))


def _touching(box: Box, others: Sequence[Box], numbers: Iterable[int], apart: float) -> list[int]:
    left, top, right, bottom = box[0] - apart, box[1] - apart, box[2] + apart, box[3] + apart
    return [
        number
        for number in numbers
        if left <= others[number][2]
        and others[number][0] <= right
        and top <= others[number][3]
        and others[number][1] <= bottom
    ]


def _cell(position: float, count: int) -> int:
    return int(max(0.0, min(count - 1.0, position)))


def _cells_across(spans: Sequence[tuple[float, float]]) -> tuple[int, float]:
    """Return into how many cells one axis is divided, and how wide each is. `spans`: where each box begins and ends."""
    extent = max(end for _, end in spans) - min(start for start, _ in spans)
    mean = sum(end - start for start, end in spans) / len(spans)
    count = min(GRID_LIMIT, math.isqrt(len(spans)) + 1)
    if mean * count > extent:
        count = max(1, int(extent / mean))
    return count, extent / count or 1.0
