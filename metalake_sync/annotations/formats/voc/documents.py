"""Reads and writes Pascal VOC: one XML file for each image, written beside it, where trainers and labeling tools look.

Metadata is `truncated`, `difficult`, `occluded`, `pose` unless it is Unspecified, every other simple element of an
object, and CVAT's `attributes`. The confidence is `confidence` or `score`. Numbers are not corrected: width is xmax -
xmin. A polygon with an area is taken first, then a rotated box (`robndbox`), then the box. An object that can't be read
is left out and reported. Must not: check shapes.

Long because reader and writer know the same elements and change together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader, OutputFormat, RecordWriter, WriteReport
from metalake_sync.annotations.formats.geometry import rotated_box
from metalake_sync.annotations.formats.values import box_around, has_area, is_single_line, text_number
from metalake_sync.annotations.formats.xml_files import text_of, xml_root
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.writing import file_beside
from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError

_ELEMENTS = frozenset({"truncated", "difficult", "occluded", "pose"})
"""Metadata with an element of its own. All other metadata goes into `attributes`."""

_GEOMETRY = ("bndbox", "robndbox", "polygon")
_CONFIDENCE = ("confidence", "score")


class VocReader(FormatReader):
    """Reads files, each of which is of one image."""

    def __init__(self, normalized: bool) -> None:
        self._normalized = normalized

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of the file's image. Raises ManifestError."""
        root = xml_root(file)
        if root.tag != "annotation":
            raise NotAnnotations(
                f"the root of the file is <{root.tag}>",
                where=file.shown_as,
                remedy="The root of a VOC file is <annotation>.",
            )
        _refuse_labelme(root, file)
        name = text_of(root.find("filename"))
        objects = [element for element in root if element.tag == "object"]
        shapes: list[tuple[int, Shape]] = []
        for number, element in enumerate(objects, start=1):
            try:
                shapes += [(number, shape) for shape in _shapes(element, f"object {number}", notes)]
            except ManifestError as error:
                notes.leave_out(f"objects can't be read: {error.message}", f"{error.where}")
        yield Entry(
            ImageRecord(name, tuple(shape for _, shape in shapes), self._normalized),
            stem=file.path.relative_to(file.root).with_suffix("").as_posix(),
            size=_size(root.find("size")),
            shape_form="object {}",
            shape_numbers=tuple(number for number, _ in shapes),
        )


def _refuse_labelme(root: Element, source: SourceFile) -> None:
    """Raise ManifestError for LabelMe's XML. It has the same root and other rules: objects may be deleted, and polygons
    have no box. Source: labelme.csail.mit.edu, "annotation XML"."""
    objects = root.findall("object")
    deleted = any(one.find("deleted") is not None for one in objects)
    polygons = any(one.find("polygon/pt") is not None and one.find("bndbox") is None for one in objects)
    if deleted or polygons or root.find("imagesize") is not None:
        raise ManifestError(
            "the file is LabelMe XML, not Pascal VOC",
            where=source.shown_as,
            remedy="Set 'format: labelme_xml'.",
        )


def _size(element: Element | None) -> tuple[int, int] | None:
    """Return the image's size as the file states it. Many tools write zeros or nothing."""
    width, height = (text_of(element.find(side) if element is not None else None) for side in ("width", "height"))
    if not all(len(side) < 10 and side.isascii() and side.isdigit() for side in (width, height)):
        return None
    return (int(width), int(height)) if int(width) and int(height) else None


def _shapes(element: Element, where: str, notes: ReadNotes) -> Iterator[Shape]:
    label = text_of(element.find("name"))
    metadata: dict[str, str] = {}
    confidence = None
    for child in element:
        text = text_of(child)
        if child.tag == "name" or child.tag in _GEOMETRY:
            continue
        if child.tag == "attributes":
            metadata.update((text_of(one.find("name")), text_of(one.find("value"))) for one in child)
        elif child.tag in _CONFIDENCE:
            confidence = _confidence(child.tag, text, where, notes)
        elif len(child):
            notes.count(f"'{child.tag}' of an object is not read")
        elif text and (child.tag != "pose" or text != "Unspecified"):
            metadata[child.tag] = text
    geometry = list(_geometry(element, where, notes))
    if not geometry:
        raise ManifestError("the object has no <bndbox>", where=where, remedy="Add a <bndbox>.")
    for shape_type, points in geometry:
        yield Shape(shape_type, points, label, confidence, metadata)


