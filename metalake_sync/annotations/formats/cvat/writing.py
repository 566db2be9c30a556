"""Writes CVAT for images 1.1.

Images wait in a temporary file, because the file begins with the labels and their attributes. An attribute has one type
for each label: the first use decides, and others are left out. Flags and numbers of the metadata are attributes of
these types.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, WriteReport
from metalake_sync.annotations.formats.cvat.reading import BY_HAND
from metalake_sync.annotations.formats.fitting import (
    METADATA_NOT_HELD,
    ONE_VALUE_LOSSES,
    TEXT_LOSSES,
    is_number,
    plain_attributes,
    with_text,
)
from metalake_sync.annotations.formats.values import is_single_line, number_or_text
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType

FILE = "annotations.xml"

_LABELS = "shapes whose label is not a single line; they are left out"
_TYPES = "attributes that have another type elsewhere"

_CHECKBOX, _NUMBER, _TEXT = "checkbox", "number", "text"
Types = dict[tuple[str, str], str]
"""Label and attribute → its type."""


class CvatOutput(OutputFormat):
    """One file, in pixels."""

    shape_types = frozenset(ShapeType)
    file_names = (FILE,)
    class_ids = True
    losses = (_LABELS, *ONE_VALUE_LOSSES, *TEXT_LOSSES, _TYPES)

    def __init__(self) -> None:
        self._types: Types = {}

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder, classes, self._types)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Keep one value of each attribute, and flags and numbers. Texts of the metadata are written as attributes."""
        if not is_single_line(shape.label):
            report.lose(_LABELS, image)
            return None
        attributes = plain_attributes(shape, image, report, several=False, fits=is_single_line)
        metadata: dict[str, Any] = {}
        for name, value in shape.metadata.items():
            if _has_own_place(name, value, shape):
                metadata[name] = value
            elif isinstance(value, str):
                with_text(attributes, name, value, image, report, is_single_line)
            elif not is_single_line(name) or name in shape.attributes or _type_of(value) is None:
                report.lose(METADATA_NOT_HELD, image)
            else:
                metadata[name] = value
        for name in list(attributes):
            if not self._has_type(shape.label, name, _TEXT):
                del attributes[name]
                report.lose(_TYPES, image)
        for name, value in list(metadata.items()):
            kind = None if _has_own_place(name, value, shape) else _type_of(value)
            if kind is not None and (name in attributes or not self._has_type(shape.label, name, kind)):
                del metadata[name]
                report.lose(_TYPES, image)
        return replace(shape, metadata=metadata, attributes=attributes)

    def _has_type(self, label: str, name: str, kind: str) -> bool:
        """Whether an attribute of a label has this type. The first use decides."""
        return self._types.setdefault((label, name), kind) == kind


def _type_of(value: Any) -> str | None:
    """Return the type of an attribute that holds a value, or None."""
    if isinstance(value, bool):
        return _CHECKBOX
    if is_number(value) and number_or_text(repr(value)) == value:
        return _NUMBER
    return None


def _has_own_place(name: str, value: Any, shape: Shape) -> bool:
    """Whether a value of the metadata is written otherwise than as an attribute."""
    match name:
        case "occluded":
            return value is True
        case "group_id" | "z_order":
            return type(value) is int and value != 0 and number_or_text(str(value)) == value
        case "source":
            return isinstance(value, str) and is_single_line(value) and value not in BY_HAND
        case "keypoints":
            return _has_names(shape)
        case "visibility":
            return _has_names(shape) and _are_flags(value, len(shape.points))
    return False


def _has_names(shape: Shape) -> bool:
    """Whether the points of a shape have names: then they are a skeleton."""
    names = shape.metadata.get("keypoints")
    return (
        shape.type is ShapeType.POINTS
        and isinstance(names, list)
        and len(names) == len(shape.points)
        and all(isinstance(name, str) and is_single_line(name) for name in names)
    )


