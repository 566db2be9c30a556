"""Records as files of their own, one for each picture: YOLO's texts with classes.txt and data.yaml, VOC's XML.

They lie beside their pictures, where trainers and labelling tools look for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import yaml

from metalake_sync.annotations.entries import draws
from metalake_sync.annotations.formats.coco import box_around
from metalake_sync.annotations.images import Size
from metalake_sync.annotations.writers.fitting import VOC_WORDS
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType


class YoloWriter:
    """Writes NAME.txt for each picture, and classes.txt and data.yaml. Records are normalized. `classes`: by number."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder = folder
        self._classes = {label: number for number, label in enumerate(classes)}

    def __enter__(self) -> YoloWriter:
        return self

    def write(self, record: ImageRecord, size: Size | None) -> None:
        lines = [self._line(shape) + "\n" for shape in record.shapes]
        _place(self._folder, record.image, ".txt").write_text("".join(lines), encoding="utf-8")

    def _line(self, shape: Shape) -> str:
        if shape.type is ShapeType.RECTANGLE:
            (x, y), (width, height) = shape.points
            numbers = [x + width / 2, y + height / 2, width, height]
        else:
            numbers = [part for point in shape.points for part in point]
        if shape.confidence is not None:
            numbers.append(shape.confidence)
        return " ".join([str(self._classes[shape.label]), *map(_fraction, numbers)])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            names = "".join(f"{label}\n" for label in self._classes)
            (self._folder / "classes.txt").write_text(names, encoding="utf-8")
            # Older trainers need 'nc'.
            data = {"train": ".", "val": ".", "nc": len(self._classes), "names": list(self._classes)}
            (self._folder / "data.yaml").write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def _fraction(number: float) -> str:
    """A number with a point in any case: a whole number at the end of a line could be a track id."""
    text = f"{number:.12g}"
    return f"{text}.0" if text.lstrip("-").isdigit() else text


class VocWriter:
    """Writes NAME.xml. Records are in pixels; labels and metadata are single lines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> VocWriter:
        return self

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
        ElementTree(root).write(_place(self._folder, record.image, ".xml"), encoding="utf-8", xml_declaration=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Every file is closed already."""


def _object(root: Element, shape: Shape) -> None:
    element = SubElement(root, "object")
    _element(element, "name", shape.label)
    others = {}
    for name, value in shape.metadata.items():
        if name in VOC_WORDS:
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
    if draws(shape.points):
        # Readers that know no polygons take the box around it.
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
    """A coordinate. Whole ones have no point: many readers of VOC take whole numbers alone."""
    return str(int(number)) if float(number).is_integer() else repr(number)


def _element(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text


def _place(folder: Path, image: str, extension: str) -> Path:
    path = folder / PurePosixPath(image).with_suffix("")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(path.name + extension)
