"""Finds what is wrong with a shape, and repairs it as the policy says. Pure.

Owns: the list of problems, the order in which they are checked, and clipping. Must not: know files or notes.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Literal

from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import Point, Shape, ShapeType
from metalake_sync.lazy_dataclass import dataclass

Treatment = Literal["fix", "skip", "fail"]


class ShapeProblem(enum.StrEnum):
    """The value is the manifest's key under `invalid`."""

    NOT_FINITE = "not_finite"
    EMPTY_LABEL = "empty_label"
    CONTROL_CHARACTER = "control_character"
    CONFIDENCE = "confidence"
    TOO_FEW_POINTS = "too_few_points"
    NEGATIVE_SIZE = "negative_size"
    ZERO_SIZE = "zero_size"
    OUTSIDE = "outside"
    FRACTION = "fraction"
    UNREADABLE = "unreadable"


CLAUSES: Mapping[ShapeProblem, str] = {
    ShapeProblem.NOT_FINITE: "holds a number that is not finite",
    ShapeProblem.EMPTY_LABEL: "has no label",
    ShapeProblem.CONTROL_CHARACTER: "has a control character in its label",
    ShapeProblem.CONFIDENCE: "has a confidence outside 0 to 1",
    ShapeProblem.TOO_FEW_POINTS: "has too few points",
    ShapeProblem.NEGATIVE_SIZE: "has a negative size",
    ShapeProblem.ZERO_SIZE: "has no size",
    ShapeProblem.OUTSIDE: "is partly outside the image",
    ShapeProblem.FRACTION: "has a fraction outside 0 to 1",
    ShapeProblem.UNREADABLE: "can't be read",
}
"""Problem → a clause about the shape."""

FIXABLE = frozenset({ShapeProblem.CONFIDENCE, ShapeProblem.NEGATIVE_SIZE, ShapeProblem.OUTSIDE, ShapeProblem.FRACTION})

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_FEWEST_POINTS = {ShapeType.POLYGON: 3, ShapeType.LINE: 2, ShapeType.POINTS: 1}

ONE_PIXEL: Point = (1.0, 1.0)
"""How far a shape may be outside because of rounding. It is clipped without a note."""

SIX_DIGITS: Point = (1e-6, 1e-6)
"""The same for fractions of an image of unknown size."""


@dataclass(frozen=True, slots=True)
class InvalidPolicy:
    """How invalid shapes are treated. A shape that can't be fixed is skipped."""

    default: Treatment = "skip"
    """For problems that are not in `named`."""
    named: Mapping[ShapeProblem, Treatment] = field(default_factory=dict)

    def of(self, problem: ShapeProblem) -> Treatment:
        """Return the treatment of a problem."""
        treatment = self.named.get(problem, self.default)
        return "skip" if treatment == "fix" and problem not in FIXABLE else treatment


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of checking a shape."""

    shape: Shape | None
    """The shape as it can be sent. None: it can't be sent."""
    problems: tuple[tuple[ShapeProblem, Treatment], ...] = ()
    """The problems that were found, with their treatment."""


def check_shape(shape: Shape, bounds: Size | None, rounding: Point, policy: InvalidPolicy) -> Checked:
    """Check a shape and repair it as the policy says.

    `bounds`: the largest x and y, or None for no limit. `rounding`: how far x and y may exceed them without a note, in
    the same unit.
    """
    if _is_plain_box_within(shape, bounds):
        return Checked(shape)
    problems: list[tuple[ShapeProblem, Treatment]] = []
    while True:
        problem = _first_problem(shape, bounds, rounding)
        if problem is None:
            break
        treatment = policy.of(problem)
        if problem is ShapeProblem.NOT_FINITE and treatment != "fail" and _are_finite(shape.points):
            # An optional value is left out; the shape is kept.
            shape = _without_infinite_extras(shape)
            problems.append((problem, "fix"))
            continue
        problems.append((problem, treatment))
        repaired = _repaired(shape, problem, bounds) if treatment == "fix" else None
        if repaired is None:
            if treatment == "fix":
                problems[-1] = (problem, "skip")
            return Checked(None, tuple(problems))
        shape = repaired
    if bounds is not None and not _within(shape, bounds, (0.0, 0.0)):
        shape = _clamped(shape, bounds)
        if shape.type is ShapeType.RECTANGLE and min(shape.points[1]) <= 0:
            treatment = policy.of(ShapeProblem.ZERO_SIZE)
            return Checked(None, (*problems, (ShapeProblem.ZERO_SIZE, treatment)))
    return Checked(shape, tuple(problems))


def _is_plain_box_within(shape: Shape, bounds: Size | None) -> bool:
    """Whether a shape is a valid box with only a label. Most shapes are, and need no further check."""
    if shape.type is not ShapeType.RECTANGLE or bounds is None or shape.metadata or shape.attributes:
        return False
    (x, y), (width, height) = shape.points
    return (
        x >= 0
        and y >= 0
        and width > 0
        and height > 0
        and x + width <= bounds[0]
        and y + height <= bounds[1]
        and (shape.confidence is None or 0 <= shape.confidence <= 1)
        and not (shape.label.isspace() or not shape.label)
        and shape.label.isprintable()
    )


