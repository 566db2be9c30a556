"""The MetaLake's own annotation JSON, old form and new, as canonical records.

In the new form each annotation has a `type`, and its `metadata` stays metadata. In the old form annotations have no
`type`, and their `metadata` holds attributes of the label. Source: the vendor's page, sections 2.1 and 2.6;
`layernext` 2.3.4, `upload_annoations_for_folder`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metalake_sync.annotations.entries import (
    Drawn,
    Entry,
    ImageSize,
    NotAnnotations,
    ReadNotes,
    SourceFile,
    Undrawn,
    raw_bytes,
    raw_value,
)
from metalake_sync.annotations.entries import number as as_number
from metalake_sync.annotations.json_stream import members
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass

_COORDINATES = {
    ShapeType.RECTANGLE: "bbox",
    ShapeType.POLYGON: "polygon",
    ShapeType.LINE: "line",
    ShapeType.POINTS: "points",
}
_NEW_FORM = ["metalake"]
_KNOWN_KEYS = frozenset({"type", "bbox", "polygon", "line", "points", "label", "confidence", "metadata", "attributes"})


@dataclass(frozen=True, slots=True)
class MetalakeForm:
    """What a block says about its files."""

    old: bool | None = None
    """True: every annotation is in the old form. False: none is. None: those without `type` are."""
    shape_type: ShapeType | None = None
    """The type of annotations that have none. None: `shape_type` at the top of the file, or the key of the
    coordinates."""


def read_metalake(source: SourceFile, normalized: bool, form: MetalakeForm | None = None) -> Iterator[Entry]:
    """Read a file image by image. Raises ManifestError that names the entry, such as images[3].annotations[2]."""
    reading = _Reading(source, form or MetalakeForm())
    found = False
    bucket: str | None = None
    for key, number, value in members(source.path, source.shown_as, {"images"}):
        if key == "shape_type":
            reading.top_level(value)
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
        if value.get("storageName") is not None:
            bucket = _bucket(value["storageName"], f"{where}.storageName")
        yield Entry(
            ImageRecord(value["image"], (), normalized, bucket),
            place,
            shape_form=place + ".annotations[{}]",
            undrawn=_undrawn(annotations, reading, where) if annotations else None,
        )
    if not found:
        raise NotAnnotations(
            "it is no MetaLake annotation file",
            where=source.shown_as,
            remedy='It should read {"images": [{"image", "annotations"}]}.',
        )


def _bucket(value: Any, where: str) -> str:
    """Return the bucket that an entry names; it holds for the entries after it, too, as in the vendor's client."""
    if not isinstance(value, str) or not value:
        raise ManifestError("'storageName' is not the name of a bucket", where=where, remedy="Write a text, or null.")
    return value


def _undrawn(annotations: list[Any], reading: _Reading, where: str) -> Undrawn:
    return Undrawn(
        raw_bytes(annotations),
        reading.dependency_of(annotations, where),
        functools.partial(_draw, annotations, reading, where),
        functools.partial(_draw_again, reading),
    )


def _draw(annotations: list[Any], reading: _Reading, where: str, notes: ReadNotes, _: ImageSize) -> Drawn:
    shapes = (
        _shape(annotation, reading, f"{where}.annotations[{index}]", notes)
        for index, annotation in enumerate(annotations)
    )
    return tuple(shapes), ()


def _draw_again(reading: _Reading, raw: bytes, size: ImageSize) -> tuple[Shape, ...]:
    shapes, _ = _draw(raw_value(raw), reading, "", ReadNotes(), size)
    return shapes


