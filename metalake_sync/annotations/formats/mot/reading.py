"""Reads the boxes of a sequence of MOTChallenge.

Columns: frame (from 1), track, left, top, width, height, whether the box counts (in det.txt a confidence), class (from
1) and visibility. Classes are named in labels.txt beside the file, else they are those of MOT16. Numbers stay as they
are. Must not: check shapes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.by_image import ByImage
from metalake_sync.annotations.formats.elements import Elements, Place
from metalake_sync.annotations.formats.label_texts import is_number, text_lines, whole_or_broken
from metalake_sync.annotations.formats.tables import size_in
from metalake_sync.annotations.formats.values import text_number
from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.sources.text_files import read_text

CLASSES = (
    "Pedestrian",
    "Person on vehicle",
    "Car",
    "Bicycle",
    "Motorbike",
    "Non motorized vehicle",
    "Static person",
    "Distractor",
    "Occluder",
    "Occluder on the ground",
    "Occluder full",
    "Reflection",
    "Crowd",
)
"""Of MOT16, by number from 1 on."""

_FEWEST, _MOST = 7, 10
_DETECTIONS = "det.txt"
_DIGITS = (6, 8)
"""Of the names of frames: MOTChallenge has six, later sets eight."""


class MotReader(FormatReader):
    """Reads files, each of which is of one sequence."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each frame. Raises NotAnnotations for another text, and ManifestError with the line."""
        if not file.named and file.path.name == _DETECTIONS and _beside(file.path, "gt", "gt.txt").is_file():
            raise NotAnnotations(
                "detections beside gt.txt of the same sequence",
                where=file.shown_as,
                remedy=f"Name {file.shown_as} as the source to send them.",
            )
        facts = _sequence(file)
        classes = _classes(file)
        detections = file.path.name == _DETECTIONS
        parse = functools.partial(_box, detections=detections, classes=classes)
        elements = Elements("rows", "line {}", parse, ["mot", classes, detections])
        sequence = _sequence_folder(file.path).name
        folder = facts.get("imdir") or "img1"
        size = size_in(facts.get("imwidth", ""), facts.get("imheight", ""))
        with ByImage() as by_image:
            for frame, line, cells in self._rows(file, notes):
                by_image.add(str(frame), line, cells)
            for frame_text, rows in by_image.images():
                short, long = (f"{sequence}/{folder}/{int(frame_text):0{digits}}" for digits in _DIGITS)
                yield elements.entry(short, rows, place=f"frame {frame_text}", stem=long, size=size)

    @staticmethod
    def _rows(file: SourceFile, notes: ReadNotes) -> Iterator[tuple[int, int, list[str]]]:
        first = True
        for line, text in text_lines(file):
            if text.startswith("#"):
                continue
            cells = [cell.strip() for cell in text.split(",")]
            if first and not _may_be_row(cells):
                raise NotAnnotations(
                    "the file is not of MOTChallenge: its first row is not seven to ten numbers",
                    where=f"{file.shown_as}:{line}",
                    remedy="Write frame,track,left,top,width,height,counts,class,visibility.",
                )
            first = False
            frame = cells[0].removesuffix(".0")
            if not (frame.isascii() and frame.isdigit() and len(frame) < 10):
                notes.leave_out("rows can't be read: the frame is not a whole number", f"line {line}")
                continue
            yield int(frame), line, cells


def is_row(cells: Sequence[str]) -> bool:
    """Whether the cells are a row of boxes: a frame and a track, which are whole, then numbers."""
    if not _FEWEST <= len(cells) <= _MOST or not all(map(is_number, cells)):
        return False
    frame, track = map(float, cells[:2])
    return frame.is_integer() and frame >= 1 and track.is_integer() and track >= -1


def _may_be_row(cells: Sequence[str]) -> bool:
    return len(cells) >= _FEWEST and sum(map(is_number, cells)) > len(cells) // 2


def _box(cells: Any, place: Place, detections: bool, classes: Sequence[str]) -> Iterator[Shape]:
    if not _FEWEST <= len(cells) <= _MOST:
        raise ManifestError(f"the row has {len(cells)} columns, and needs seven to ten")
    numbers = [text_number(cell, place.where) for cell in cells]
    _, track, left, top, width, height, flag = numbers[:_FEWEST]
    if not detections and flag == 0:
        place.tell("boxes that do not count (column 7 is 0) are left out")
        return
    # Ten columns end in a place in the world, not in class and visibility.
    after = numbers[7:] if len(numbers) < _MOST else []
    class_number, visibility, *_ = (*after, -1.0, -1.0)
    metadata: dict[str, Any] = {}
    label = _label(class_number, classes)
    if track.is_integer() and 0 <= track < 1 << 53:
        metadata["track_id"] = int(track)
    if 0 <= visibility <= 1:
        metadata["visibility"] = whole_or_broken(visibility)
    confidence = flag if detections else None
    yield Shape(ShapeType.RECTANGLE, ((left, top), (width, height)), label, confidence, metadata)


def _label(number: float, classes: Sequence[str]) -> str:
    """Return the name of a class. Raises ManifestError."""
    if number == -1:
        return classes[0] if classes else ""
    if not number.is_integer() or not 1 <= number <= len(classes):
        raise ManifestError(f"class {number:g} is not one of the {len(classes)} that have a name")
    return classes[int(number) - 1]


def _sequence_folder(path: Path) -> Path:
    return path.parent.parent if path.parent.name in ("gt", "det") else path.parent


def _beside(path: Path, *parts: str) -> Path:
    return _sequence_folder(path).joinpath(*parts)


def _sequence(file: SourceFile) -> dict[str, str]:
    """Return the facts of seqinfo.ini, by name in lower case."""
    path = _beside(file.path, "seqinfo.ini")
    if not path.is_file():
        return {}
    lines = read_text(path, str(path)).splitlines()
    pairs = (line.partition("=")[::2] for line in lines if "=" in line)
    return {name.strip().lower(): value.strip() for name, value in pairs}


def _classes(file: SourceFile) -> list[str]:
    own = file.path.parent / "labels.txt"
    for path in (own, _beside(file.path, "labels.txt"), _beside(file.path, "gt", "labels.txt")):
        if path.is_file():
            return [line.strip() for line in read_text(path, str(path)).rstrip("\n").split("\n")]
    return list(CLASSES)
