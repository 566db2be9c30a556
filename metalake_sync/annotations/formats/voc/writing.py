"""Writes Pascal VOC: one XML file beside each image, where trainers and labeling tools look for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, WriteReport
from metalake_sync.annotations.formats.values import box_around, has_area, is_single_line
from metalake_sync.annotations.images import Size
from metalake_sync.annotations.writing import file_beside
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType

_ELEMENTS = frozenset({"truncated", "difficult", "occluded", "pose"})
"""Metadata with an element of its own. All other metadata goes into `attributes`."""


class VocOutput(OutputFormat):
    """NAME.xml for each image, in pixels."""

    shape_types = frozenset({ShapeType.RECTANGLE, ShapeType.POLYGON})
    image_file_extension = ".xml"

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Keep the label, and metadata whose values are single lines of text."""
        if not is_single_line(shape.label):
            report.lose("shapes whose label is not a single line; they are left out", image)
            return None
        report.lose("attributes", image, len(shape.attributes))
        kept: dict[str, str] = {}
        for name, value in shape.metadata.items():
            if not isinstance(value, str) or not is_single_line(value) or not is_single_line(name):
                report.lose("metadata values that are not a single line of text", image)
            elif name == "pose" and value == "Unspecified":
                report.lose("'pose: Unspecified', which means no pose in VOC", image)
            else:
                kept[name] = value
        return replace(shape, metadata=kept, attributes={})


class _Writer(RecordWriter):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, record: ImageRecord, size: Size | None) -> None:
        root = Element("annotation")
        _element(root, "filename", record.image)
        if size is not None:
            box = SubElement(root, "size")
            _element(box, "width", str(size[0]))
            _element(box, "height", str(size[1]))
        for shape in record.shapes:
            _object(root, shape)
        indent(root)
        path = file_beside(self._folder, record.image, ".xml")
        ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Every file is closed already."""


def _object(root: Element, shape: Shape) -> None:
    element = SubElement(root, "object")
    _element(element, "name", shape.label)
    others = {}
    for name, value in shape.metadata.items():
        if name in _ELEMENTS:
            _element(element, name, str(value))
        else:
            others[name] = value
    if shape.confidence is not None:
        _element(element, "confidence", repr(shape.confidence))
    if others:
        attributes = SubElement(element, "attributes")
        for name, value in others.items():
            attribute = SubElement(attributes, "attribute")
            _element(attribute, "name", name)
            _element(attribute, "value", str(value))
    if shape.type is ShapeType.RECTANGLE:
        (x, y), (width, height) = shape.points
        _box(element, x, y, width, height)
        return
    if has_area(shape.points):
        # Readers without support for polygons take the box around it.
        _box(element, *box_around(shape.points))
    polygon = SubElement(element, "polygon")
    for number, (x, y) in enumerate(shape.points, start=1):
        _element(polygon, f"x{number}", _pixels(x))
        _element(polygon, f"y{number}", _pixels(y))


def _box(element: Element, x: float, y: float, width: float, height: float) -> None:
    box = SubElement(element, "bndbox")
    for side, number in (("xmin", x), ("ymin", y), ("xmax", x + width), ("ymax", y + height)):
        _element(box, side, _pixels(number))


def _pixels(number: float) -> str:
    """Return a coordinate as text. A whole number has no decimal point: many readers of VOC take only whole numbers."""
    return str(int(number)) if float(number).is_integer() else repr(number)


def _element(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text
