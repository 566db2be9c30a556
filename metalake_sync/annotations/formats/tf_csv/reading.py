"""Reads the CSV of TensorFlow's tutorials, row by row.

A row of a file name alone is an image without objects, and so is a whole row whose box is empty. Numbers are not
corrected: the width of a box is xmax - xmin. Must not: check shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metalake_sync.annotations.entries import Entry, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.by_image import ByImage
from metalake_sync.annotations.formats.elements import Elements, Place
from metalake_sync.annotations.formats.tables import Table, size_in
from metalake_sync.annotations.formats.tf_csv import COLUMNS
from metalake_sync.annotations.formats.values import text_number
from metalake_sync.core.shapes import Shape, ShapeType

_BOX = ("class", "xmin", "ymin", "xmax", "ymax")


class TfCsvReader(FormatReader):
    """Reads tables."""

    def __init__(self, normalized: bool) -> None:
        self._normalized = normalized

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each image. Raises NotAnnotations for another table, and ManifestError with the line."""
        elements = Elements("rows", "line {}", _box, ["tf_csv"])
        table = Table(file, COLUMNS, "TensorFlow", names_alone=True)
        with ByImage() as by_image:
            for line, row in table.rows(notes):
                image = row.get("filename")
                cells = [row.get(column) for column in _BOX]
                if not image:
                    notes.leave_out("rows name no image", f"line {line}")
                    continue
                by_image.add_image(image, line)
                if any(cells):
                    by_image.add(image, line, [row.get("width"), row.get("height"), *cells])
            for image, rows in by_image.images():
                size = size_in(*rows[0][1][:2]) if rows else None
                yield elements.entry(image, rows, size=size, normalized=self._normalized)


def _box(cells: list[Any], place: Place) -> Iterator[Shape]:
    _, _, label, *numbers = cells
    left, top, right, bottom = (text_number(one, place.where) for one in numbers)
    yield Shape(ShapeType.RECTANGLE, ((left, top), (right - left, bottom - top)), label)
