"""Annotations as values: one canonical record for each image, independent of the source's format.

Owns: the record, its canonical bytes and its digest. Must not: read sources, validate shapes, or call the lake.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, TypeAlias

from blake3 import blake3

from metalake_sync.lazy_dataclass import dataclass

Point = tuple[float, float]

FormatName: TypeAlias = str
"""The name of an annotation format, built in or installed. See `metalake_sync.format_registry`."""

ShapeTypeName = Literal["rectangle", "polygon", "line", "points"]
"""The values of `ShapeType`, as manifests and the Python API write them."""


class ShapeType(enum.StrEnum):
    RECTANGLE = "rectangle"
    POLYGON = "polygon"
    LINE = "line"
    POINTS = "points"


@dataclass(frozen=True, slots=True)
class AttributeValue:
    """One value of an attribute."""

    value: Any
    confidence: float | None = None
    """From 0 to 1, or None if the source does not have it."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape, in pixels or, in a normalized record, in fractions of the image's size."""

    type: ShapeType
    points: tuple[Point, ...]
    """The points of a polygon, a line or a set of points. A rectangle has exactly two pairs: `(x, y)` of its top left
    corner and `(width, height)`."""
    label: str
    confidence: float | None = None
    """From 0 to 1, or None if the source does not have it."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, tuple[AttributeValue, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """All shapes of one image in one operation."""

    image: str
    """The image's name in the source."""
    shapes: tuple[Shape, ...]
    normalized: bool = False
    """Whether points are fractions of the image's size instead of pixels."""
    bucket: str | None = None
    """The storage bucket that the source names for the image. It belongs to the address: the canonical bytes do not
    contain it."""


@dataclass(frozen=True, slots=True)
class KnownSet:
    """The annotation set of one entry."""

    digest: str
    shape_count: int
    labels: Mapping[str, Mapping[str, list[str]]]
    """Label → attribute → values, as sent to the lake."""
    spelled: tuple[str, ...]
    """The labels as the source spells them."""


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_UNCHECKED = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def encode_record(record: ImageRecord, *, checked: bool = True) -> bytes:
    """Return the canonical bytes of a record. Equal sets have equal bytes; `decode_record` is the inverse.

    `checked`: raise ValueError for numbers that are not finite. Unchecked bytes must not be sent.
    """
    shapes = [
        {
            "type": shape.type.value,
            "points": [[float(x), float(y)] for x, y in shape.points],
            "label": shape.label,
            "confidence": shape.confidence,
            "metadata": shape.metadata,
            "attributes": {
                name: [[value.value, value.confidence, value.metadata] for value in values]
                for name, values in shape.attributes.items()
            },
        }
        for shape in record.shapes
    ]
    document = {"image": record.image, "normalized": record.normalized, "shapes": shapes}
    encoder = _CANONICAL if checked else _UNCHECKED
    return encoder.encode(document).encode("utf-8", "surrogatepass")


def decode_record(data: bytes) -> ImageRecord:
    """Return the record that `encode_record` encoded, without its bucket."""
    document = json.loads(data.decode("utf-8", "surrogatepass"))
    shapes = tuple(
        Shape(
            type=ShapeType(shape["type"]),
            points=tuple((x, y) for x, y in shape["points"]),
            label=shape["label"],
            confidence=shape["confidence"],
            metadata=shape["metadata"],
            attributes={
                name: tuple(AttributeValue(value, confidence, metadata) for value, confidence, metadata in values)
                for name, values in shape["attributes"].items()
            },
        )
        for shape in document["shapes"]
    )
    return ImageRecord(document["image"], shapes, document["normalized"])


def digest_of_shapes(encoded: bytes) -> str:
    """Return the digest of a record's canonical bytes (BLAKE3, hex)."""
    return blake3(encoded).hexdigest()


EMPTY_SET_DIGEST = digest_of_shapes(b"")
"""The digest of a set without shapes."""
