"""Converts masks to polygons along the edges of their pixels.

Owns: runs by columns or by rows, COCO's run-length masks (counts and compressed text), and the walk around each part
of a mask. A polygon can't have a hole, so holes are filled and counted. Must not: touch files, or decode images
(`mask_images` does). Source of the compressed form: `maskApi.c` of pycocotools, which the tests compare with; it
would need numpy, and returns pixels instead of outlines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.core.shapes import Point
from metalake_sync.lazy_dataclass import dataclass

PIXEL_LIMIT = 1 << 28
"""A mask with more pixels is an error."""

RUN_LIMIT = 1 << 19
"""A mask with more runs is an error: its outlines would need too much memory."""

Lines = Mapping[int, Sequence[tuple[int, int]]]
"""The set pixels of a mask: row (or column) → its runs in ascending order, each from a pixel to before another one."""


class BrokenMask(Exception):
    """The runs are not a mask. The message names the problem."""

    def __init__(self, why: str, found: str = "") -> None:
        super().__init__(why)
        self.found = found
        """The wrong value, for a report."""


@dataclass(frozen=True, slots=True)
class MaskOutlines:
    """The outlines of a mask."""

    outlines: tuple[tuple[Point, ...], ...]
    """One for each part whose pixels are connected by their edges."""
    holes: int
    """How many holes were filled."""

    def tell_holes(self, notes: ReadNotes, at: str = "") -> None:
        """Count the filled holes. `at`: the place of the mask."""
        if self.holes:
            notes.count("holes of masks are filled: a polygon has none", self.holes, at=at)

    def drawn(self, notes: ReadNotes, at: str = "") -> tuple[tuple[Point, ...], ...]:
        """Return the outlines and count the filled holes. Raises BrokenMask for a mask without pixels."""
        self.tell_holes(notes, at)
        if not self.outlines:
            raise BrokenMask("it has no pixels")
        return self.outlines


def outlines_of(segmentation: Any) -> MaskOutlines:
    """Return the outlines of COCO's `{"size": [height, width], "counts": list or text}`. Raises BrokenMask."""
    size = segmentation.get("size")
    if not isinstance(size, list) or len(size) != 2 or not is_mask_size(size[1], size[0]):
        raise BrokenMask("its size is not [height, width]")
    height, width = size
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = decompress(counts)
    return outlines_of_runs(counts, width, height, by_rows=False)


def is_mask_size(width: Any, height: Any) -> bool:
    """Whether a mask may have this size: two whole numbers above 0, and not more pixels than the limit."""
    return all(type(side) is int and 0 < side <= PIXEL_LIMIT for side in (width, height)) and (
        width * height <= PIXEL_LIMIT
    )


def outlines_of_runs(
    counts: Any, width: int, height: int, *, by_rows: bool, left: float = 0, top: float = 0
) -> MaskOutlines:
    """Return the outlines of runs that alternate between unset and set pixels, beginning with unset ones.

    `left`, `top`: of the mask in its image. Raises BrokenMask.
    """
    if not is_mask_size(width, height):
        raise BrokenMask("its size is not two whole numbers above 0, or it is too large")
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise BrokenMask("its counts are not a list of runs")
    if sum(counts) != height * width:
        raise BrokenMask("its runs do not fill its size")
    return outlines_of_lines(lines_of_runs(counts, width if by_rows else height), by_rows=by_rows, left=left, top=top)


def lines_of_runs(counts: Iterable[int], length: int) -> dict[int, list[tuple[int, int]]]:
    """Return the lines of runs that alternate between unset and set pixels. `length`: of each line."""
    lines: dict[int, list[tuple[int, int]]] = {}
    start = 0
    for index, count in enumerate(counts):
        if index % 2:
            add_run(lines, start, count, length)
        start += count
    return lines


def add_run(lines: dict[int, list[tuple[int, int]]], start: int, count: int, length: int) -> None:
    """Add a run of set pixels, counted over all lines, to the lines that it covers. Raises BrokenMask for too many."""
    if len(lines) + count // length > RUN_LIMIT:
        raise BrokenMask("it has too many runs")
    while count:
        line, at = divmod(start, length)
        run = min(count, length - at)
        lines.setdefault(line, []).append((at, at + run))
        start, count = start + run, count - run