def _are_flags(value: Any, count: int) -> bool:
    """Whether a value says for each point whether it is hidden (1) or visible (2), and one is hidden."""
    is_list = isinstance(value, list) and len(value) == count
    return is_list and all(type(one) is int and one in (1, 2) for one in value) and 1 in value


class _Writer(RecordWriter):
    def __init__(self, folder: Path, classes: Sequence[str], types: Types) -> None:
        self._images = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115 - closed on exit
        self._file = (folder / FILE).open("w", encoding="utf-8")
        self._classes = classes
        self._types = types
        self._skeletons: dict[str, None] = {}
        self._count = 0

    def write(self, record: ImageRecord, size: Size | None) -> None:
        image = Element("image", id=str(self._count), name=record.image)
        self._count += 1
        if size is not None:
            image.set("width", str(size[0]))
            image.set("height", str(size[1]))
        for shape in record.shapes:
            _add(image, shape)
        indent(image, level=1)
        self._images.write(f"  {tostring(image, encoding='unicode').rstrip()}\n")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
            meta = self._meta()
            indent(meta, level=1)
            self._file.write(f"  {tostring(meta, encoding='unicode').rstrip()}\n")
            self._images.seek(0)
            shutil.copyfileobj(self._images, self._file)
            self._file.write("</annotations>\n")
        self._images.close()
        self._file.close()

    def _meta(self) -> Element:
        meta = Element("meta")
        labels = SubElement(SubElement(meta, "task"), "labels")
        for label in self._classes:
            element = SubElement(labels, "label")
            SubElement(element, "name").text = label
            SubElement(element, "type").text = "any"
            attributes = SubElement(element, "attributes")
            for (of, name), kind in self._types.items():
                if of == label:
                    attribute = SubElement(attributes, "attribute")
                    for tag, text in (("name", name), ("mutable", "False"), ("input_type", kind)):
                        SubElement(attribute, tag).text = text
                    for tag in ("default_value", "values"):
                        SubElement(attribute, tag).text = ""
        return meta


def _add(image: Element, shape: Shape) -> None:
    """Add the element of a shape."""
    pairs = ";".join(f"{_number(x)},{_number(y)}" for x, y in shape.points)
    skeleton = _has_names(shape)
    match shape.type:
        case ShapeType.RECTANGLE:
            (x, y), (width, height) = shape.points
            sides = {"xtl": x, "ytl": y, "xbr": x + width, "ybr": y + height}
            element = SubElement(image, "box", {side: _number(value) for side, value in sides.items()})
        case ShapeType.POLYGON:
            element = SubElement(image, "polygon", points=pairs)
        case ShapeType.LINE:
            element = SubElement(image, "polyline", points=pairs)
        case _:
            element = SubElement(image, "skeleton") if skeleton else SubElement(image, "points", points=pairs)
    element.set("label", shape.label)
    element.set("source", str(shape.metadata.get("source", "manual")))
    element.set("occluded", "1" if shape.metadata.get("occluded") is True else "0")
    element.set("z_order", "0")
    if shape.confidence is not None:
        element.set("score", repr(shape.confidence))
    if skeleton:
        flags = shape.metadata.get("visibility") or []
        hidden = [flag == 1 for flag in flags] if _are_flags(flags, len(shape.points)) else [False] * len(shape.points)
        for name, (x, y), is_hidden in zip(shape.metadata["keypoints"], shape.points, hidden, strict=True):
            about = {"outside": "0", "occluded": "1" if is_hidden else "0", "points": f"{_number(x)},{_number(y)}"}
            SubElement(element, "points", {"label": name, "source": "manual", **about})
    for name, value in shape.metadata.items():
        if not _has_own_place(name, value, shape):
            text = ("true" if value else "false") if isinstance(value, bool) else repr(value)
            SubElement(element, "attribute", name=name).text = text
        elif name in ("group_id", "z_order"):
            element.set(name, str(value))
    for name, values in shape.attributes.items():
        SubElement(element, "attribute", name=name).text = values[0].value


def _number(value: float) -> str:
    return repr(float(value))