def _first_problem(shape: Shape, bounds: Size | None, rounding: Point) -> ShapeProblem | None:
    if not _are_finite(shape.points) or not _finite_extras(shape):
        return ShapeProblem.NOT_FINITE
    if not shape.label.strip():
        return ShapeProblem.EMPTY_LABEL
    if not shape.label.isprintable() and _CONTROL_CHARACTER.search(shape.label):
        return ShapeProblem.CONTROL_CHARACTER
    if shape.confidence is not None or shape.attributes:
        values = [value.confidence for group in shape.attributes.values() for value in group]
        if any(confidence is not None and not 0 <= confidence <= 1 for confidence in (shape.confidence, *values)):
            return ShapeProblem.CONFIDENCE
    if shape.type is ShapeType.RECTANGLE:
        width, height = shape.points[1]
        if width < 0 or height < 0:
            return ShapeProblem.NEGATIVE_SIZE
        if width == 0 or height == 0:
            return ShapeProblem.ZERO_SIZE
    elif len(shape.points) < _FEWEST_POINTS[shape.type]:
        return ShapeProblem.TOO_FEW_POINTS
    if bounds is not None and not _within(shape, bounds, rounding):
        return ShapeProblem.FRACTION if bounds == (1, 1) else ShapeProblem.OUTSIDE
    return None


def _are_finite(points: Sequence[Point]) -> bool:
    return all(math.isfinite(x) and math.isfinite(y) for x, y in points)


def _finite_extras(shape: Shape) -> bool:
    if shape.confidence is not None and not math.isfinite(shape.confidence):
        return False
    if not shape.metadata and not shape.attributes:
        return True
    extras: list[Any] = [shape.metadata]
    for group in shape.attributes.values():
        for value in group:
            extras += [value.value, value.confidence, value.metadata]
    return _is_finite(*extras)


def _without_infinite_extras(shape: Shape) -> Shape:
    """Return a shape without the values of confidence, metadata and attributes that are not finite."""

    def finite(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if _is_finite(value)}

    def confidence(value: float | None) -> float | None:
        return value if _is_finite(value) else None

    attributes = {
        name: tuple(
            replace(one, confidence=confidence(one.confidence), metadata=finite(one.metadata))
            for one in group
            if _is_finite(one.value)
        )
        for name, group in shape.attributes.items()
    }
    attributes = {name: group for name, group in attributes.items() if group}
    return replace(
        shape, confidence=confidence(shape.confidence), metadata=finite(shape.metadata), attributes=attributes
    )


def _is_finite(*values: Any) -> bool:
    """Whether all numbers in JSON values are finite."""
    extras = [*values]
    while extras:
        extra = extras.pop()
        match extra:
            case float():
                if not math.isfinite(extra):
                    return False
            case dict():
                extras.extend(extra.values())
            case list():
                extras.extend(extra)
    return True


def _corners(shape: Shape) -> Sequence[Point]:
    if shape.type is not ShapeType.RECTANGLE:
        return shape.points
    (x, y), (width, height) = shape.points
    return (x, y), (x + width, y + height)


def _within(shape: Shape, bounds: Size, rounding: Point) -> bool:
    across, down = bounds
    over_x, over_y = rounding
    return all(-over_x <= x <= across + over_x and -over_y <= y <= down + over_y for x, y in _corners(shape))


def _repaired(shape: Shape, problem: ShapeProblem, bounds: Size | None) -> Shape | None:
    """Return a shape without the problem, or None if nothing remains of it."""
    if problem is ShapeProblem.CONFIDENCE:
        return _with_confidences_clipped(shape)
    if problem is ShapeProblem.NEGATIVE_SIZE:
        (x, y), (width, height) = shape.points
        return replace(shape, points=((x + min(width, 0), y + min(height, 0)), (abs(width), abs(height))))
    assert bounds is not None
    match shape.type:
        case ShapeType.RECTANGLE:
            clipped = _clamped(shape, bounds)
            return clipped if min(clipped.points[1]) > 0 else None
        case ShapeType.POLYGON:
            points = _clip_polygon(shape.points, bounds)
            return replace(shape, points=points) if len(points) >= 3 else None
        case ShapeType.LINE:
            # A line that leaves the image and returns follows the border in between.
            return _clamped(shape, bounds)
        case ShapeType.POINTS:
            across, down = bounds
            inside = tuple((x, y) for x, y in shape.points if 0 <= x <= across and 0 <= y <= down)
            return replace(shape, points=inside) if inside else None


def _with_confidences_clipped(shape: Shape) -> Shape:
    def clipped(confidence: float | None) -> float | None:
        return None if confidence is None else min(1.0, max(0.0, confidence))

    attributes = {
        name: tuple(replace(value, confidence=clipped(value.confidence)) for value in group)
        for name, group in shape.attributes.items()
    }
    return replace(shape, confidence=clipped(shape.confidence), attributes=attributes)


def _clamped(shape: Shape, bounds: Size) -> Shape:
    across, down = bounds
    corners = [(min(max(x, 0.0), across), min(max(y, 0.0), down)) for x, y in _corners(shape)]
    if shape.type is ShapeType.RECTANGLE:
        (left, top), (right, bottom) = corners
        corners = [(left, top), (right - left, bottom - top)]
    return replace(shape, points=tuple(corners))


def _clip_polygon(points: Sequence[Point], bounds: Size) -> tuple[Point, ...]:
    """Return the part of a polygon inside the image, clipped border by border (Sutherland and Hodgman)."""
    across, down = bounds
    for axis, sign, limit in ((0, 1, 0.0), (0, -1, float(across)), (1, 1, 0.0), (1, -1, float(down))):
        kept: list[Point] = []
        for index, point in enumerate(points):
            before = points[index - 1]
            inside, was_inside = sign * (point[axis] - limit) >= 0, sign * (before[axis] - limit) >= 0
            if inside != was_inside:
                kept.append(_crossing(before, point, axis, limit))
            if inside:
                kept.append(point)
        points = kept
    return tuple(points)


def _crossing(a: Point, b: Point, axis: int, limit: float) -> Point:
    share = (limit - a[axis]) / (b[axis] - a[axis])
    other = a[1 - axis] + share * (b[1 - axis] - a[1 - axis])
    return (limit, other) if axis == 0 else (other, limit)
