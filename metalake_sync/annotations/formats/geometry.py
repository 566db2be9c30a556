"""Turns geometry that a shape can't hold into polygons: rotated boxes, ellipses and circles.

Owns: these outlines. x grows to the right and y down, so positive angles turn clockwise. Must not: know a format, or
round a coordinate. A number that is not finite gives points that are not finite; the checks of shapes report them.
"""

from __future__ import annotations

import math

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
