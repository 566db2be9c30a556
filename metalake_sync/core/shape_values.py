"""Shapes as comparable values: one unit for two sets, one order for all shapes, and what counts as the same.

Owns: the tolerances, the order, and equality of geometry, confidence and attributes. Must not: pair shapes of two sets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType
from metalake_sync.lazy_dataclass import dataclass

Size = tuple[int, int]
"""Width and height of an image in pixels."""

TOLERANCE_PX = 1e-3
"""Coordinates that differ by no more than this many pixels are equal: lakes round numbers."""

TOLERANCE_FRACTION = 1e-6
"""The same for fractions of an image whose size is unknown."""

TOLERANCE_CONFIDENCE = 1e-6
"""Confidences that differ by no more than this are equal: lakes round them to six digits."""

ID_FIELDS = ("id", "shape_id", "shapeId", "uuid")
"""Metadata fields in which sources keep their own id of a shape. The first field that a shape has counts."""

OrderKey = tuple[str, str, tuple[Point, ...], tuple[float, ...], str]
"""Sorts shapes: type, label, points, confidence, then metadata and attributes as canonical JSON."""

ShapeId = tuple[str, str | int]
"""The metadata field and its value."""


class UnknownImageSize(ValueError):
    """One set is in pixels and the other in fractions, and the size of the image is unknown."""


class UnknownShape(ValueError):
    """A diff changes or removes a shape that the set does not contain."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The unit of two or more sets of one image, and what is close in it."""

    normalized: bool
    """Shapes are in fractions of the image. False: in pixels."""
    size: Size | None
    """Width and height of the image in pixels. None: unknown."""

    @property
    def scale(self) -> Point:
        """Factors that turn coordinates to pixels, or (1, 1) where they are pixels or the size is unknown."""
        return (float(self.size[0]), float(self.size[1])) if self.normalized and self.size is not None else (1.0, 1.0)

    @property
    def tolerance(self) -> float:
        """The largest difference of equal coordinates, after scaling."""
        return TOLERANCE_FRACTION if self.normalized and self.size is None else TOLERANCE_PX

    @property
    def diagonal(self) -> float | None:
        """The image's diagonal, after scaling. None: unknown."""
        if self.size is not None:
            return math.hypot(*self.size)
        return math.sqrt(2) if self.normalized else None

    def converted(self, record: ImageRecord) -> tuple[Shape, ...]:
        """Return the shapes of a record in this unit. Raises UnknownImageSize."""
        if record.normalized == self.normalized or not record.shapes:
            return record.shapes
        if self.size is None:
            raise UnknownImageSize(f"the size of '{record.image}' is needed to compare fractions with pixels")
        width, height = self.size if record.normalized else (1 / self.size[0], 1 / self.size[1])
        return tuple(
            replace(shape, points=tuple((x * width, y * height) for x, y in shape.points)) for shape in record.shapes
        )

    def scaled(self, points: Sequence[Point]) -> Sequence[Point]:
        """Return points in pixels, or unscaled where they are pixels or the size is unknown."""
        across, down = self.scale
        return points if across == down == 1 else [(x * across, y * down) for x, y in points]


def common_frame(records: Iterable[ImageRecord], size: Size | None) -> Frame:
    """Return the unit in which sets of one image are compared: fractions where all sets are in fractions, else pixels.
    Empty sets have no unit and do not count, except where all are empty."""
    records = list(records)
    filled = [record for record in records if record.shapes] or records
    return Frame(all(record.normalized for record in filled), size)


def order_key(shape: Shape) -> OrderKey:
    """Return a value that sorts shapes, and is equal for shapes with equal values only. Numbers must be finite."""
    confidence = () if shape.confidence is None else (shape.confidence,)
    extras = "" if not shape.metadata and not shape.attributes else _extras_text(shape)
    return shape.type, shape.label, shape.points, confidence, extras


def _extras_text(shape: Shape) -> str:
    attributes = {
        name: [[value.value, value.confidence, value.metadata] for value in values]
        for name, values in shape.attributes.items()
    }
    return json.dumps([shape.metadata, attributes], sort_keys=True, ensure_ascii=False)


def same_shapes(one: Iterable[Shape], other: Iterable[Shape]) -> bool:
    """Whether two sets contain exactly the same shapes. Their order does not matter; duplicates count."""
    return sorted(map(order_key, one)) == sorted(map(order_key, other))


def shape_id(shape: Shape, fields: Sequence[str] = ID_FIELDS) -> ShapeId | None:
    """Return the id that the source gave the shape: a text or a whole number in one of these metadata fields."""
    if shape.metadata:
        for field in fields:
            value = shape.metadata.get(field)
            if (isinstance(value, str) and value) or (isinstance(value, int) and not isinstance(value, bool)):
                return field, value
    return None


def is_same_geometry(one: Shape, other: Shape, frame: Frame) -> bool:
    """Whether two shapes of one type cover the same pixels, up to rounding. Polygons may start at another vertex or run
    the other way round."""
    if one.points == other.points:
        return True
    count = len(one.points)
    if one.type is not other.type or count != len(other.points):
        return False
    ours, theirs, tolerance = frame.scaled(one.points), frame.scaled(other.points), frame.tolerance
    if _are_close(ours, theirs, tolerance):
        return True
    if one.type is not ShapeType.POLYGON:
        return False
    for start, point in enumerate(theirs):
        if _are_close(ours[:1], [point], tolerance):
            forward = [*theirs[start:], *theirs[:start]]
            if _are_close(ours, forward, tolerance) or _are_close(ours, [point, *forward[:0:-1]], tolerance):
                return True
    return False


def _are_close(ours: Sequence[Point], theirs: Sequence[Point], tolerance: float) -> bool:
    return all(
        abs(a[0] - b[0]) <= tolerance and abs(a[1] - b[1]) <= tolerance for a, b in zip(ours, theirs, strict=True)
    )


def is_same_confidence(one: float | None, other: float | None) -> bool:
    """Whether two confidences are equal up to rounding. A missing confidence only equals a missing one."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE_CONFIDENCE


def is_same_extras(one: Shape, other: Shape, ignored: Sequence[str] = ()) -> bool:
    """Whether two shapes have the same metadata and attributes. `ignored`: metadata fields that may differ."""
    if not (one.metadata or other.metadata or one.attributes or other.attributes):
        return True
    return is_same_json(_without(one.metadata, ignored), _without(other.metadata, ignored)) and is_same_attributes(
        one.attributes, other.attributes
    )


def _without(metadata: Mapping[str, Any], ignored: Sequence[str]) -> Mapping[str, Any]:
    return {name: value for name, value in metadata.items() if name not in ignored} if ignored else metadata


def is_same_attributes(
    one: Mapping[str, tuple[AttributeValue, ...]], other: Mapping[str, tuple[AttributeValue, ...]]
) -> bool:
    """Whether two shapes have the same values of the same attributes, with confidences up to rounding."""
    return one.keys() == other.keys() and all(is_same_values(values, other[name]) for name, values in one.items())


def is_same_values(one: Sequence[AttributeValue], other: Sequence[AttributeValue]) -> bool:
    """Whether one attribute has the same values in the same order, with confidences up to rounding."""
    return len(one) == len(other) and all(
        is_same_json(a.value, b.value)
        and is_same_confidence(a.confidence, b.confidence)
        and is_same_json(a.metadata, b.metadata)
        for a, b in zip(one, other, strict=True)
    )


def is_same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal. 1 equals 1.0; true does not equal 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same_json(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(is_same_json(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)