def _geometry(element: Element, where: str, notes: ReadNotes) -> Iterator[tuple[ShapeType, tuple[Point, ...]]]:
    """Yield the polygons of an object, or its box. Raises ManifestError for an unreadable polygon without a box."""
    polygons: list[tuple[Point, ...]] = []
    for found in (*element.iterfind("polygon"), *element.iterfind("robndbox")):
        if found.tag == "robndbox" and any(map(has_area, polygons)):
            break
        try:
            polygons.append(_corners(found, where) if found.tag == "polygon" else _rotated_box(found, where))
        except ManifestError as error:
            if element.find("bndbox") is None:
                raise
            notes.count(f"objects have a <{found.tag}> that can't be read; their boxes are taken", at=f"{error.where}")
    with_area = [points for points in polygons if has_area(points)]
    box = element.find("bndbox")
    if not with_area and box is not None:
        if any(polygons):
            notes.count("objects have a polygon without area; their boxes are taken", at=where)
        left, top, right, bottom = (_coordinate(box, side, where) for side in ("xmin", "ymin", "xmax", "ymax"))
        yield ShapeType.RECTANGLE, ((left, top), (right - left, bottom - top))
        return
    if with_area and len(with_area) < len(polygons):
        notes.count("objects have polygons without area; they are left out", len(polygons) - len(with_area), at=where)
    # Without a box, the checks report polygons without area.
    for points in with_area or polygons:
        yield ShapeType.POLYGON, points


def _rotated_box(box: Element, where: str) -> tuple[Point, ...]:
    """Return the corners of roLabelImg's `<robndbox>`, clockwise from the one that is top left before the rotation.
    The angle is in radians, clockwise, about the center. Raises ManifestError."""
    x, y, width, height, angle = (_coordinate(box, name, where) for name in ("cx", "cy", "w", "h", "angle"))
    if not math.isfinite(angle):
        raise ManifestError("<angle> is not finite", where=where, remedy="Write an angle in radians.")
    if width <= 0 or height <= 0:
        raise ManifestError("<robndbox> has no size", where=where, remedy="Write a width and a height above 0.")
    return rotated_box(x - width / 2, y - height / 2, width, height, math.degrees(angle), (x, y))


def _confidence(tag: str, text: str, where: str, notes: ReadNotes) -> float | None:
    """Return a confidence, or None if it is not a number."""
    try:
        return text_number(text, where) if text else None
    except ManifestError as error:
        notes.count(f"objects have a <{tag}> that is not a number; it is left out", at=f"{where}: {error.message}")
        return None


def _corners(polygon: Element, where: str) -> tuple[Point, ...]:
    """Return the points of `<x1>`, `<y1>`, `<x2>`, …, or of `<pt><x/><y/></pt>`. Raises ManifestError."""
    pairs = polygon.findall("pt")
    if pairs:
        return tuple((_coordinate(pair, "x", where), _coordinate(pair, "y", where)) for pair in pairs)
    return tuple(
        (_coordinate(polygon, f"x{number}", where), _coordinate(polygon, f"y{number}", where))
        for number in range(1, len(polygon) // 2 + 1)
    )


def _coordinate(element: Element, tag: str, where: str) -> float:
    child = element.find(tag)
    if child is None:
        raise ManifestError(f"<{element.tag}> has no <{tag}>", where=where, remedy=f"Add <{tag}>.")
    return text_number(text_of(child), f"{where}, {tag}")


_LABELS = "shapes whose label is not a single line; they are left out"
_METADATA = "metadata values that are not a single line of text"
_POSE = "'pose: Unspecified', which means no pose in VOC"


class VocOutput(OutputFormat):
    """NAME.xml for each image, in pixels."""

    shape_types = frozenset({ShapeType.RECTANGLE, ShapeType.POLYGON})
    image_file_extension = ".xml"
    losses = (_LABELS, "attributes", _METADATA, _POSE)

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Keep the label, and metadata whose values are single lines of text."""
        if not is_single_line(shape.label):
            report.lose(_LABELS, image)
            return None
        report.lose("attributes", image, len(shape.attributes))
        kept: dict[str, str] = {}
        for name, value in shape.metadata.items():
            if not isinstance(value, str) or not is_single_line(value) or not is_single_line(name):
                report.lose(_METADATA, image)
            elif name == "pose" and value == "Unspecified":
                report.lose(_POSE, image)
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
