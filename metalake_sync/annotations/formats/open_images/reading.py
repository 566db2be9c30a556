"""Reads the tables of Open Images, row by row.

`LabelName` is an id (MID). Its name is in a table of class descriptions beside or above the boxes, with or without a
first row that names the columns. A label without a name there stays as it is. Labels of whole images are counted. Must
not: check shapes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metalake_sync.annotations.entries import Entry, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.by_image import ByImage
from metalake_sync.annotations.formats.elements import Elements, Place
from metalake_sync.annotations.formats.open_images import BOXES, IMAGE_LABELS
from metalake_sync.annotations.formats.tables import Table, rows_of
from metalake_sync.annotations.formats.values import text_number
from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.errors import ManifestError

_DESCRIPTIONS = "*class-descriptions*.csv"
_LEVELS = 3
"""Class descriptions are beside the boxes, or up to two folders above."""

_FLAGS = {name.lower(): name for name in ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")}
"""Columns of flags, and their names in the metadata."""


class OpenImagesReader(FormatReader):
    """Reads tables."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, str]] = {}

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each image with boxes. Raises NotAnnotations for another table, and ManifestError with
        the line."""
        table = Table(file, BOXES[:2], "Open Images")
        if not {*BOXES} <= table.columns.keys() and {*IMAGE_LABELS} <= table.columns.keys():
            _count_image_labels(table, notes)
            return
        table.need(BOXES)
        names = self._class_names(file)
        parse = functools.partial(_box, names=names)
        elements = Elements("rows", "line {}", parse, ["open_images", names])
        with ByImage() as by_image:
            for line, row in table.rows(notes):
                image = row.get("imageid")
                if not image:
                    notes.leave_out("rows name no image", f"line {line}")
                    continue
                cells = {name: cell for name in (*BOXES[1:], "confidence", *_FLAGS) if (cell := row.get(name))}
                by_image.add(image, line, cells)
            for image, rows in by_image.images():
                yield elements.entry(image, rows, stem=image, normalized=True)

    def _class_names(self, file: SourceFile) -> dict[str, str]:
        folder = file.path.parent
        if folder not in self._names:
            self._names[folder] = _class_names(file)
        return self._names[folder]


def _count_image_labels(table: Table, notes: ReadNotes) -> None:
    table.need(IMAGE_LABELS)
    for line, row in table.rows(notes):
        if row.get("confidence") in ("0", "0.0"):
            notes.count("labels that the images were verified not to have are left out", at=f"line {line}")
        else:
            notes.count("labels of whole images are left out: they are not shapes", at=f"line {line}")


def _class_names(file: SourceFile) -> dict[str, str]:
    """Return label id → name. Raises ManifestError for a table that can't be read."""
    folder = file.path.parent
    for _ in range(_LEVELS):
        found = sorted(folder.glob(_DESCRIPTIONS))
        if found:
            names: dict[str, str] = {}
            for path in found:
                rows = rows_of(SourceFile(path, str(path), folder))
                names |= {row[0].strip(): row[1].strip() for _, row in rows if len(row) > 1 and row[0] != "LabelName"}
            return names
        folder = folder.parent
    return {}


def _box(cells: Any, place: Place, names: Mapping[str, str]) -> Iterator[Shape]:
    missing = next((name for name in BOXES[2:] if name not in cells), None)
    if missing is not None:
        raise ManifestError(f"the row has no '{missing}'")
    left, right, top, bottom = (text_number(cells[side], place.where) for side in BOXES[2:])
    label = cells.get("labelname", "")
    if label and label not in names:
        place.tell("labels have no name in a table of class descriptions; their ids are sent")
    confidence = text_number(cells["confidence"], place.where) if "confidence" in cells else None
    # -1 means unknown.
    metadata = {name: cells[column] == "1" for column, name in _FLAGS.items() if cells.get(column) in ("0", "1")}
    points = ((left, top), (right - left, bottom - top))
    yield Shape(ShapeType.RECTANGLE, points, names.get(label, label), confidence, metadata)
