"""Reads LabelMe's XML files, each of which is of one image.

An object is a polygon, a box, or a mask in a file of its own (`Masks/FOLDER/NAME.png`). Deleted objects are left out.
`attributes` is free text, and one attribute of that name. Must not: check shapes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.mask_images import read_mask_file
from metalake_sync.annotations.formats.masks import BrokenMask, outlines_of_lines
from metalake_sync.annotations.formats.values import box_around, flag_of, image_size, text_number
from metalake_sync.annotations.formats.xml_files import text_of, xml_root
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError

_Drawn = tuple[ShapeType, tuple[Point, ...]]

_READ = frozenset({"name", "deleted", "verified", "occluded", "attributes", "polygon", "segm", "type", "bndbox"})
_OF_THE_TOOL = frozenset({"date", "id", "username", "parts", "viewpoint", "namesense", "originalname"})


class LabelmeXmlReader(FormatReader):
    """Reads files, each of which is of one image."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of the file's image. Raises ManifestError."""
        root = xml_root(file)
        if root.tag != "annotation":
            raise NotAnnotations(
                f"the root of the file is <{root.tag}>",
                where=file.shown_as,
                remedy="The root of a LabelMe file is <annotation>.",
            )
        shapes: list[Shape] = []
        numbers: list[int] = []
        for number, element in enumerate(root.iterfind("object"), start=1):
            for shape in _shapes(element, f"object {number}", file, notes):
                shapes.append(shape)
                numbers.append(number)
        name, folder = text_of(root.find("filename")), text_of(root.find("folder"))
        size = root.find("imagesize")
        rows, columns = (text_of(size.find(side)) if size is not None else "" for side in ("nrows", "ncols"))
        yield Entry(
            ImageRecord(name, tuple(shapes)),
            names=tuple(dict.fromkeys((f"{folder}/{name}" if folder else name, name))) if name else (),
            stem=file.path.relative_to(file.root).with_suffix("").as_posix(),
            size=image_size(columns, rows),
            shape_form="object {}",
            shape_numbers=tuple(numbers),
        )


def _shapes(element: Element, where: str, file: SourceFile, notes: ReadNotes) -> Iterator[Shape]:
    """Yield the shapes of an object. What can't be read is reported."""
    if flag_of(text_of(element.find("deleted"))):
        notes.count("objects were deleted by their annotators", at=where)
        return
    try:
        drawn = list(_drawn(element, where, file, notes))
    except ManifestError as error:
        notes.leave_out(f"objects can't be read: {error.message}", where)
        return
    metadata: dict[str, Any] = {name: True for name in ("occluded", "verified") if flag_of(text_of(element.find(name)))}
    text = text_of(element.find("attributes"))
    attributes = {"attributes": (AttributeValue(text),)} if text else {}
    if any(text_of(one) for one in element.iterfind("parts/*")):
        notes.count("parts of objects are not read: each object is a shape of its own", at=where)
    for child in element:
        if child.tag not in _READ and child.tag not in _OF_THE_TOOL:
            notes.count(f"'{child.tag[:40]}' of objects is not read", at=where)
    label = text_of(element.find("name"))
    for part, (shape_type, points) in enumerate(drawn, start=1):
        of = {"part": f"{part}/{len(drawn)}"} if len(drawn) > 1 else {}
        yield Shape(shape_type, points, label, None, {**metadata, **of}, attributes)


def _drawn(element: Element, where: str, file: SourceFile, notes: ReadNotes) -> Iterator[_Drawn]:
    mask = element.find("segm")
    polygon = element.find("polygon")
    if mask is not None:
        yield from _mask(mask, where, file, notes)
    elif polygon is not None:
        points = tuple((_coordinate(pair, "x"), _coordinate(pair, "y")) for pair in polygon.iterfind("pt"))
        if text_of(element.find("type")) == "bounding_box" and points:
            x, y, width, height = box_around(points)
            yield ShapeType.RECTANGLE, ((x, y), (width, height))
        else:
            yield ShapeType.POLYGON, points
    elif (box := element.find("bndbox")) is not None:
        yield _box(box)
    else:
        raise ManifestError("the object has no <polygon> and no <segm>", remedy="Add a <polygon>.")


def _mask(mask: Element, where: str, file: SourceFile, notes: ReadNotes) -> Iterator[_Drawn]:
    """Yield the outlines of a mask, or the box around it if its file can't be read."""
    try:
        outlines = outlines_of_lines(_pixels(text_of(mask.find("mask")), file)).drawn(notes, where)
    except (BrokenMask, ManifestError) as problem:
        box = mask.find("box")
        if box is None:
            raise ManifestError(f"the mask: {_message(problem)}", remedy="Add the file of the mask.") from None
        notes.count(f"masks can't be read, and their boxes are taken: {_message(problem)}", at=where)
        yield _box(box)
        return
    yield from ((ShapeType.POLYGON, outline) for outline in outlines)


def _message(problem: BrokenMask | ManifestError) -> str:
    return problem.message if isinstance(problem, ManifestError) else str(problem)


def _pixels(name: str, file: SourceFile) -> Any:
    """Return the rows of a mask file. Raises BrokenMask and ManifestError."""
    last = name.replace("\\", "/").rpartition("/")[2]
    if not last or last in (".", ".."):
        raise BrokenMask("it names no file")
    for path in _places(last, file.path):
        if os.path.isfile(path):
            return read_mask_file(path, f"{file.shown_as}: {last}").set_pixels()
    raise BrokenMask("its file does not exist")


def _places(name: str, annotations: Path) -> Iterator[Path]:
    """Yield where the mask of an annotation file may be: in Masks beside Annotations, or beside the file."""
    folder = annotations.parent
    parts = folder.parts
    for at in range(len(parts) - 1, 0, -1):
        if parts[at] == "Annotations":
            yield Path(*parts[:at], "Masks", *parts[at + 1 :], name)
    yield folder.parent / "Masks" / folder.name / name
    yield folder / "Masks" / name
    yield folder.parent / "Masks" / name
    yield folder / name


def _box(box: Element) -> _Drawn:
    left, top, right, bottom = (_coordinate(box, side) for side in ("xmin", "ymin", "xmax", "ymax"))
    return ShapeType.RECTANGLE, ((left, top), (right - left, bottom - top))


def _coordinate(element: Element, tag: str) -> float:
    child = element.find(tag)
    if child is None:
        raise ManifestError(f"<{element.tag}> has no <{tag}>", remedy=f"Add <{tag}>.")
    return text_number(text_of(child), "")
