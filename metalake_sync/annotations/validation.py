"""What is wrong with a shape. Pure: a shape in, problems out; what becomes of it is decided elsewhere."""

from __future__ import annotations

import enum
import math

from metalake_sync.core.shapes import Shape, ShapeType


class ShapeProblem(enum.Enum):
    """The value reads as a clause about the shape."""

    NOT_FINITE = "has a coordinate that is no finite number"
    ZERO_SIZE = "has no size"
    NEGATIVE_SIZE = "has a negative size"
    TOO_FEW_POINTS = "has too few points"
    EMPTY_LABEL = "has no label"
    CONFIDENCE_OUT_OF_RANGE = "has a confidence outside 0 to 1"
    NORMALIZED_OUT_OF_RANGE = "has a fraction outside 0 to 1"


_FEWEST_POINTS = {ShapeType.POLYGON: 3, ShapeType.LINE: 2, ShapeType.POINTS: 1}

ROUNDING = 1e-6
"""Fractions that were computed from pixels may overhang by this much."""


def shape_problem(shape: Shape, *, normalized: bool) -> ShapeProblem | None:
    """The first thing that is wrong with a shape, or None."""
    if not all(math.isfinite(x) and math.isfinite(y) for x, y in shape.points):
        return ShapeProblem.NOT_FINITE
    if not shape.label.strip():
        return ShapeProblem.EMPTY_LABEL
    confidences = [shape.confidence, *(value.confidence for values in shape.attributes.values() for value in values)]
    if any(confidence is not None and not 0 <= confidence <= 1 for confidence in confidences):
        return ShapeProblem.CONFIDENCE_OUT_OF_RANGE
    if shape.type is ShapeType.RECTANGLE:
        (x, y), (width, height) = shape.points
        if width < 0 or height < 0:
            return ShapeProblem.NEGATIVE_SIZE
        if width == 0 or height == 0:
            return ShapeProblem.ZERO_SIZE
        corners = [(x, y), (x + width, y + height)]
    else:
        if len(shape.points) < _FEWEST_POINTS[shape.type]:
            return ShapeProblem.TOO_FEW_POINTS
        corners = list(shape.points)
    if normalized and not all(-ROUNDING <= part <= 1 + ROUNDING for corner in corners for part in corner):
        return ShapeProblem.NORMALIZED_OUT_OF_RANGE
    return None
