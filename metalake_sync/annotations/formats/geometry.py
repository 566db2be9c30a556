"""Turns geometry that a shape can't hold into polygons: rotated boxes, ellipses and circles.

Owns: these outlines. x grows to the right and y down, so positive angles turn clockwise. Must not: know a format, or
round a coordinate. A number that is not finite gives points that are not finite; the checks of shapes report them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from metalake_sync.core.shapes import Point

CORNERS = 72
"""Of the outline of an ellipse. Its area is 0.13 % smaller than the ellipse's, and its box is the ellipse's box."""


def rotated(point: Point, degrees: float, about: Point) -> Point:
    """Return a point that is turned clockwise about another one."""
    angle = math.radians(degrees)
    if not math.isfinite(angle):
        return (math.nan, math.nan)
    cos, sin = math.cos(angle), math.sin(angle)
    across, down = point[0] - about[0], point[1] - about[1]
    return about[0] + across * cos - down * sin, about[1] + across * sin + down * cos


def rotated_box(
    x: float, y: float, width: float, height: float, degrees: float, about: Point | None = None
) -> tuple[Point, ...]:
    """Return the four corners of a rotated box, clockwise from the one that is top left before the rotation.

    `x`, `y`: the top left corner before the rotation. `about`: the center of the rotation; None is the box's center.
    """
    center = about if about is not None else (x + width / 2, y + height / 2)
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return tuple(rotated(corner, degrees, center) for corner in corners)


def ellipse_outline(
    center_x: float, center_y: float, radius_x: float, radius_y: float, degrees: float = 0.0
) -> tuple[Point, ...]:
    """Return the outline of an ellipse that is turned clockwise about its center."""
    steps = (2 * math.pi * number / CORNERS for number in range(CORNERS))
    outline = ((center_x + radius_x * math.cos(step), center_y + radius_y * math.sin(step)) for step in steps)
    return tuple(rotated(point, degrees, (center_x, center_y)) if degrees else point for point in outline)


def circle_outline(center: Point, on_rim: Point) -> tuple[Point, ...]:
    """Return the outline of a circle with a point on its rim."""
    radius = math.dist(center, on_rim)
    return ellipse_outline(*center, radius, radius)


def without_holes(paths: Sequence[tuple[Point, ...]]) -> tuple[tuple[tuple[Point, ...], ...], int]:
    """Return the paths that are not holes, and how many holes there are. A path inside another one is a hole; a path
    inside a hole is not."""
    if len(paths) == 1:
        return tuple(paths), 0
    boxes = [_bounds(path) for path in paths]
    outer = []
    for at, path in enumerate(paths):
        around = sum(
            other != at and _encloses(boxes[other], boxes[at]) and _is_inside(path, paths[other])
            for other in range(len(paths))
        )
        if around % 2 == 0:
            outer.append(path)
    return tuple(outer), len(paths) - len(outer)


def _bounds(path: Sequence[Point]) -> tuple[float, float, float, float]:
    across, down = [x for x, _ in path], [y for _, y in path]
    return (min(across), min(down), max(across), max(down)) if path else (math.nan,) * 4


def _encloses(outer: tuple[float, float, float, float], inner: tuple[float, float, float, float]) -> bool:
    within = outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]
    return within and outer != inner


_CORNERS_TRIED = 8


def _is_inside(path: Sequence[Point], polygon: Sequence[Point]) -> bool:
    """Whether a path is inside a polygon, as far as some of its corners say."""
    step = max(1, len(path) // _CORNERS_TRIED)
    tried = path[::step]
    return sum(_has_inside(polygon, corner) for corner in tried) * 2 > len(tried)


def _has_inside(polygon: Sequence[Point], point: Point) -> bool:
    """Whether a point is inside a polygon: a ray from it crosses the outline an odd number of times."""
    x, y = point
    inside = False
    for (ax, ay), (bx, by) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            inside = not inside
    return inside
