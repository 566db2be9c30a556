"""Outlines with Bézier curves as polygons.

Owns: the points along a curve. Must not: know a format.
"""

from __future__ import annotations

from collections.abc import Sequence

from metalake_sync.core.shapes import Point

CONTROL = "C"
"""The type of a control point. Two of them between two corners make a cubic curve."""

STEPS = 16
"""A curve becomes as many straight lines."""


def flattened(points: Sequence[Point], types: Sequence[str], *, closed: bool = True) -> tuple[Point, ...]:
    """Return the corners of an outline, and points along its curves. `types`: of each point. Control points that are
    not two between two corners count as corners."""
    if CONTROL not in types:
        return tuple(points)
    start = next((at for at, kind in enumerate(types) if kind != CONTROL), None)
    if start is None:
        return tuple(points)
    order = [*range(start, len(points)), *range(start)] if closed else [*range(len(points))]
    around = [*order, order[0]] if closed else order
    found: list[Point] = []
    at = 0
    while at < len(order):
        here = order[at]
        if types[here] != CONTROL:
            found.append(points[here])
        ahead = around[at + 1 : at + 4]
        kinds = [types[one] for one in ahead]
        if types[here] != CONTROL and kinds[:2] == [CONTROL, CONTROL] and len(kinds) == 3 and kinds[2] != CONTROL:
            found += _along(points[here], *(points[one] for one in ahead))
            at += 3
            continue
        if types[here] == CONTROL:
            found.append(points[here])
        at += 1
    return tuple(found)


def _along(start: Point, first: Point, second: Point, end: Point) -> list[Point]:
    """Return the points of a cubic curve between its ends."""
    found: list[Point] = []
    for step in range(1, STEPS):
        part = step / STEPS
        rest = 1 - part
        weights = (rest**3, 3 * rest**2 * part, 3 * rest * part**2, part**3)
        corners = (start, first, second, end)
        found.append(
            (
                sum(weight * corner[0] for weight, corner in zip(weights, corners, strict=True)),
                sum(weight * corner[1] for weight, corner in zip(weights, corners, strict=True)),
            )
        )
    return found