class _Reading:
    """Decides for the annotations of one file which form they are in, and which type those without `type` have.

    A file where only some annotations have a `type` is an error, unless the block or the file names the type of the
    others: the vendor's client would give them the type of the annotation before.
    """

    def __init__(self, source: SourceFile | None, form: MetalakeForm) -> None:
        self._source = source
        self._form = form
        self._top_level_known = form.shape_type is not None or source is None
        self._default: Any = form.shape_type
        self._first_has_type: bool | None = None
        self._dependency: list[Any] = []

    def top_level(self, value: Any) -> None:
        """Take `shape_type` at the top of the file; what the block says comes before it."""
        if not self._top_level_known:
            self._top_level_known, self._default = True, value

    def is_old(self, annotation: Mapping[str, Any]) -> bool:
        return "type" not in annotation if self._form.old is None else self._form.old

    def type_of(self, annotation: Mapping[str, Any]) -> Any:
        """Return what the annotation, the block or the file says; else the only type whose coordinates there are; else
        None."""
        if "type" in annotation:
            return annotation["type"]
        default = self._default_type()
        if default is not None or self._form.old is False:
            return default
        fitting = [shape_type for shape_type, key in _COORDINATES.items() if key in annotation]
        return fitting[0] if len(fitting) == 1 else None

    def dependency_of(self, annotations: list[Any], where: str) -> list[Any]:
        """Return what the shapes depend on besides the annotations: one object for all entries of a kind in the file.

        Raises ManifestError for the first annotation with a `type` among those without, or the other way round.
        """
        has_type = ["type" in one for one in annotations if isinstance(one, dict)]
        if self._form.old is None and has_type:
            if self._first_has_type is None:
                self._first_has_type = has_type[0]
            if (not self._first_has_type) in has_type and self._default_type() is None:
                raise self._mixed(annotations, where)
        if all(has_type) and not self._form.old:
            return _NEW_FORM
        self._dependency = self._dependency or ["metalake", self._default_type(), self._form.old]
        return self._dependency

    def _mixed(self, annotations: list[Any], where: str) -> ManifestError:
        forms = ("type" in one if isinstance(one, dict) else None for one in annotations)
        odd = next(number for number, has_type in enumerate(forms) if has_type is (not self._first_has_type))
        told = "has no 'type', and others in this file have one"
        if not self._first_has_type:
            told = "has a 'type', and others in this file have none"
        return ManifestError(
            f"the annotation {told}",
            where=f"{where}.annotations[{odd}]",
            remedy="Give each annotation a 'type', or set 'shape_type' for those without.",
        )

    def _default_type(self) -> Any:
        """Return the type for annotations without one. At the top of the file it may stand behind the images: then it
        is looked for once."""
        if not self._top_level_known and self._source is not None:
            for key, _, value in members(self._source.path, self._source.shown_as, {"images"}):
                if key == "shape_type":
                    self._default = value
            self._top_level_known = True
        return self._default


def read_shapes(annotations: Sequence[Any], where: str) -> tuple[Shape, ...]:
    """The shapes of one image, each of which says its type. Raises ManifestError."""
    notes, reading = ReadNotes(), _Reading(None, MetalakeForm(old=False))
    return tuple(
        _shape(annotation, reading, f"{where}[{index}]", notes) for index, annotation in enumerate(annotations)
    )


def _shape(annotation: Any, reading: _Reading, where: str, notes: ReadNotes) -> Shape:
    if not isinstance(annotation, dict):
        raise ManifestError("the annotation is no object", where=where, remedy="See the format's documentation.")
    for key in annotation.keys() - _KNOWN_KEYS:
        notes.count(f"'{key}' is not part of the format and is not sent")
    type_name = reading.type_of(annotation)
    try:
        shape_type = ShapeType(type_name)
    except (ValueError, TypeError):
        known = ", ".join(ShapeType)
        told = f"the type is {type_name!r}" if type_name is not None else "the annotation has no type"
        raise ManifestError(told, where=where, remedy=f"It takes {known}.") from None
    old = reading.is_old(annotation)
    key = _COORDINATES[shape_type]
    if old and shape_type is ShapeType.LINE and "line" not in annotation:
        key = "polygon"  # so the vendor's page has it for both types
    label = annotation.get("label")
    if not isinstance(label, str):
        raise ManifestError("'label' is no text", where=where, remedy="Each annotation has a label.")
    metadata = annotation.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ManifestError("'metadata' is no object", where=where, remedy='Write {"field": "value"}.')
    confidence = _confidence(annotation.get("confidence"), f"{where}.confidence")
    attributes = read_attributes(annotation.get("attributes") or {}, f"{where}.attributes")
    if old:
        attributes = {**attributes, **_attributes_of(metadata, attributes, confidence, where, notes)}
        metadata = {}
    return Shape(
        type=shape_type,
        points=_points(annotation.get(key), shape_type, f"{where}.{key}"),
        label=label,
        confidence=confidence,
        metadata=metadata,
        attributes=attributes,
    )


def _attributes_of(
    metadata: Mapping[str, Any],
    given: Mapping[str, Any],
    confidence: float | None,
    where: str,
    notes: ReadNotes,
) -> Mapping[str, tuple[AttributeValue, ...]]:
    """Return the metadata of the old form as attributes, each with the confidence of its shape.

    A list gives an attribute several values. `given`: the attributes that the annotation has besides. Raises
    ManifestError for a name that stands in both.
    """
    attributes: dict[str, tuple[AttributeValue, ...]] = {}
    for name, value in metadata.items():
        if name in given:
            raise ManifestError(
                f"'{name}' stands in 'metadata' and in 'attributes', and in the old form both are attributes",
                where=f"{where}.metadata",
                remedy="Remove one of the two.",
            )
        values = value if isinstance(value, list) else [value]
        usable = [one for one in values if isinstance(one, str | int | float)]
        if len(usable) < len(values):
            notes.count(f"a value of '{name}' is not a text, number or boolean, so it is no attribute and is not sent")
        if usable:
            attributes[name] = tuple(AttributeValue(one, confidence) for one in usable)
    return attributes


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
