"""Reads the JSON and the CSV of VoTT.

A rectangle is its bounding box, everything else its points. A region with two tags is two shapes. Frames of videos have
no image and are counted. Must not: check shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.by_image import ByImage
from metalake_sync.annotations.formats.elements import Elements, Place, a_dict, a_list, a_name, a_text, size_of
from metalake_sync.annotations.formats.image_names import image_name
from metalake_sync.annotations.formats.tables import Table
from metalake_sync.annotations.formats.values import number, shortened, text_number
from metalake_sync.annotations.formats.vott import COLUMNS
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.json_stream import members
from metalake_sync.core.shapes import Point, Shape, ShapeType
from metalake_sync.errors import ManifestError

_BOXES = ("RECTANGLE", "SQUARE")
_BY_POINTS = {"POLYGON": ShapeType.POLYGON, "POLYLINE": ShapeType.LINE, "POINT": ShapeType.POINTS}
_VIDEO, _FRAME = 2, 3
"""Values of an asset's `type`. Images have 1 or none."""


class VottReader(FormatReader):
    """Reads files image by image."""

    def __init__(self, normalized: bool) -> None:
        self._normalized = normalized
        self._regions = Elements("regions", "", _region, ["vott"])

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each image. Raises NotAnnotations for another file, and ManifestError with the place."""
        yield from self._table(file, notes) if file.path.suffix.lower() == ".csv" else self._document(file, notes)

    def _document(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        single: dict[str, Any] = {}
        found = False
        for key, position, value in members(file.path, file.shown_as, (), {"assets"}):
            if key == "assets":
                found = True
                if position is not None:
                    name, asset = value
                    yield from self._asset(file, f"assets[{shortened(name)}]", asset, notes)
            elif key in ("asset", "regions"):
                single[key] = value
        if single.keys() == {"asset", "regions"} and not found:
            yield from self._asset(file, "", single, notes)
        elif not found:
            raise NotAnnotations(
                "the file is not an export of VoTT: it has no 'assets'",
                where=file.shown_as,
                remedy='Write {"assets": {"id": {"asset": {"name": "a.jpg"}, "regions": []}}}.',
            )

    def _asset(self, file: SourceFile, place: str, value: Any, notes: ReadNotes) -> Iterator[Entry]:
        try:
            value = a_dict(value, "the asset")
            asset = a_dict(value.get("asset"), "'asset'")
            name = a_name(asset.get("name"), "'name'")
            regions = value.get("regions")
            elements = [] if regions is None else a_list(regions, "'regions'")
        except ManifestError as error:
            where = f"{file.shown_as}: {place}" if place else file.shown_as
            raise ManifestError(error.message, where=where, remedy=error.remedy) from None
        if asset.get("type") in (_VIDEO, _FRAME) or asset.get("timestamp") is not None:
            notes.count("frames of videos are left out: they are not images", at=place)
            return
        form = (f"{place}." if place else "").replace("{", "{{").replace("}", "}}") + "regions[{}]"
        yield self._regions.entry(
            image_name(unquote(name)),
            list(enumerate(elements)),
            place=place,
            size=_size(asset.get("size")),
            normalized=self._normalized,
            form=form,
        )

    def _table(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        table = Table(file, COLUMNS, "VoTT")
        elements = Elements("rows", "line {}", _row, ["vott"])
        with ByImage() as by_image:
            for line, row in table.rows(notes):
                image = row.get("image")
                if not image:
                    notes.leave_out("rows name no image", f"line {line}")
                    continue
                by_image.add(image, line, [row.get(column) for column in COLUMNS[1:]])
            for image, rows in by_image.images():
                yield elements.entry(image_name(image), rows, normalized=self._normalized)


def _size(size: Any) -> Size | None:
    return size_of(size.get("width"), size.get("height")) if isinstance(size, dict) else None


def _row(cells: Any, place: Place) -> Iterator[Shape]:
    *numbers, label = cells
    left, top, right, bottom = (text_number(one, place.where) for one in numbers)
    yield Shape(ShapeType.RECTANGLE, ((left, top), (right - left, bottom - top)), label)


def _region(region: Any, place: Place) -> Iterator[Shape]:
    region = a_dict(region, "the region")
    tags = [a_text(tag, "the tag") for tag in a_list(region.get("tags") or [], "'tags'")]
    if not any(tags):
        place.tell("regions have no tag and are left out")
        return
    shape_type, points = _drawn(region, place)
    for tag in tags:
        if tag:
            yield Shape(shape_type, points, tag)


def _drawn(region: dict[str, Any], place: Place) -> tuple[ShapeType, tuple[Point, ...]]:
    """Return what is drawn. Raises ManifestError."""
    kind = region.get("type")
    if kind in _BOXES:
        box = a_dict(region.get("boundingBox"), "'boundingBox'")
        left, top, width, height = (number(box.get(side), place.where) for side in ("left", "top", "width", "height"))
        return ShapeType.RECTANGLE, ((left, top), (width, height))
    if not isinstance(kind, str) or kind not in _BY_POINTS:
        raise ManifestError(f"there is no region {shortened(kind)}")
    points = [a_dict(point, "the point") for point in a_list(region.get("points"), "'points'")]
    return _BY_POINTS[kind], tuple((number(p.get("x"), place.where), number(p.get("y"), place.where)) for p in points)
