"""Annotations as values: one canonical record for each image, whatever format it was read from.

Owns: the record, its canonical bytes and its digest. Must not: read sources, validate, or speak to the lake.
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
"""The name of an annotation format, built in or installed. See `metalake_sync.format_names`."""

ShapeTypeName = Literal["rectangle", "polygon", "line", "points"]
"""The values of `ShapeType`, as manifests and the Python API write them."""


class ShapeType(enum.StrEnum):
    RECTANGLE = "rectangle"
    POLYGON = "polygon"
    LINE = "line"
    POINTS = "points"


@dataclass(frozen=True, slots=True)
class AttributeValue:
    """One value of an attribute. `confidence`: 0 to 1, or None where the source gives none."""

    value: Any
    confidence: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shape:
    """One drawn thing, in pixels or, in a normalized record, in fractions of the picture.

    `points`: the corners of a polygon, the points of a line or of points; for a rectangle exactly two pairs,
    `(x, y)` of the top left corner and `(width, height)`. `confidence`: 0 to 1, or None.
    """

    type: ShapeType
    points: tuple[Point, ...]
    label: str
    confidence: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, tuple[AttributeValue, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """All shapes of one image under one operation. `image`: the name that the source calls it by."""

    image: str
    shapes: tuple[Shape, ...]
    normalized: bool = False
    bucket: str | None = None
    """The storage bucket that the source names for the image. It is part of the address, not of the set: canonical
    bytes do not hold it."""


@dataclass(frozen=True, slots=True)
class KnownSet:
    """The set of one entry. `labels`: label → attribute → values, as they are sent. `spelled`: the labels as the source
    has them."""

    digest: str
    shape_count: int
    labels: Mapping[str, Mapping[str, list[str]]]
    spelled: tuple[str, ...]


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_UNCHECKED = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def encode_record(record: ImageRecord, *, checked: bool = True) -> bytes:
    """The canonical bytes of a record: equal sets have equal bytes. `decode_record` is the inverse, but for the bucket.
    `checked`: its numbers are finite; without it, the bytes are to be read back and no more."""
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
    """Read back what `encode_record` wrote."""
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
    """The digest of a record's canonical bytes (BLAKE3 in hex)."""
    return blake3(encoded).hexdigest()


EMPTY_SET_DIGEST = digest_of_shapes(b"")
"""The digest that stands for an image whose set is empty."""
