"""The MetaLake's own annotation JSON, old form and new, as canonical records.

New form: each annotation says its type. Old form: `shape_type` at the top says it for the whole file. Source: the
vendor's page on uploading, "JSON format for annotation data".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from metalake_sync.annotations.entries import Drawn, Entry, ReadNotes, SourceFile, Undrawn, raw_bytes, raw_value
from metalake_sync.annotations.entries import number as as_number
from metalake_sync.annotations.json_stream import members
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError

_COORDINATES = {
    ShapeType.RECTANGLE: "bbox",
    ShapeType.POLYGON: "polygon",
    ShapeType.LINE: "line",
    ShapeType.POINTS: "points",
}
_NO_DEFAULT = ["metalake"]
_KNOWN_KEYS = frozenset({"type", "bbox", "polygon", "line", "points", "label", "confidence", "metadata", "attributes"})


def read_metalake(source: SourceFile, normalized: bool) -> Iterator[Entry]:
    """Read a file image by image. Raises ManifestError that names the entry, such as images[3].annotations[2]."""
    types = _DefaultType(source)
    found = False
    for key, number, value in members(source.path, source.shown_as, {"images"}):
        if key == "shape_type":
            types.said(value)
        found = found or (key == "images" and isinstance(value, list)) or number is not None
        if number is None:
            continue
        place = f"images[{number}]"
        where = f"{source.shown_as}: {place}"
        if not isinstance(value, dict) or not isinstance(value.get("image"), str) or not value["image"]:
            raise ManifestError("the entry names no image", where=where, remedy='Write "image": "a.jpg".')
        annotations = value.get("annotations")
        if not isinstance(annotations, list):
            raise ManifestError("'annotations' is no list", where=where, remedy="An image without shapes has [].")
        yield Entry(
            ImageRecord(value["image"], (), normalized),
            place,
            shape_form=place + ".annotations[{}]",
            undrawn=_undrawn(annotations, types, where) if annotations else None,
        )
    if not found:
        raise ManifestError(
            "it is no MetaLake annotation file",
            where=source.shown_as,
            remedy='It should read {"images": [{"image", "annotations"}]}.',
        )


def _undrawn(annotations: list[Any], types: _DefaultType, where: str) -> Undrawn:
    needs_default = any(isinstance(annotation, dict) and "type" not in annotation for annotation in annotations)
    return Undrawn(
        raw_bytes(annotations),
        types.as_dependency() if needs_default else _NO_DEFAULT,
        functools.partial(_draw, annotations, types, where),
        functools.partial(_draw_again, types),
    )


def _draw(annotations: list[Any], types: _DefaultType, where: str, notes: ReadNotes) -> Drawn:
    shapes = (
        _shape(annotation, types.get, f"{where}.annotations[{index}]", notes)
        for index, annotation in enumerate(annotations)
    )
    return tuple(shapes), ()


def _draw_again(types: _DefaultType, raw: bytes) -> tuple[Shape, ...]:
    shapes, _ = _draw(raw_value(raw), types, "", ReadNotes())
    return shapes


class _DefaultType:
    """`shape_type` of the old form. It may stand behind the images: then it is looked for once, when it is needed."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._known = False
        self._value: Any = None
        self._dependency: list[Any] = []

    def said(self, value: Any) -> None:
        self._known, self._value = True, value

    def get(self) -> Any:
        if not self._known:
            self.said(None)
            for key, _, value in members(self._source.path, self._source.shown_as, {"images"}):
                if key == "shape_type":
                    self.said(value)
        return self._value

    def as_dependency(self) -> list[Any]:
        """One object, for whoever keeps what depends on it."""
        self._dependency = self._dependency or ["metalake", self.get()]
        return self._dependency


def read_shapes(annotations: Sequence[Any], where: str) -> tuple[Shape, ...]:
    """The shapes of one image, each of which says its type. Raises ManifestError."""
    notes = ReadNotes()
    return tuple(
        _shape(annotation, lambda: None, f"{where}[{index}]", notes) for index, annotation in enumerate(annotations)
    )


def _shape(annotation: Any, default_type: Callable[[], Any], where: str, notes: ReadNotes) -> Shape:
    if not isinstance(annotation, dict):
        raise ManifestError("the annotation is no object", where=where, remedy="See the format's documentation.")
    for key in annotation.keys() - _KNOWN_KEYS:
        notes.count(f"'{key}' is not part of the format and is not sent")
    type_name = annotation["type"] if "type" in annotation else default_type()
    try:
        shape_type = ShapeType(type_name)
    except (ValueError, TypeError):
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
        attributes=read_attributes(annotation.get("attributes") or {}, f"{where}.attributes"),
    )


def _points(value: Any, shape_type: ShapeType, where: str) -> tuple[Point, ...]:
    if shape_type is ShapeType.RECTANGLE:
        if not isinstance(value, list) or len(value) != 4:
            raise ManifestError("a rectangle has four numbers", where=where, remedy="Write [x, y, width, height].")
        x, y, width, height = (as_number(part, where) for part in value)
        return (x, y), (width, height)
    if not isinstance(value, list):
        raise ManifestError(f"a {shape_type} has a list of points", where=where, remedy="Write [[x, y], [x, y]].")
    points: list[Point] = []
    for index, point in enumerate(value):
        if not isinstance(point, list) or len(point) != 2:
            raise ManifestError("a point has two numbers", where=f"{where}[{index}]", remedy="Write [x, y].")
        points.append((as_number(point[0], where), as_number(point[1], where)))
    return tuple(points)


def _confidence(value: Any, where: str) -> float | None:
    return None if value is None else as_number(value, where)


def read_attributes(value: Any, where: str) -> Mapping[str, tuple[AttributeValue, ...]]:
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