def outlines_of_lines(lines: Lines, *, by_rows: bool = True, left: float = 0, top: float = 0) -> MaskOutlines:
    """Return the outlines of a mask. `left`, `top`: of the mask in its image. Raises BrokenMask for too many runs."""
    if sum(map(len, lines.values())) > RUN_LIMIT:
        raise BrokenMask("it has too many runs")
    found = _walk(_edges(lines))
    outlines = (
        # Rows are walked as if they were columns, so x and y are exchanged here.
        tuple((left + y, top + x) for x, y in reversed(outline))
        if by_rows
        else tuple((left + x, top + y) for x, y in outline)
        for outline in found.outlines
    )
    return MaskOutlines(tuple(outlines), found.holes)


def decompress(text: str) -> list[int]:
    """Return the runs of compressed text: groups of five bits, lowest first, signed; from the fourth run on, each is
    the difference to the run two before. Raises BrokenMask."""
    counts: list[int] = []
    value = shift = 0
    for char in text:
        bits = ord(char) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise BrokenMask("its counts are not compressed runs")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise BrokenMask("its counts end in the middle of a run")
    return counts


def _edges(columns: Lines) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return the border between set and unset pixels as edges of corners, start → ends, directed so that the mask is on
    their right (y points down)."""
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def edge(a: tuple[int, int], b: tuple[int, int]) -> None:
        edges.setdefault(a, []).append(b)

    for column, runs in columns.items():
        joined = _joined(runs)
        for top, bottom in joined:
            edge((column, top), (column + 1, top))
            edge((column + 1, bottom), (column, bottom))
        for a, b in _without(joined, _joined(columns.get(column - 1, []))):
            edge((column, b), (column, a))
        for a, b in _without(joined, _joined(columns.get(column + 1, []))):
            edge((column + 1, a), (column + 1, b))
    return edges


def _joined(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join runs that touch: counts may hold runs of length 0."""
    joined: list[tuple[int, int]] = []
    for top, bottom in runs:
        if joined and joined[-1][1] == top:
            joined[-1] = (joined[-1][0], bottom)
        else:
            joined.append((top, bottom))
    return joined


def _without(runs: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the pieces of runs that no other run covers. Both are ascending, and neither has runs that touch."""
    first = 0
    for start, end in runs:
        at = start
        while first < len(others) and others[first][1] <= start:
            first += 1
        place = first
        while place < len(others) and others[place][0] < end:
            if others[place][0] > at:
                yield at, others[place][0]
            at = max(at, others[place][1])
            place += 1
        if at < end:
            yield at, end


def _walk(edges: dict[tuple[int, int], list[tuple[int, int]]]) -> MaskOutlines:
    outlines: list[tuple[Point, ...]] = []
    holes = 0
    for start in sorted(edges):
        while edges.get(start):
            corners = _loop(edges, start)
            # With y down and the mask on the right, outlines turn clockwise and holes the other way.
            if _twice_the_area(corners) > 0:
                outlines.append(tuple((float(x), float(y)) for x, y in corners))
            else:
                holes += 1
    return MaskOutlines(tuple(outlines), holes)


def _loop(edges: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> list[tuple[int, int]]:
    """Walk one closed line and remove its edges. Where two parts touch at a corner, the walk turns right, so that it
    stays on its part."""
    corners = [start]
    here = edges[start].pop()
    came_from = start
    while here != start:
        ways = edges[here]
        way = min(ways, key=lambda end: _turn(came_from, here, end)) if len(ways) > 1 else ways[0]
        ways.remove(way)
        if _turn(came_from, here, way):
            corners.append(here)
        came_from, here = here, way
    if not _turn(came_from, start, corners[1] if len(corners) > 1 else start):
        corners.pop(0)
    return corners


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    """Return -1 for a right turn, 1 for a left turn, 0 for straight on; y points down."""
    cross = (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0])
    return -1 if cross > 0 else 1 if cross < 0 else 0


def _twice_the_area(corners: Sequence[tuple[int, int]]) -> int:
    """Return twice the area of a closed line; above 0 if it is clockwise on the screen."""
    following = [*corners[1:], corners[0]]
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(corners, following, strict=True))
