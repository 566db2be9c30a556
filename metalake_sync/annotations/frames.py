"""Shapes that count in the stored frame of an image that EXIF turns, brought to the frame that is shown.

Owns: telling them from shapes of the shown frame, and the turn. Must not: know sources or notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from metalake_sync.annotations.images import Size
from metalake_sync.core.shapes import Point, Shape, ShapeType
from metalake_sync.sources.images import ImageHeader

SLACK_PX = 1.0
"""What tools round away at an edge."""

_TURNS: Mapping[int, Callable[[float, float, Size], Point]] = {
    5: lambda x, y, _: (y, x),
    6: lambda x, y, stored: (stored[1] - y, x),
    7: lambda x, y, stored: (stored[1] - y, stored[0] - x),
    8: lambda x, y, stored: (y, stored[0] - x),
}
"""Where a stored point is shown, by the orientations that exchange width and height (EXIF 2.32, tag 0x0112)."""


def fit(shapes: Iterable[Shape], size: Size) -> bool:
    """Whether all shapes, in pixels, lie in an image of this size."""
    width, height = size
    return all(
        -SLACK_PX <= x <= width + SLACK_PX and -SLACK_PX <= y <= height + SLACK_PX
        for shape in shapes
        for x, y in _corners(shape)
    )


def are_of_stored_frame(shapes: Iterable[Shape], said: Size | None, header: ImageHeader) -> bool:
    """Whether shapes in pixels count in the stored frame of an image that is turned. `said`: the size that the source
    gives. Where it gives none, shapes that fit in the stored frame alone tell it."""
    if not header.is_turned or header.size == header.stored:
        return False
    shapes = tuple(shapes)
    if said == header.size or not fit(shapes, header.stored):
        return False
    return said == header.stored or not fit(shapes, header.size)


def turned(shapes: Iterable[Shape], header: ImageHeader) -> tuple[Shape, ...]:
    """Shapes of the stored frame, as they lie in the shown one."""
    turn = _TURNS[header.orientation]
    return tuple(replace(shape, points=_turned(shape, turn, header.stored)) for shape in shapes)


def _turned(shape: Shape, turn: Callable[[float, float, Size], Point], stored: Size) -> tuple[Point, ...]:
    if shape.type is not ShapeType.RECTANGLE:
        return tuple(turn(x, y, stored) for x, y in shape.points)
    (one_x, one_y), (other_x, other_y) = (turn(x, y, stored) for x, y in _corners(shape))
    _, (width, height) = shape.points
    return (min(one_x, other_x), min(one_y, other_y)), (height, width)


def _corners(shape: Shape) -> tuple[Point, ...]:
    """The points of a shape; of a rectangle two opposite corners."""
    if shape.type is not ShapeType.RECTANGLE:
        return shape.points
    (x, y), (width, height) = shape.points
    return (x, y), (x + width, y + height)
