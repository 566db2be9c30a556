"""Reads the JSON and the CSV of VGG Image Annotator.

The label of a region is its attribute `label`, `class`, `name`, `type`, `category` or `object`, in this order and in
any letter case; else its only attribute that is a text. Must not: check shapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.by_image import ByImage
from metalake_sync.annotations.formats.elements import Elements, Place, a_dict, a_list, a_name, answers_of
from metalake_sync.annotations.formats.geometry import ellipse_outline
from metalake_sync.annotations.formats.image_names import image_name
from metalake_sync.annotations.formats.tables import Table
from metalake_sync.annotations.formats.values import number, shortened
from metalake_sync.annotations.formats.via import COLUMNS, PROJECT_KEY
from metalake_sync.annotations.json_stream import members
from metalake_sync.core.shapes import Point, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.sources.text_files import parse_json

_LABELS = ("label", "class", "name", "type", "category", "object")


class ViaReader(FormatReader):
    """Reads files image by image."""

    def __init__(self, normalized: bool) -> None:
        self._normalized = normalized
        self._regions = Elements("regions", "", _region, ["via"])

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each image. Raises NotAnnotations for another file, and ManifestError with the place."""
        yield from self._table(file, notes) if file.path.suffix.lower() == ".csv" else self._document(file, notes)

    def _document(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        is_via = False
        for key, position, found in members(file.path, file.shown_as, (), {PROJECT_KEY}):
            if key == PROJECT_KEY and position is not None:
                name, image = found
            elif key.startswith("_via_"):
                is_via = True
                continue
            else:
                name, image = key, found
            if not is_via and not (isinstance(image, dict) and "regions" in image):
                raise NotAnnotations(
                    "the file is not of VGG Image Annotator",
                    where=file.shown_as,
                    remedy='Write {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": []}}.',
                )
            is_via = True
            yield self._entry(file, name, image, notes)

    def _entry(self, file: SourceFile, key: str, value: Any, notes: ReadNotes) -> Entry:
        place = shortened(key)
        try:
            image = a_dict(value, "the entry")
            name = a_name(image.get("filename"), "'filename'")
            regions = image.get("regions")
            if isinstance(regions, dict):
                regions = list(regions.values())
            elements = [] if regions is None else a_list(regions, "'regions'")
        except ManifestError as error:
            raise ManifestError(error.message, where=f"{file.shown_as}: {place}", remedy=error.remedy) from None
        _count_answers(image.get("file_attributes"), place, notes)
        form = place.replace("{", "{{").replace("}", "}}") + ".regions[{}]"
        return self._regions.entry(
            image_name(name), list(enumerate(elements)), place=place, normalized=self._normalized, form=form
        )

    def _table(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        table = Table(file, COLUMNS, "VIA")
        name_column = "#filename" if "#filename" in table.columns else "filename"
        table.need((name_column,))
        with ByImage() as by_image:
            for line, row in table.rows(notes):
                image = row.get(name_column)
                if not image:
                    notes.leave_out("rows name no image", f"line {line}")
                    continue
                by_image.add(image, line, [row.get("file_attributes"), *(row.get(column) for column in COLUMNS)])
            for image, rows in by_image.images():
                regions: list[tuple[int, Any]] = []
                for line, (of_image, shape, about) in rows:
                    place = f"line {line}"
                    try:
                        region = {name: _cell(cell) for name, cell in zip(_KEYS, (shape, about), strict=True)}
                        if line == rows[0][0]:
                            _count_answers(_cell(of_image), place, notes)
                    except ManifestError as error:
                        notes.leave_out(f"regions can't be read: {error.message}", place)
                        continue
                    if region["shape_attributes"]:
                        regions.append((line, region))
                yield self._regions.entry(
                    image_name(image), regions, place=f"line {rows[0][0]}", normalized=self._normalized, form="line {}"
                )


_KEYS = ("shape_attributes", "region_attributes")


def _cell(text: str) -> Any:
    return parse_json(text, "") if text else {}


def _count_answers(attributes: Any, place: str, notes: ReadNotes) -> None:
    """Count what was answered for the whole image."""
    if isinstance(attributes, dict):
        given = sum(1 for value in attributes.values() if value not in (None, {}) and str(value).strip())
        if given:
            notes.count("attributes of whole images are left out: they are not shapes", given, at=place)


def _region(region: Any, place: Place) -> Iterator[Shape]:
    region = a_dict(region, "the region")
    drawn = a_dict(region.get("shape_attributes"), "'shape_attributes'")
    attributes = region.get("region_attributes")
    answers = dict(attributes) if isinstance(attributes, dict) else {}
    labels = _take_labels(answers)
    if not labels:
        place.tell("regions have no label (no attribute, or several with unusual names) and are left out")
        return
    shape_type, points = _drawn(drawn, place)
    metadata, found = answers_of(answers)
    for label in labels:
        yield Shape(shape_type, points, label, None, metadata, found)


def _take_labels(answers: dict[str, Any]) -> list[str]:
    """Remove the attribute that is the label, and return its values."""
    by_name = {name.lower(): name for name in reversed(answers)}
    usual = [by_name[name] for name in _LABELS if name in by_name]
    texts = [name for name, value in answers.items() if isinstance(value, str)]
    for name in (*usual, *(texts if len(texts) == 1 else ())):
        value = answers[name]
        if isinstance(value, dict):
            labels = [option for option, chosen in value.items() if chosen is True or chosen == 1]
        else:
            labels = [str(value).strip()] if isinstance(value, str | int | float) else []
        if any(labels):
            del answers[name]
            return labels
    return []


def _drawn(shape: dict[str, Any], place: Place) -> tuple[ShapeType, tuple[Point, ...]]:
    """Return what is drawn. Raises ManifestError."""

    def numbers(*names: str) -> list[float]:
        return [number(shape.get(name), place.where) for name in names]

    match shape.get("name"):
        case "rect":
            x, y, width, height = numbers("x", "y", "width", "height")
            return ShapeType.RECTANGLE, ((x, y), (width, height))
        case "point":
            x, y = numbers("cx", "cy")
            return ShapeType.POINTS, ((x, y),)
        case "circle":
            x, y, radius = numbers("cx", "cy", "r")
            return ShapeType.POLYGON, ellipse_outline(x, y, radius, radius)
        case "ellipse":
            x, y, across, down = numbers("cx", "cy", "rx", "ry")
            turned = number(shape.get("theta") or 0, place.where)
            return ShapeType.POLYGON, ellipse_outline(x, y, across, down, math.degrees(turned))
        case "polygon" | "polyline" as name:
            across_all = a_list(shape.get("all_points_x"), "'all_points_x'")
            down_all = a_list(shape.get("all_points_y"), "'all_points_y'")
            if len(across_all) != len(down_all):
                raise ManifestError(f"the {name} has {len(across_all)} x and {len(down_all)} y")
            points = [
                (number(x, place.where), number(y, place.where)) for x, y in zip(across_all, down_all, strict=True)
            ]
            return ShapeType.POLYGON if name == "polygon" else ShapeType.LINE, tuple(points)
        case other:
            raise ManifestError(f"there is no shape {shortened(other)}")
