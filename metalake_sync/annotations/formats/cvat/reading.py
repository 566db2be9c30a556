"""Reads CVAT for images 1.1.

An attribute is a flag or a number in the metadata if its label declares a checkbox or a number, else an attribute of
the label. `occluded`, `group_id`, `z_order` and the source of a shape are metadata. Rotated boxes, ellipses and masks
are polygons; the points of a skeleton are one `points` shape. Must not: check shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.geometry import ellipse_outline, rotated_box
from metalake_sync.annotations.formats.masks import BrokenMask, outlines_of_runs
from metalake_sync.annotations.formats.values import flag_of, image_size, number_or_text, shortened, text_number
from metalake_sync.annotations.formats.xml_files import text_of, xml_children
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass

_SHAPES = frozenset({"box", "polygon", "polyline", "points", "ellipse", "mask", "skeleton", "cuboid"})
BY_HAND = ("", "manual", "file")
"""Values of `source` that say nothing about a shape."""

Declared = dict[tuple[str, str], str]
"""Label and attribute → its `input_type`."""


class CvatReader(FormatReader):
    """Reads files image by image."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each image. Raises ManifestError."""
        declared: Declared = {}
        images = tracks = 0
        root_seen = False
        for element in xml_children(file):
            if not root_seen:
                _check_root(element, file)
                root_seen = True
            elif element.tag == "meta":
                declared = _declared(element)
            elif element.tag == "track":
                tracks += 1
            elif element.tag == "image":
                images += 1
                yield _entry(element, images, declared, file, notes)
        if tracks and not images:
            raise ManifestError(
                f"the file has {tracks} tracks of a video and no images",
                where=file.shown_as,
                remedy="Export it from CVAT as 'CVAT for images 1.1'.",
            )
        if tracks:
            notes.count("tracks of videos are not read", tracks)


def _check_root(root: Element, file: SourceFile) -> None:
    if root.tag != "annotations":
        raise NotAnnotations(
            f"the root of the file is <{root.tag}>",
            where=file.shown_as,
            remedy="The root of a CVAT file is <annotations>.",
        )


def _declared(meta: Element) -> Declared:
    """Return the types of all attributes that labels declare."""
    return {
        (text_of(label.find("name")), text_of(attribute.find("name"))): text_of(attribute.find("input_type"))
        for label in meta.iter("label")
        for attribute in label.iterfind("attributes/attribute")
    }


def _entry(image: Element, number: int, declared: Declared, file: SourceFile, notes: ReadNotes) -> Entry:
    place = f"image {number}"
    name = image.get("name", "")
    if not name.strip():
        raise ManifestError("the image has no 'name'", where=f"{file.shown_as}: {place}", remedy="Give it a name.")
    shapes: list[Shape] = []
    numbers: list[int] = []
    for at, element in enumerate(image, start=1):
        where = f"{place}, shape {at}"
        if element.tag == "tag":
            notes.count("tags are labels of whole images, and are not read as shapes", at=where)
        elif element.tag == "cuboid":
            notes.count("cuboids are left out: there is no such shape", at=where)
        elif element.tag not in _SHAPES:
            notes.count(f"elements <{element.tag[:40]}> of images are not read", at=where)
        else:
            for shape in _Parser(element, declared, where, notes).shapes():
                shapes.append(shape)
                numbers.append(at)
    subset = image.get("subset", "").strip()
    return Entry(
        ImageRecord(name, tuple(shapes)),
        place,
        # An export with images has them in images/SUBSET/NAME. Two subsets may have images of one name.
        names=(f"{subset}/{name}", name) if subset else (),
        size=image_size(image.get("width"), image.get("height")),
        shape_form=place + ", shape {}",
        shape_numbers=tuple(numbers),
    )


