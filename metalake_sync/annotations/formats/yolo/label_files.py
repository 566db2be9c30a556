"""Reads YOLO label files: one text for each image, one line for each object, in fractions of the image.

`class cx cy w h` is a box, `class x1 y1 x2 y2 x3 y3 …` a polygon. With `kpt_shape` in the data file a line is a box and
its keypoints. After these numbers may follow a confidence, a track id, or both. The format does not state which: a
column with fractions holds confidences, a column of whole numbers above 1 holds track ids. That is decided for the
whole source, so files that do not decide it wait until the others were read. Must not: check shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.label_texts import is_number
from metalake_sync.annotations.formats.values import text_number
from metalake_sync.annotations.formats.yolo.class_names import ClassNames, YoloClasses, read_label_text
from metalake_sync.annotations.formats.yolo.lines import (
    BOX,
    Columns,
    Even,
    Extra,
    Line,
    columns_of,
    leaves_even_open,
    leaves_extra_open,
    shapes_of,
)
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.errors import ManifestError

_OTHER_TEXTS = ("readme", "license", "licence", "notice", "changelog", "requirements")
"""Names of texts in data sets that hold no labels begin with one of these."""

_IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dng", ".mpo", ".heic")


class YoloReader(FormatReader):
    """Reads label files. A file that does not decide the meaning of its columns waits for the others."""

    def __init__(self, notes: ReadNotes) -> None:
        self._notes = notes
        self._classes = YoloClasses(notes)
        self._extras: set[Extra] = set()
        self._evens: set[Even] = set()
        self._waiting: list[SourceFile] = []

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of a label file, or nothing if it has to wait. Raises NotAnnotations for another text, and
        ManifestError with the line."""
        lines, classes = self._lines(file, notes)
        if all(len(line.numbers) == BOX for line in lines):
            # Most files hold only boxes.
            yield self._entry(file, lines, classes, Columns(None, None))
            return
        columns = columns_of(lines, classes.keypoints)
        extra, even = columns.extra, columns.even
        if extra is not None:
            self._extras.add(extra)
        elif leaves_extra_open(lines, classes.keypoints):
            extra = next(iter(self._extras)) if len(self._extras) == 1 else None
            if extra is None:
                self._waiting.append(file)
                return
        if even is not None:
            self._evens.add(even)
        elif leaves_even_open(lines, classes.keypoints):
            even = next(iter(self._evens)) if len(self._evens) == 1 else None
            if even is None:
                self._waiting.append(file)
                return
        yield self._entry(file, lines, classes, Columns(extra, even))

    def rest(self) -> Iterator[tuple[SourceFile, Callable[[], Entry]]]:
        """Yield the files that had to wait, each with a function that reads it."""
        extra = next(iter(self._extras)) if len(self._extras) == 1 else None
        even = next(iter(self._evens)) if len(self._evens) == 1 else None
        for source in self._waiting:
            yield source, partial(self._late, source, Columns(extra, even))
        self._waiting.clear()

    def _late(self, source: SourceFile, likely: Columns) -> Entry:
        lines, classes = self._lines(source, ReadNotes())
        own = columns_of(lines, classes.keypoints)
        if own.even is None and likely.even is None and leaves_even_open(lines, classes.keypoints):
            what = "lines are read as polygons, and may be a box with a confidence and a track id"
            self._notes.count(what, at=source.shown_as)
        columns = Columns(own.extra or likely.extra, own.even or likely.even or Even.PLAIN)
        return self._entry(source, lines, classes, columns)

    def _lines(self, source: SourceFile, notes: ReadNotes) -> tuple[list[Line], ClassNames]:
        text = read_label_text(source.path, source.shown_as)
        content = [(number, words) for number, line in enumerate(text.splitlines(), start=1) if (words := line.split())]
        comments = [number for number, words in content if words[0].startswith("#")]
        objects = [(number, words) for number, words in content if not words[0].startswith("#")]
        if objects and not looks_like_labels(objects[0][1]):
            raise _not_labels(source, text)
        if comments:
            notes.count("lines are comments; they are skipped", len(comments), at=f"line {comments[0]}")
        if not objects:
            # An image without objects needs no classes.
            return [], ClassNames((), source.shown_as)
        try:
            classes = self._classes.of(source)
        except ManifestError as error:
            # An error in the class names does not mean that this file holds no labels.
            raise ManifestError(error.message, where=error.where, remedy=error.remedy) from None
        if "," in text or ";" in text:
            for number, words in objects:
                _refuse_separators(words, f"{source.shown_as}:{number}")
        return [_line(number, words, classes, f"{source.shown_as}:{number}") for number, words in objects], classes

    def _entry(self, source: SourceFile, lines: Sequence[Line], classes: ClassNames, columns: Columns) -> Entry:
        shapes = [
            (line.number, shape)
            for line in lines
            for shape in shapes_of(line, classes, columns, f"{source.shown_as}:{line.number}", self._notes)
        ]
        return Entry(
            ImageRecord("", tuple(shape for _, shape in shapes), normalized=True),
            stem=source.path.relative_to(source.root).with_suffix("").as_posix(),
            shape_form="line {}",
            shape_numbers=tuple(number for number, _ in shapes),
        )


