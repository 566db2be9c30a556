"""The MetaLake's own annotation JSON, old form and new, as canonical records.

New form: each annotation says its type. Old form: `shape_type` at the top says it for the whole file. Source: the
vendor's page on uploading, "JSON format for annotation data".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError

_COORDINATES = {
    ShapeType.RECTANGLE: "bbox",
    ShapeType.POLYGON: "polygon",
    ShapeType.LINE: "line",
    ShapeType.POINTS: "points",
}
_KNOWN_KEYS = frozenset({"type", "bbox", "polygon", "line", "points", "label", "confidence", "metadata", "attributes"})


@dataclass(slots=True)
class FormatNotes:
    """Keys that the format does not know, with how often they were met: they are not sent."""

    unknown_keys: dict[str, int] = field(default_factory=dict)


def looks_like_metalake(document: object) -> bool:
    return isinstance(document, dict) and isinstance(document.get("images"), list) and "annotations" not in document


def read_metalake(document: Any, where: str, normalized: bool, notes: FormatNotes) -> Iterator[ImageRecord]:
    """Read a parsed document. Raises ManifestError that names the entry, such as images[3].annotations[2]."""
    if not looks_like_metalake(document):
        raise ManifestError(
            "it is no MetaLake annotation file",
            where=where,
            remedy='It should read {"images": [{"image", "annotations"}]}.',
        )
    default_type = document.get("shape_type")
    for number, image in enumerate(document["images"]):
        place = f"{where}: images[{number}]"
        if not isinstance(image, dict) or not isinstance(image.get("image"), str) or not image["image"]:
            raise ManifestError("the entry names no image", where=place, remedy='Write "image": "a.jpg".')
        annotations = image.get("annotations")
        if not isinstance(annotations, list):
            raise ManifestError("'annotations' is no list", where=place, remedy="An image without shapes has [].")
        shapes = tuple(
            _shape(annotation, default_type, f"{place}.annotations[{index}]", notes)
            for index, annotation in enumerate(annotations)
        )
        yield ImageRecord(image["image"], shapes, normalized)


def _shape(annotation: Any, default_type: Any, where: str, notes: FormatNotes) -> Shape:
    if not isinstance(annotation, dict):
        raise ManifestError("the annotation is no object", where=where, remedy="See the format's documentation.")
    for key in annotation.keys() - _KNOWN_KEYS:
        notes.unknown_keys[key] = notes.unknown_keys.get(key, 0) + 1
    type_name = annotation.get("type", default_type)
    try:
        shape_type = ShapeType(type_name)
    except ValueError:
        known = ", ".join(ShapeType)
        told = f"the type is {type_name!r}" if type_name is not None else "the annotation has no type"
        raise ManifestError(told, where=where, remedy=f"It takes {known}.") from None
    key = _COORDINATES[shape_type]
    label = annotation.get("label")
    if not isinstance(label, str):
        raise ManifestError("'label' is no text", where=where, remedy="Each annotation has a label.")
    metadata = annotation.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ManifestError("'metadata' is no object", where=where, remedy='Write {"field": "value"}.')
    return Shape(
        type=shape_type,
        points=_points(annotation.get(key), shape_type, f"{where}.{key}"),
        label=label,
        confidence=_confidence(annotation.get("confidence"), f"{where}.confidence"),
        metadata=metadata,
        attributes=_attributes(annotation.get("attributes") or {}, f"{where}.attributes"),
    )


def _points(value: Any, shape_type: ShapeType, where: str) -> tuple[Point, ...]:
    if shape_type is ShapeType.RECTANGLE:
        if not isinstance(value, list) or len(value) != 4:
            raise ManifestError("a rectangle has four numbers", where=where, remedy="Write [x, y, width, height].")
        x, y, width, height = (_number(part, where) for part in value)
        return (x, y), (width, height)
    if not isinstance(value, list):
        raise ManifestError(f"a {shape_type} has a list of points", where=where, remedy="Write [[x, y], [x, y]].")
    points: list[Point] = []
    for index, point in enumerate(value):
        if not isinstance(point, list) or len(point) != 2:
            raise ManifestError("a point has two numbers", where=f"{where}[{index}]", remedy="Write [x, y].")
        points.append((_number(point[0], where), _number(point[1], where)))
    return tuple(points)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ManifestError(f"{value!r} is no number", where=where, remedy="Write a number.")
    try:
        return float(value)
    except OverflowError:
        raise ManifestError("the number is too large", where=where, remedy="Write a number in pixels.") from None


def _confidence(value: Any, where: str) -> float | None:
    return None if value is None else _number(value, where)


def _attributes(value: Any, where: str) -> Mapping[str, tuple[AttributeValue, ...]]:
    if not isinstance(value, dict):
        raise ManifestError("'attributes' is no object", where=where, remedy='Write {"name": [{"value": "x"}]}.')
    attributes: dict[str, tuple[AttributeValue, ...]] = {}
    for name, values in value.items():
        if not isinstance(values, list):
            raise ManifestError(
                "an attribute has a list of values", where=f"{where}.{name}", remedy='Write [{"value": "x"}].'
            )
        attributes[name] = tuple(_attribute_value(one, f"{where}.{name}[{index}]") for index, one in enumerate(values))
    return attributes


def _attribute_value(value: Any, where: str) -> AttributeValue:
    if not isinstance(value, dict) or "value" not in value or value["value"] is None:
        raise ManifestError(
            "the attribute has no value", where=where, remedy='Write {"value": "x", "confidence": 0.5}.'
        )
    metadata = value.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ManifestError("'metadata' is no object", where=where, remedy='Write {"field": "value"}.')
    return AttributeValue(value["value"], _confidence(value.get("confidence"), f"{where}.confidence"), metadata)
