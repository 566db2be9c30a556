"""YOLO label files: one text file for each picture, one line for each shape, fractions of the picture.

`class cx cy w h` is a box, `class x1 y1 x2 y2 x3 y3 …` a polygon, either with a confidence at the end. What the classes
are called stands in data.yaml (`names`), or in classes.txt or obj.names line by line, beside the labels or above them.
Must not: check shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from metalake_sync.annotations.entries import Entry, SourceFile, point_pairs, text_number
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.local.text_files import open_text

DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAME_FILES = ("classes.txt", "obj.names", "labels.txt")
_LEVELS_ABOVE = 3
"""labels/train/a.txt finds its classes beside itself, in labels, and in the folder that labels lies in."""
_SIZE_LIMIT_CHARS = 64 << 20


class YoloClasses:
    """Finds the names of the classes, once for each folder."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, Sequence[str] | None] = {}

    def of(self, source: SourceFile) -> Sequence[str]:
        """The names by number. Raises ManifestError where there are none."""
        folder = source.path.parent
        for _ in range(_LEVELS_ABOVE):
            if folder not in self._by_folder:
                self._by_folder[folder] = _names_in(folder)
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
    shapes = []
    for number, line in enumerate(_read_text(source.path, source.shown_as).splitlines(), start=1):
        if line.strip():
            shapes.append(_shape(line.split(), names, f"{source.shown_as}:{number}"))
    stem = source.path.relative_to(source.root).with_suffix("").as_posix()
    yield Entry(ImageRecord("", tuple(shapes), normalized=True), stem=stem)


def _shape(words: list[str], names: Sequence[str], where: str) -> Shape:
    if len(words) < 5:
        raise ManifestError(
            f"the line has {len(words)} words", where=where, remedy="A box is: class, centre x and y, width, height."
        )
    class_number, *numbers = (text_number(word, where) for word in words)
    if not class_number.is_integer() or not 0 <= class_number < len(names):
        raise ManifestError(
            f"class {words[0]} is none of the {len(names)} that have a name", where=where, remedy="Name it, or mend it."
        )
    label = names[int(class_number)]
    if len(numbers) in (4, 5):
        x, y, width, height = numbers[:4]
        confidence = numbers[4] if len(numbers) == 5 else None
        corner = (x - width / 2, y - height / 2)
        return Shape(ShapeType.RECTANGLE, (corner, (width, height)), label, confidence)
    confidence = numbers.pop() if len(numbers) % 2 else None
    return Shape(ShapeType.POLYGON, point_pairs(numbers), label, confidence)


def _names_in(folder: Path) -> Sequence[str] | None:
    for name in DATA_FILES:
        path = folder / name
        if path.is_file():
            names = names_of_data_file(path)
            if names is not None:
                return names
    for name in NAME_FILES:
        path = folder / name
        if path.is_file():
            return [line.strip() for line in _read_text(path, str(path)).rstrip("\n").split("\n")]
    return None


def read_data_file(path: Path) -> dict[str, Any]:
    """A data.yaml as a mapping; empty where it is none. Raises ManifestError for one that is no YAML."""
    text = _read_text(path, str(path))
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ManifestError("it is no YAML", where=str(path), remedy="Correct it.") from None
    return document if isinstance(document, dict) else {}


def names_of_data_file(path: Path) -> Sequence[str] | None:
    """`names` of a data.yaml, a list or a mapping from number to name. Raises ManifestError."""
    document = read_data_file(path)
    if document.get("kpt_shape") is not None:
        raise ManifestError(
            "its labels are poses (kpt_shape)", where=str(path), remedy="Boxes and polygons are read; use COCO instead."
        )
    names = document.get("names")
    if isinstance(names, dict) and all(type(key) is int and 0 <= key < 1_000_000 for key in names):
        names = [names.get(number, "") for number in range(max(names, default=-1) + 1)]
    if names is None:
        return None
    if not isinstance(names, list):
        raise ManifestError("'names' is no list", where=str(path), remedy="Write names: [cat, dog].")
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
