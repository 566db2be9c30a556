"""YOLO label files: one text file for each picture, one line for each shape, fractions of the picture.

`class cx cy w h` is a box, `class x1 y1 x2 y2 x3 y3 …` a polygon, either with a confidence at the end. What the classes
are called stands in data.yaml (`names`), or in classes.txt or obj.names line by line, beside the labels or above them.
Must not: check shapes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from metalake_sync.annotations.entries import Entry, ReadNotes, SourceFile, point_pairs, shortened, text_number
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType
from metalake_sync.errors import Location, ManifestError
from metalake_sync.local.text_files import open_text

DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAME_FILES = ("classes.txt", "obj.names", "labels.txt")
_LEVELS_ABOVE = 3
"""labels/train/a.txt finds its classes beside itself, in labels, and in the folder that labels lies in."""
_SIZE_LIMIT_CHARS = 64 << 20


class YoloClasses:
    """Finds the names of the classes, once for each folder."""

    def __init__(self, notes: ReadNotes) -> None:
        self._notes = notes
        self._by_folder: dict[Path, Sequence[str] | None] = {}

    def of(self, source: SourceFile) -> Sequence[str]:
        """The names by number. Raises ManifestError where there are none."""
        folder = source.path.parent
        for _ in range(_LEVELS_ABOVE):
            if folder not in self._by_folder:
                self._by_folder[folder] = _names_in(folder, source, self._notes)
            names = self._by_folder[folder]
            if names is not None:
                return names
            folder = folder.parent
        raise ManifestError(
            "what its classes are called is not known",
            where=source.shown_as,
            remedy="Put a classes.txt (one name a line) or a data.yaml (names: […]) beside the labels.",
        )


def read_yolo(source: SourceFile, names: Sequence[str]) -> Iterator[Entry]:
    """Read one file; it speaks of one picture, and is called as it is. Raises ManifestError that names the line."""
    lines = enumerate(_read_text(source.path, source.shown_as).splitlines(), start=1)
    shapes = [
        (number, _shape(line.split(), names, f"{source.shown_as}:{number}")) for number, line in lines if line.strip()
    ]
    yield Entry(
        ImageRecord("", tuple(shape for _, shape in shapes), normalized=True),
        stem=source.path.relative_to(source.root).with_suffix("").as_posix(),
        shape_form="line {}",
        shape_numbers=tuple(number for number, _ in shapes),
    )


def _shape(words: list[str], names: Sequence[str], where: str) -> Shape:
    if len(words) < 5:
        raise ManifestError(
            f"the line has {len(words)} words", where=where, remedy="A box is: class, centre x and y, width, height."
        )
    class_number, *numbers = (text_number(word, where) for word in words)
    known = class_number.is_integer() and 0 <= class_number < len(names)
    label = names[int(class_number)] if known else ""
    if not label.strip():
        having = sum(bool(name.strip()) for name in names)
        raise ManifestError(
            f"class {words[0][:20]} is none of the {having} that have a name",
            where=where,
            remedy="Name it, or mend it.",
        )
    if len(numbers) in (4, 5):
        x, y, width, height = numbers[:4]
        confidence = numbers[4] if len(numbers) == 5 else None
        corner = (x - width / 2, y - height / 2)
        return Shape(ShapeType.RECTANGLE, (corner, (width, height)), label, confidence)
    confidence = numbers.pop() if len(numbers) % 2 else None
    return Shape(ShapeType.POLYGON, point_pairs(numbers), label, confidence)


def _names_in(folder: Path, source: SourceFile, notes: ReadNotes) -> Sequence[str] | None:
    for name in DATA_FILES:
        path = folder / name
        if path.is_file():
            shown_as = _shown(path, source)
            document = read_data_file(path, shown_as)
            names = names_of_data_file(document, shown_as)
            if names is not None:
                if isinstance(document.get("nc"), int) and document["nc"] != len(names):
                    notes.count(f"'nc' of {shown_as} is {shortened(document['nc'])}, and 'names' has {len(names)}")
                return names
    for name in NAME_FILES:
        path = folder / name
        if path.is_file():
            return [line.strip() for line in _read_text(path, _shown(path, source)).rstrip("\n").split("\n")]
    return None


def _shown(path: Path, source: SourceFile) -> str:
    """What a file beside or above a source is called, in the source's own terms."""
    beside = os.path.relpath(path, source.path.parent)
    return os.path.normpath(os.path.join(os.path.dirname(source.shown_as), beside))


def read_data_file(path: Path, shown_as: str) -> dict[str, Any]:
    """A data.yaml as a mapping; empty where it is none. Raises ManifestError for one that is no YAML."""
    text = _read_text(path, shown_as)
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = Location(shown_as, mark.line + 1, mark.column + 1) if mark else shown_as
        raise ManifestError("broken YAML", where=place, remedy="Correct it there.") from None
    return document if isinstance(document, dict) else {}


def names_of_data_file(document: Mapping[str, Any], shown_as: str) -> Sequence[str] | None:
    """`names` of a data.yaml, a list or a mapping from number to name. Raises ManifestError."""
    if document.get("kpt_shape") is not None:
        raise ManifestError(
            "its labels are poses (kpt_shape)", where=shown_as, remedy="Boxes and polygons are read; use COCO instead."
        )
    names = document.get("names")
    if isinstance(names, dict) and all(type(key) is int and 0 <= key < 1_000_000 for key in names):
        names = [names.get(number, "") for number in range(max(names, default=-1) + 1)]
    if names is None:
        return None
    if not isinstance(names, list):
        raise ManifestError("'names' is no list", where=shown_as, remedy="Write names: [cat, dog].")
    return [str(name) for name in names]


def _read_text(path: Path, shown_as: str) -> str:
    try:
        with open_text(path, shown_as) as opened:
            text = opened.read(_SIZE_LIMIT_CHARS + 1)
        if len(text) > _SIZE_LIMIT_CHARS:
            raise ManifestError("it is larger than 64 MB", where=shown_as, remedy="A label file is one picture's.")
        return text
    except UnicodeDecodeError:
        raise ManifestError("it is no UTF-8", where=shown_as, remedy="Save it as UTF-8.") from None
    except OSError as error:
        raise ManifestError(
            f"it can't be read ({error.strerror})", where=shown_as, remedy="Make it readable."
        ) from None
