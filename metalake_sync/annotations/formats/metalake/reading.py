"""Reads the MetaLake's own annotation JSON, in its old and its new form.

In the new form each annotation has a `type`, and its `metadata` stays metadata. In the old form annotations have no
`type`, and their `metadata` holds attributes of the label. Source: the vendor's page, sections 2.1 and 2.6;
`layernext` 2.3.4, `upload_annoations_for_folder`. Longer than 300 lines, because both forms share the parts of a shape.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metalake_sync.annotations.entries import (
    Entry,
    ImageSize,
    NotAnnotations,
    ParsedShapes,
    RawShapes,
    ReadNotes,
    SourceFile,
)
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.values import number as as_number
from metalake_sync.annotations.formats.values import raw_bytes, raw_value
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
    """What the manifest states about the form of a file."""

    old: bool | None = None
    """True: every annotation has the old form. False: every annotation has the new form. None: annotations without
    `type` have the old form."""
    shape_type: ShapeType | None = None
    """The type of annotations without `type`. None: `shape_type` at the top of the file, or the type whose coordinates
    the annotation has."""


class MetalakeReader(FormatReader):
    """Reads files image by image."""

    def __init__(self, normalized: bool, form: MetalakeForm) -> None:
        self._normalized = normalized
        self._form = form

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each image. Raises ManifestError with the place, such as images[3].annotations[2]."""
        forms = _Forms(file, self._form)
        has_images = False
        bucket: str | None = None
        for key, number, value in members(file.path, file.shown_as, {"images"}):
            if key == "shape_type":
                forms.take_top_level(value)
            has_images = has_images or (key == "images" and isinstance(value, list)) or number is not None
            if number is None:
                continue
            place = f"images[{number}]"
            where = f"{file.shown_as}: {place}"
            if not isinstance(value, dict) or not isinstance(value.get("image"), str) or not value["image"]:
                raise ManifestError("the entry has no image name", where=where, remedy='Write "image": "a.jpg".')
            annotations = value.get("annotations")
            if not isinstance(annotations, list):
                raise ManifestError(
                    "'annotations' is not a list", where=where, remedy="Write [] for an image without shapes."
                )
            if value.get("storageName") is not None:
                bucket = _bucket(value["storageName"], f"{where}.storageName")
            yield Entry(
                ImageRecord(value["image"], (), self._normalized, bucket),
                place,
                shape_form=place + ".annotations[{}]",
                raw=_raw_shapes(annotations, forms, where) if annotations else None,
            )
        if not has_images:
            raise NotAnnotations(
                "the file is not MetaLake annotation JSON",
                where=file.shown_as,
                remedy='Write {"images": [{"image": "a.jpg", "annotations": []}]}.',
            )


def _bucket(value: Any, where: str) -> str:
    """Return the bucket that an entry names. It applies to the entries after it, too, as in the vendor's client."""
    if not isinstance(value, str) or not value:
        raise ManifestError("'storageName' is not the name of a bucket", where=where, remedy="Write a text, or null.")
    return value


def _raw_shapes(annotations: list[Any], forms: _Forms, where: str) -> RawShapes:
    return RawShapes(
        raw_bytes(annotations),
        forms.dependency_of(annotations, where),
        functools.partial(_parse, annotations, forms, where),
        functools.partial(_parse_again, forms),
    )


def _parse(annotations: list[Any], forms: _Forms, where: str, notes: ReadNotes, _: ImageSize) -> ParsedShapes:
    shapes = (
        _shape(annotation, forms, f"{where}.annotations[{index}]", notes)
        for index, annotation in enumerate(annotations)
    )
    return tuple(shapes), ()


def _parse_again(forms: _Forms, raw: bytes, size: ImageSize) -> tuple[Shape, ...]:
    shapes, _ = _parse(raw_value(raw), forms, "", ReadNotes(), size)
    return shapes