def may_be_other_text(source: SourceFile) -> bool:
    """Whether the name or the content of a text shows that it holds no labels: a README, or a list of images."""
    if source.path.name.lower().startswith(_OTHER_TEXTS):
        return True
    try:
        text = read_label_text(source.path, source.shown_as)
    except ManifestError:
        return False
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return PurePosixPath(first.replace("\\", "/")).suffix.lower() in _IMAGE_EXTENSIONS


def looks_like_labels(words: Sequence[str]) -> bool:
    """Whether a line belongs to a label file, correct or not, rather than to another text."""
    if words and words[0].endswith(":"):
        return False  # such as the calibration of a camera
    values = [is_number(word) for word in " ".join(words).replace(",", " ").replace(";", " ").split()]
    return bool(values) and (all(values) or (len(values) > BOX and all(values[1 : BOX + 1])))


def _not_labels(source: SourceFile, text: str) -> NotAnnotations:
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip())
    number, first = next(lines)
    shown = first if len(first) <= 60 else first[:57] + "..."
    return NotAnnotations(
        f"the file is not a label file: the line is {shown!r}",
        where=f"{source.shown_as}:{number}",
        remedy="Write a line of labels as: class, center x and y, width, height. If the file holds something else, move"
        " it out of the folder, or name the folder of the labels as the source.",
    )


def _line(number: int, words: list[str], classes: ClassNames, where: str) -> Line:
    if len(words) <= BOX:
        raise ManifestError(
            f"the line has {len(words)} {'value' if len(words) == 1 else 'values'}",
            where=where,
            remedy="Write a box as: class, center x and y, width, height.",
        )
    class_number, *numbers = (text_number(word, where) for word in words)
    names = classes.names
    known = class_number.is_integer() and 0 <= class_number < len(names)
    label = names[int(class_number)] if known else ""
    if not label:
        named = sum(bool(name) for name in names)
        raise ManifestError(
            f"class {words[0][:20]} is not one of the {named} that have a name in {classes.shown_as}",
            where=where,
            remedy="Add the class there, or correct the line.",
        )
    return Line(number, label, tuple(numbers), words[-1])


def _refuse_separators(words: Sequence[str], where: str) -> None:
    for separator, name in ((",", "commas"), (";", "semicolons")):
        if any(separator in word for word in words):
            decimal = separator == "," and len(words) > BOX and not any(word.endswith(",") for word in words)
            raise ManifestError(
                "numbers have a decimal comma" if decimal else f"values are separated by {name}",
                where=where,
                remedy="Write a decimal point: 0.5." if decimal else "Separate them by blanks.",
            )
