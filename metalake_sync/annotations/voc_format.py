"""Pascal VOC: one XML file for each picture, as canonical records.

`truncated`, `difficult` and `occluded` become metadata as they are written, `pose` too unless it says Unspecified, and
so does every other simple element of an object and CVAT's `attributes`. `confidence` and `score` are the confidence.
Numbers are taken as they stand: width is xmax - xmin. Must not: check shapes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeTree

from metalake_sync.annotations.entries import Entry, ReadNotes, SourceFile, text_number
from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import Location, ManifestError
from metalake_sync.local.text_files import open_source

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SIZE_LIMIT_BYTES = 64 << 20
_DRAWN = ("bndbox", "polygon")
_CONFIDENCE = ("confidence", "score")


def read_voc(source: SourceFile, normalized: bool, notes: ReadNotes) -> Iterator[Entry]:
    """Read one file; it speaks of one picture. Raises ManifestError."""
    root = _parse(source)
    if root.tag != "annotation":
        raise ManifestError(
            f"its root is <{root.tag}>", where=source.shown_as, remedy="A VOC file's root is <annotation>."
        )
    name = _text(root.find("filename"))
    objects = [element for element in root if element.tag == "object"]
    shapes = [
        (number, shape)
        for number, element in enumerate(objects, start=1)
        for shape in _shapes(element, f"{source.shown_as}: object {number}", notes)
    ]
    yield Entry(
        ImageRecord(name, tuple(shape for _, shape in shapes), normalized),
        stem=source.path.relative_to(source.root).with_suffix("").as_posix(),
        size=_size(root.find("size")),
        shape_form="object {}",
        shape_numbers=tuple(number for number, _ in shapes),
    )


def _size(element: Element | None) -> tuple[int, int] | None:
    """What the file says of the picture's size; many tools write zeros or nothing."""
    width, height = (_text(element.find(side) if element is not None else None) for side in ("width", "height"))
    if not all(len(side) < 10 and side.isascii() and side.isdigit() for side in (width, height)):
        return None
    return (int(width), int(height)) if int(width) and int(height) else None


def _parse(source: SourceFile) -> Element:
    try:
        with open_source(source.path, source.shown_as) as opened:
            if os.fstat(opened.fileno()).st_size > _SIZE_LIMIT_BYTES:
                raise ManifestError(
                    "it is larger than 64 MB", where=source.shown_as, remedy="A VOC file is one picture's."
                )
            root = SafeTree.parse(opened).getroot()
    except ParseError as error:
        line, column = error.position
        place = Location(source.shown_as, line, column + 1)
        what = str(error).split(":")[0]
        raise ManifestError(f"broken XML ({what})", where=place, remedy="Correct it there.") from None
    except DefusedXmlException:
        raise ManifestError(
            "it declares entities", where=source.shown_as, remedy="Take its DOCTYPE out: no VOC file needs one."
        ) from None
    except (ValueError, LookupError):
        raise ManifestError("its encoding is not known", where=source.shown_as, remedy="Save it as UTF-8.") from None
    except OSError as error:
        raise ManifestError(
            f"it can't be read ({error.strerror})", where=source.shown_as, remedy="Make it readable."
        ) from None
    assert root is not None
    return root


def _shapes(element: Element, where: str, notes: ReadNotes) -> Iterator[Shape]:
    label = _text(element.find("name"))
    metadata: dict[str, str] = {}
    confidence = None
    for child in element:
        text = _text(child)
        if child.tag == "name" or child.tag in _DRAWN:
            continue
        if child.tag == "attributes":
            metadata.update((_text(one.find("name")), _text(one.find("value"))) for one in child)
        elif child.tag in _CONFIDENCE:
            confidence = text_number(text, f"{where}, {child.tag}")
        elif len(child):
            notes.count(f"'{child.tag}' of an object is not read")
        elif text and (child.tag != "pose" or text != "Unspecified"):
            metadata[child.tag] = text
    drawn = False
    for polygon in element.iterfind("polygon"):
        yield Shape(ShapeType.POLYGON, _corners(polygon, where), label, confidence, metadata)
        drawn = True
    box = element.find("bndbox")
    if box is not None and not drawn:
        left, top, right, bottom = (_coordinate(box, side, where) for side in ("xmin", "ymin", "xmax", "ymax"))
        yield Shape(ShapeType.RECTANGLE, ((left, top), (right - left, bottom - top)), label, confidence, metadata)
        drawn = True
    if not drawn:
        raise ManifestError("the object has no <bndbox>", where=where, remedy="Give it one.")


def _corners(polygon: Element, where: str) -> tuple[Point, ...]:
    """`<x1>`, `<y1>`, `<x2>`, …, or `<pt><x/><y/></pt>`."""
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
        raise ManifestError(f"<{element.tag}> has no <{tag}>", where=where, remedy="Give it one.")
    return text_number(_text(child), f"{where}, {tag}")


def _text(element: Element | None) -> str:
    return (element.text or "").strip() if element is not None else ""