class _Forms:
    """Decides for the annotations of one file which form they have, and which type those without `type` have.

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

    def take_top_level(self, value: Any) -> None:
        """Take `shape_type` at the top of the file, unless the block names a type."""
        if not self._top_level_known:
            self._top_level_known, self._default = True, value

    def is_old(self, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation has the old form."""
        return "type" not in annotation if self._form.old is None else self._form.old

    def type_of(self, annotation: Mapping[str, Any]) -> Any:
        """Return the type that the annotation, the block or the file names; else the only type whose coordinates the
        annotation has; else None."""
        if "type" in annotation:
            return annotation["type"]
        default = self._default_type()
        if default is not None or self._form.old is False:
            return default
        fitting = [shape_type for shape_type, key in _COORDINATES.items() if key in annotation]
        return fitting[0] if len(fitting) == 1 else None

    def dependency_of(self, annotations: list[Any], where: str) -> list[Any]:
        """Return what the shapes depend on besides the annotations: one object for all entries of a kind in the file.

        Raises ManifestError for the first annotation that has a `type` where earlier ones have none, or the reverse.
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
        problem = "has no 'type', and others in this file have one"
        if not self._first_has_type:
            problem = "has a 'type', and others in this file have none"
        return ManifestError(
            f"the annotation {problem}",
            where=f"{where}.annotations[{odd}]",
            remedy="Give each annotation a 'type', or set 'shape_type' for those without.",
        )

    def _default_type(self) -> Any:
        """Return the type of annotations without one. In the file it may come after the images; then the file is read
        to its end once."""
        if not self._top_level_known and self._source is not None:
            for key, _, value in members(self._source.path, self._source.shown_as, {"images"}):
                if key == "shape_type":
                    self._default = value
            self._top_level_known = True
        return self._default


def read_shapes(annotations: Sequence[Any], where: str) -> tuple[Shape, ...]:
    """Return the shapes of one image in the new form. Raises ManifestError."""
    notes, forms = ReadNotes(), _Forms(None, MetalakeForm(old=False))
    return tuple(_shape(annotation, forms, f"{where}[{index}]", notes) for index, annotation in enumerate(annotations))


def _shape(annotation: Any, forms: _Forms, where: str, notes: ReadNotes) -> Shape:
    if not isinstance(annotation, dict):
        raise ManifestError(
            "the annotation is not an object", where=where, remedy="See the documentation of the format."
        )
    for key in annotation.keys() - _KNOWN_KEYS:
        notes.count(f"'{key}' is not part of the format and is not sent")
    type_name = forms.type_of(annotation)
    try:
        shape_type = ShapeType(type_name)
    except (ValueError, TypeError):
        known = ", ".join(ShapeType)
        problem = f"the type is {type_name!r}" if type_name is not None else "the annotation has no type"
        raise ManifestError(problem, where=where, remedy=f"Use one of: {known}.") from None
    old = forms.is_old(annotation)
    key = _COORDINATES[shape_type]
    if old and shape_type is ShapeType.LINE and "line" not in annotation:
        key = "polygon"  # the vendor's page uses this key for both types
    label = annotation.get("label")
    if not isinstance(label, str):
        raise ManifestError("'label' is not a text", where=where, remedy="Give each annotation a label.")
    metadata = annotation.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ManifestError("'metadata' is not an object", where=where, remedy='Write {"field": "value"}.')
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
    ManifestError for a name that is in both.
    """
    attributes: dict[str, tuple[AttributeValue, ...]] = {}
    for name, value in metadata.items():
        if name in given:
            raise ManifestError(
                f"'{name}' is in 'metadata' and in 'attributes', and in the old form both are attributes",
                where=f"{where}.metadata",
                remedy="Remove one of the two.",
            )
        values = value if isinstance(value, list) else [value]
        usable = [one for one in values if isinstance(one, str | int | float)]
        if len(usable) < len(values):
            notes.count(
                f"a value of '{name}' is not a text, number or boolean, so it is not an attribute and is not sent"
            )
        if usable:
            attributes[name] = tuple(AttributeValue(one, confidence) for one in usable)
    return attributes


def _points(value: Any, shape_type: ShapeType, where: str) -> tuple[Point, ...]:
    if shape_type is ShapeType.RECTANGLE:
        if not isinstance(value, list) or len(value) != 4:
            raise ManifestError("a rectangle needs four numbers", where=where, remedy="Write [x, y, width, height].")
        x, y, width, height = (as_number(part, where) for part in value)
        return (x, y), (width, height)
    if not isinstance(value, list):
        raise ManifestError(f"a {shape_type} needs a list of points", where=where, remedy="Write [[x, y], [x, y]].")
    points: list[Point] = []
    for index, point in enumerate(value):
        if not isinstance(point, list) or len(point) != 2:
            raise ManifestError("a point needs two numbers", where=f"{where}[{index}]", remedy="Write [x, y].")
        points.append((as_number(point[0], where), as_number(point[1], where)))
    return tuple(points)


def _confidence(value: Any, where: str) -> float | None:
    return None if value is None else as_number(value, where)


def read_attributes(value: Any, where: str) -> Mapping[str, tuple[AttributeValue, ...]]:
    """Return attributes in the MetaLake's form: name → values. Raises ManifestError."""
    if not isinstance(value, dict):
        raise ManifestError("'attributes' is not an object", where=where, remedy='Write {"name": [{"value": "x"}]}.')
    attributes: dict[str, tuple[AttributeValue, ...]] = {}
    for name, values in value.items():
        if not isinstance(values, list):
            raise ManifestError(
                "an attribute needs a list of values", where=f"{where}.{name}", remedy='Write [{"value": "x"}].'
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
        raise ManifestError("'metadata' is not an object", where=where, remedy='Write {"field": "value"}.')
    return AttributeValue(value["value"], _confidence(value.get("confidence"), f"{where}.confidence"), metadata)