@dataclass(slots=True)
class _Parser:
    """Makes the shapes of one element."""

    element: Element
    declared: Declared
    where: str
    notes: ReadNotes

    def shapes(self) -> Iterator[Shape]:
        """Yield the shapes of the element. What can't be read is reported."""
        try:
            label = self.element.get("label", "")
            confidence = self._confidence()
            metadata, attributes = self._extras(label)
            for shape_type, points, about in self._geometry():
                yield Shape(shape_type, points, label, confidence, {**metadata, **about}, attributes)
        except ManifestError as error:
            self.notes.leave_out(f"shapes can't be read: {error.message}", self.where)
        except BrokenMask as problem:
            self.notes.leave_out(f"masks can't be read: {problem}", self.where)

    def _geometry(self) -> Iterator[tuple[ShapeType, tuple[Point, ...], dict[str, Any]]]:
        """Yield type, points and metadata of each shape."""
        match self.element.tag:
            case "box":
                left, top, right, bottom = (self._number(side) for side in ("xtl", "ytl", "xbr", "ybr"))
                degrees = self._number("rotation", 0)
                if degrees % 360:
                    yield ShapeType.POLYGON, rotated_box(left, top, right - left, bottom - top, degrees), {}
                else:
                    yield ShapeType.RECTANGLE, ((left, top), (right - left, bottom - top)), {}
            case "ellipse":
                x, y, radius_x, radius_y = (self._number(name) for name in ("cx", "cy", "rx", "ry"))
                yield ShapeType.POLYGON, ellipse_outline(x, y, radius_x, radius_y, self._number("rotation", 0)), {}
            case "mask":
                yield from self._mask()
            case "skeleton":
                yield from self._skeleton()
            case "polygon":
                yield ShapeType.POLYGON, self._points(self.element), {}
            case "polyline":
                yield ShapeType.LINE, self._points(self.element), {}
            case _:
                yield ShapeType.POINTS, self._points(self.element), {}

    def _mask(self) -> Iterator[tuple[ShapeType, tuple[Point, ...], dict[str, Any]]]:
        left, top, width, height = (self._whole(side) for side in ("left", "top", "width", "height"))
        words = self.element.get("rle", "").replace(",", " ").split()
        if not all(word.isascii() and word.isdigit() and len(word) < 12 for word in words):
            raise BrokenMask("its 'rle' is not a list of runs")
        runs = [int(word) for word in words]
        missing = width * height - sum(runs)
        if missing > 0:
            # The last run of unset pixels may not be written.
            runs += [missing] if len(runs) % 2 == 0 else [0, missing]
        found = outlines_of_runs(runs, width, height, by_rows=True, left=left, top=top)
        outlines = found.drawn(self.notes, self.where)
        for number, outline in enumerate(outlines, start=1):
            about = {"part": f"{number}/{len(outlines)}"} if len(outlines) > 1 else {}
            yield ShapeType.POLYGON, outline, about

    def _skeleton(self) -> Iterator[tuple[ShapeType, tuple[Point, ...], dict[str, Any]]]:
        points: list[Point] = []
        names: list[str] = []
        hidden: list[bool] = []
        for one in self.element.iterfind("points"):
            if flag_of(one.get("outside")):
                continue
            if one.find("attribute") is not None:
                self.notes.count("attributes of the points of skeletons are left out", at=self.where)
            pairs = self._points(one)
            points += pairs
            names += [one.get("label", "")] * len(pairs)
            hidden += [flag_of(one.get("occluded"))] * len(pairs)
        if not points:
            self.notes.count("skeletons have no visible points; they are left out", at=self.where)
            return
        about: dict[str, Any] = {"keypoints": names}
        if any(hidden):
            about["visibility"] = [1 if one else 2 for one in hidden]
        yield ShapeType.POINTS, tuple(points), about

    def _points(self, element: Element) -> tuple[Point, ...]:
        """Return the points of `x1,y1;x2,y2;…`. Raises ManifestError."""
        points: list[Point] = []
        for pair in filter(None, (one.strip() for one in element.get("points", "").split(";"))):
            x, comma, y = pair.partition(",")
            if not comma:
                raise ManifestError(f"{shortened(pair)} is not a point", remedy="Write x,y;x,y.")
            points.append((text_number(x.strip(), ""), text_number(y.strip(), "")))
        return tuple(points)

    def _number(self, name: str, default: float | None = None) -> float:
        text = self.element.get(name, "").strip()
        if not text and default is not None:
            return default
        if not text:
            raise ManifestError(f"<{self.element.tag}> has no '{name}'", remedy=f"Add '{name}'.")
        return text_number(text, "")

    def _whole(self, name: str) -> int:
        value = self._number(name)
        if not value.is_integer():
            raise BrokenMask(f"its '{name}' is not a whole number")
        return int(value)

    def _confidence(self) -> float | None:
        text = self.element.get("score")
        return text_number(text, "") if text else None

    def _extras(self, label: str) -> tuple[dict[str, Any], dict[str, tuple[AttributeValue, ...]]]:
        """Return the metadata and the attributes of the element."""
        metadata: dict[str, Any] = {}
        attributes: dict[str, tuple[AttributeValue, ...]] = {}
        if flag_of(self.element.get("occluded")):
            metadata["occluded"] = True
        for name in ("group_id", "z_order"):
            value = self.element.get(name, "0")
            if value not in ("", "0"):
                metadata[name] = number_or_text(value)
        if self.element.get("source", "") not in BY_HAND:
            metadata["source"] = self.element.get("source")
        for attribute in self.element.iterfind("attribute"):
            name, value = attribute.get("name", ""), text_of(attribute)
            if not name or not value:
                continue
            kind = self.declared.get((label, name))
            if kind == "checkbox" or (kind is None and value.lower() in ("true", "false")):
                metadata[name] = flag_of(value)
            elif kind == "number":
                metadata[name] = number_or_text(value)
            else:
                attributes[name] = (AttributeValue(value),)
        return metadata, attributes
