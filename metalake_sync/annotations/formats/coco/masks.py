"""Converts run-length masks (RLE), as COCO has them, to polygons along the edges of the pixels.

Owns: both forms of the runs, counts and compressed text, and the walk around each part of a mask. A polygon can't have
a hole, so holes are filled and counted. Must not: touch files. Source of the compressed form: `maskApi.c` of
pycocotools, which the tests compare with; it would need numpy, and returns pixels instead of outlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metalake_sync.core.shapes import Point
from metalake_sync.lazy_dataclass import dataclass

PIXEL_LIMIT = 1 << 28


"""A mask with more pixels is an error."""


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


def outlines_of(segmentation: Any) -> MaskOutlines:
    """Return the outlines of `{"size": [height, width], "counts": list or text}`. Raises BrokenMask."""
    size = segmentation.get("size")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(side) is int and 0 < side <= PIXEL_LIMIT for side in size)
        or size[0] * size[1] > PIXEL_LIMIT
    ):
        raise BrokenMask("its size is not [height, width]")
    height, width = size
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = decompress(counts)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise BrokenMask("its counts are not a list of runs")
    if sum(counts) != height * width:
        raise BrokenMask("its runs do not fill its size")
    return _walk(_edges(counts, height))


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


def _edges(counts: Sequence[int], height: int) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return the border between set and unset pixels as edges of corners, start → ends, directed so that the mask is on
    their right (y points down). Runs go down the columns."""
    columns: dict[int, list[tuple[int, int]]] = {}
    start = 0
    for index, count in enumerate(counts):
        if index % 2:
            at, left = start, count
            while left:
                column, row = divmod(at, height)
                run = min(left, height - row)
                columns.setdefault(column, []).append((row, row + run))
                at, left = at + run, left - run
        start += count
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def edge(a: tuple[int, int], b: tuple[int, int]) -> None:
        edges.setdefault(a, []).append(b)

    for column, runs in columns.items():
        for top, bottom in _joined(runs):
            edge((column, top), (column + 1, top))
            edge((column + 1, bottom), (column, bottom))
        left_side = _joined(columns.get(column - 1, []))
        right_side = _joined(columns.get(column + 1, []))
        for top, bottom in _joined(runs):
            for a, b in _without((top, bottom), left_side):
                edge((column, b), (column, a))
            for a, b in _without((top, bottom), right_side):
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


def _without(run: tuple[int, int], others: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pieces of a run that no other run covers."""
    at, end = run
    pieces: list[tuple[int, int]] = []
    for top, bottom in others:
        if bottom <= at or top >= end:
            continue
        if top > at:
            pieces.append((at, top))
        at = max(at, bottom)
    if at < end:
        pieces.append((at, end))
    return pieces


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
