"""Reads DOTA's label files.

A line is x1 y1 … x4 y4, the class, and whether the object is difficult. The first lines may describe the image
(`imagesource:`, `gsd:`). Must not: check shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.elements import Elements, Place
from metalake_sync.annotations.formats.label_texts import is_number, stem_of, text_lines
from metalake_sync.annotations.formats.values import point_pairs, text_number
from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.errors import ManifestError

_NUMBERS = 8
_ABOUT_IMAGE = ("imagesource:", "gsd:", "acquisition dates:")
_FOLDERS = {"labelTxt": "images", "labelTxt-v1.0": "images", "labelTxt-v1.5": "images", "labelTxt-v2.0": "images"}


class DotaReader(FormatReader):
    """Reads files, each of which is of one image."""

    def __init__(self, normalized: bool) -> None:
        self._normalized = normalized

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of the file's image. Raises NotAnnotations for another text, and ManifestError."""
        lines: list[tuple[int, Any]] = []
        for number, line in text_lines(file):
            if is_about_image(line):
                notes.count("lines describe the image ('imagesource', 'gsd') and are left out", at=f"line {number}")
                continue
            words = line.split()
            if not lines and (len(words) <= _NUMBERS or not any(map(is_number, words[:_NUMBERS]))):
                raise NotAnnotations(
                    "the file is not a DOTA label file: its first line is not eight numbers and a class",
                    where=f"{file.shown_as}:{number}",
                    remedy="Write x1 y1 x2 y2 x3 y3 x4 y4 class difficult. If the file holds something else, move it"
                    " elsewhere.",
                )
            lines.append((number, words))
        elements = Elements("lines", "line {}", _object, ["dota"])
        yield elements.entry(stem_of(file, _FOLDERS), lines, stem=stem_of(file), normalized=self._normalized)


def is_about_image(line: str) -> bool:
    """Whether a line describes the image."""
    return line.lower().startswith(_ABOUT_IMAGE)


def is_label(words: Sequence[str]) -> bool:
    """Whether a line is one of labels."""
    return len(words) > _NUMBERS and all(map(is_number, words[:_NUMBERS])) and not is_number(words[_NUMBERS])


def _object(words: Any, place: Place) -> Iterator[Shape]:
    if len(words) <= _NUMBERS:
        raise ManifestError(f"the line has {len(words)} columns, and needs eight numbers and a class")
    corners = point_pairs([text_number(word, place.where) for word in words[:_NUMBERS]])
    label = words[_NUMBERS:]
    metadata = {}
    # A class may hold blanks in exports of other tools.
    if len(label) > 1 and label[-1].isascii() and label[-1].isdigit():
        metadata["difficult"] = int(label.pop()[:9])
    yield Shape(ShapeType.POLYGON, corners, " ".join(label), None, metadata)
