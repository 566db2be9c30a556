"""Reads KITTI's label files.

Columns: class, truncation, occlusion, alpha, the box (left, top, right, bottom), seven columns of a 3D box, and maybe a
score. The class may hold blanks: it ends at the first number. Must not: check shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.elements import Elements, Place
from metalake_sync.annotations.formats.label_texts import (
    is_number,
    stem_of,
    text_lines,
    whole_or_broken,
)
from metalake_sync.annotations.formats.values import text_number
from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.errors import ManifestError

_LARGEST = 1e6
"""Larger amounts of truncation or occlusion have no meaning."""

_COLUMNS = 14
"""After the class, without the score."""

NOT_ANNOTATED = "dontcare"
"""The class of regions that are not annotated, in lower case."""
_FOLDERS = {"label_2": "image_2", "label_3": "image_3"}


class KittiReader(FormatReader):
    """Reads files, each of which is of one image."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of the file's image. Raises NotAnnotations for another text, and ManifestError."""
        lines: list[tuple[int, Any]] = []
        for number, line in text_lines(file):
            words = line.split()
            if not lines and len(words) <= _COLUMNS:
                raise NotAnnotations(
                    f"the file is not a KITTI label file: its first line has {len(words)} columns",
                    where=f"{file.shown_as}:{number}",
                    remedy="Write a class and fourteen numbers. If the file holds something else, move it elsewhere.",
                )
            lines.append((number, words))
        elements = Elements("lines", "line {}", _object, ["kitti"])
        yield elements.entry(stem_of(file, _FOLDERS), lines, stem=stem_of(file))


def is_label(words: Sequence[str]) -> bool:
    """Whether a line is one of labels."""
    at = _class_length(words)
    return at > 0 and len(words) - at in (_COLUMNS, _COLUMNS + 1) and all(map(is_number, words[at:]))


def _class_length(words: Sequence[str]) -> int:
    """Return how many words the class has."""
    return next((at for at, word in enumerate(words) if at and is_number(word)), 0)


def _object(words: Any, place: Place) -> Iterator[Shape]:
    at = _class_length(words)
    columns = words[at:]
    if not at or len(columns) not in (_COLUMNS, _COLUMNS + 1):
        raise ManifestError("the line is not a class and fourteen or fifteen numbers")
    label = " ".join(words[:at])
    if label.lower() == NOT_ANNOTATED:
        place.tell("regions 'DontCare', which are not annotated, are left out")
        return
    numbers = [text_number(word, place.where) for word in columns]
    truncated, occluded = numbers[:2]
    left, top, right, bottom = numbers[3:7]
    if any(side > 0 for side in numbers[7:10]):
        place.tell("3D boxes (dimensions, location and rotation) are left out")
    metadata = {
        name: whole_or_broken(value)
        for name, value in (("truncated", truncated), ("occluded", occluded))
        if 0 <= value < _LARGEST
    }
    score = numbers[_COLUMNS] if len(numbers) > _COLUMNS else None
    yield Shape(ShapeType.RECTANGLE, ((left, top), (right - left, bottom - top)), label, score, metadata)
