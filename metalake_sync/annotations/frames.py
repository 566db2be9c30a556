"""Coordinate frames of an image: pixels and fractions, the stored and the displayed orientation.

Owns: the conversions, and the decision which orientation shapes refer to. Must not: know sources or notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType
from metalake_sync.sources.image_headers import ImageHeader

SLACK_PX = 1.0
"""How far tools may round a coordinate beyond an edge."""

_TURNS: Mapping[int, Callable[[float, float, Size], Point]] = {
    5: lambda x, y, _: (y, x),
    6: lambda x, y, stored: (stored[1] - y, x),
    7: lambda x, y, stored: (stored[1] - y, stored[0] - x),
    8: lambda x, y, stored: (y, stored[0] - x),
}
"""EXIF orientation → the displayed position of a stored point, for orientations that swap width and height (EXIF 2.32,
tag 0x0112)."""


def fit(shapes: Iterable[Shape], size: Size) -> bool:
    """Whether all shapes, in pixels, are inside an image of this size."""
    width, height = size
    return all(
        -SLACK_PX <= x <= width + SLACK_PX and -SLACK_PX <= y <= height + SLACK_PX
        for shape in shapes
        for x, y in _corners(shape)
    )


def are_of_stored_frame(shapes: Iterable[Shape], stated: Size | None, header: ImageHeader) -> bool:
    """Whether shapes, in pixels, refer to the stored orientation of an image that EXIF turns. `stated`: the size that
    the source states. Without it, they do if they fit into the stored size and not into the displayed one."""
    if not header.is_turned or header.size == header.stored:
        return False
    shapes = tuple(shapes)
    if stated == header.size or not fit(shapes, header.stored):
        return False
    return stated == header.stored or not fit(shapes, header.size)


def turned(shapes: Iterable[Shape], header: ImageHeader) -> tuple[Shape, ...]:
    """Return shapes of the stored orientation in the displayed one."""
    turn = _TURNS[header.orientation]
    return tuple(replace(shape, points=_turned(shape, turn, header.stored)) for shape in shapes)


def _turned(shape: Shape, turn: Callable[[float, float, Size], Point], stored: Size) -> tuple[Point, ...]:
    if shape.type is not ShapeType.RECTANGLE:
        return tuple(turn(x, y, stored) for x, y in shape.points)
    (one_x, one_y), (other_x, other_y) = (turn(x, y, stored) for x, y in _corners(shape))
    _, (width, height) = shape.points
    return (min(one_x, other_x), min(one_y, other_y)), (height, width)


def _corners(shape: Shape) -> tuple[Point, ...]:
    """Return the points of a shape; of a rectangle two opposite corners."""
    if shape.type is not ShapeType.RECTANGLE:
        return shape.points
    (x, y), (width, height) = shape.points
    return (x, y), (x + width, y + height)


def to_pixels(record: ImageRecord, size: Size) -> ImageRecord:
    """Return a normalized record with coordinates in pixels. `size`: of the image."""
    width, height = size
    return _each_point(record, lambda x, y: (x * width, y * height), normalized=False)


def to_fractions(record: ImageRecord, size: Size) -> ImageRecord:
    """Return a record in pixels with coordinates as fractions. `size`: of the image."""
    width, height = size
    return _each_point(record, lambda x, y: (x / width, y / height), normalized=True)


def _each_point(record: ImageRecord, turn: Callable[[float, float], Point], *, normalized: bool) -> ImageRecord:
    shapes = tuple(replace(shape, points=tuple(turn(x, y) for x, y in shape.points)) for shape in record.shapes)
    return replace(record, shapes=shapes, normalized=normalized)
