"""YOLO label files: one text file for each image, one line for each object, in fractions of the image.

`class cx cy w h` is a box, `class x1 y1 x2 y2 x3 y3 …` a polygon. With `kpt_shape` in the data file a line is a box and
its keypoints. Behind these numbers may follow a confidence, a track id, or both. The format does not say which: a
column with fractions holds confidences, a column of whole numbers above 1 holds track ids. That is decided for the
whole source, so files that leave it open wait until the others were read. Must not: check shapes.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile, point_pairs, text_number
from metalake_sync.annotations.formats.yolo_names import ClassNames, KeypointShape, YoloClasses, read_label_text
from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass

_BOX = 4
"""Numbers of a box behind the class."""

_FEWEST_KEYPOINTS = 2
"""Fewer are not told from a polygon by their numbers alone."""

_SURE_KEYPOINTS = 3
"""So many flags of 0 or 1 are not an accident."""

_BESIDE_THE_BOX = 0.02
"""Keypoints may lie outside their box by this fraction of the image."""

_OTHER_TEXTS = ("readme", "license", "licence", "notice", "changelog", "requirements")
"""Texts that data sets come with begin with one of these."""

_IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dng", ".mpo", ".heic")


class _Extra(enum.Enum):
    """What the last column of a line with one number too many holds."""

    CONFIDENCE = "a confidence"
    TRACK = "a track id"


class _Even(enum.Enum):
    """What a line with an even count of numbers is."""

    PLAIN = "a polygon"
    TRACKED = "a box or polygon, a confidence and a track id"


@dataclass(frozen=True, slots=True)
class _Line:
    """`numbers`: behind the class. `last`: the last one as it is written."""

    number: int
    label: str
    numbers: tuple[float, ...]
    last: str


@dataclass(frozen=True, slots=True)
class _Columns:
    """How the lines of a file are read. None: its own lines leave it open."""

    extra: _Extra | None
    even: _Even | None


class YoloReader:
    """Reads the label files of one block. Ask `rest` when `read` was called for all of them."""

    def __init__(self, notes: ReadNotes) -> None:
        self._notes = notes
        self._classes = YoloClasses(notes)
        self._extras: set[_Extra] = set()
        self._evens: set[_Even] = set()
        self._waiting: list[SourceFile] = []

    def read(self, source: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """The entry of a label file, none where it has to wait. Raises NotAnnotations for another text, and
        ManifestError that names the line."""
        lines, classes = self._lines(source, notes)
        if all(len(line.numbers) == _BOX for line in lines):
            # Most files hold boxes and nothing else.
            yield self._entry(source, lines, classes, _Columns(None, None), notes)
            return
        columns = _columns_of(lines, classes.keypoints)
        extra, even = columns.extra, columns.even
        if extra is not None:
            self._extras.add(extra)
        elif _leaves_extra_open(lines, classes.keypoints):
            extra = next(iter(self._extras)) if len(self._extras) == 1 else None
            if extra is None:
                self._waiting.append(source)
                return
        if even is not None:
            self._evens.add(even)
        elif _leaves_even_open(lines, classes.keypoints):
            even = next(iter(self._evens)) if len(self._evens) == 1 else None
            if even is None:
                self._waiting.append(source)
                return
        yield self._entry(source, lines, classes, _Columns(extra, even), notes)

    def rest(self, notes: ReadNotes) -> Iterator[tuple[SourceFile, Callable[[], Entry]]]:
        """The files that had to wait, each with what reads its entry or raises ManifestError."""
        extra = next(iter(self._extras)) if len(self._extras) == 1 else None
        even = next(iter(self._evens)) if len(self._evens) == 1 else None
        for source in self._waiting:
            yield source, partial(self._late, source, _Columns(extra, even), notes)
        self._waiting.clear()

    def _late(self, source: SourceFile, likely: _Columns, notes: ReadNotes) -> Entry:
        lines, classes = self._lines(source, ReadNotes())
        own = _columns_of(lines, classes.keypoints)
        columns = _Columns(own.extra or likely.extra, own.even or likely.even or _likely_even(lines))
        return self._entry(source, lines, classes, columns, notes)

    def _lines(self, source: SourceFile, notes: ReadNotes) -> tuple[list[_Line], ClassNames]:
        text = _label_text(source)
        content = [(number, words) for number, line in enumerate(text.splitlines(), start=1) if (words := line.split())]
        comments = [number for number, words in content if words[0].startswith("#")]
        objects = [(number, words) for number, words in content if not words[0].startswith("#")]
        if objects and not looks_like_labels(objects[0][1]):
            raise _not_labels(source, text)
        if comments:
            notes.count("lines are comments; they are skipped", len(comments), at=f"line {comments[0]}")
        try:
            classes = self._classes.of(source)
        except ManifestError as error:
            # A fault of the names is not one of the kind of this file.
            raise ManifestError(error.message, where=error.where, remedy=error.remedy) from None
        if "," in text or ";" in text:
            for number, words in objects:
                _refuse_separators(words, f"{source.shown_as}:{number}")
        return [_line(number, words, classes, f"{source.shown_as}:{number}") for number, words in objects], classes

    def _entry(
        self, source: SourceFile, lines: Sequence[_Line], classes: ClassNames, columns: _Columns, notes: ReadNotes
    ) -> Entry:
        shapes = [
            (line.number, shape)
            for line in lines
            for shape in _shapes(line, classes, columns, f"{source.shown_as}:{line.number}", self._notes)
        ]
        return Entry(
            ImageRecord("", tuple(shape for _, shape in shapes), normalized=True),
            stem=source.path.relative_to(source.root).with_suffix("").as_posix(),
            shape_form="line {}",
            shape_numbers=tuple(number for number, _ in shapes),
        )


def may_be_other_text(source: SourceFile) -> bool:
    """Whether a text beside labels is something else by its name or content: a README, or a list of images."""
    if source.path.name.lower().startswith(_OTHER_TEXTS):
        return True
    try:
        text = read_label_text(source.path, source.shown_as)
    except ManifestError:
        return False
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return PurePosixPath(first.replace("\\", "/")).suffix.lower() in _IMAGE_EXTENSIONS


# Lines.


def _label_text(source: SourceFile) -> str:
    return read_label_text(source.path, source.shown_as)


def looks_like_labels(words: Sequence[str]) -> bool:
    """Whether a line is one of labels, right or wrong, and not of some other text."""
    values = [_is_number(word) for word in " ".join(words).replace(",", " ").replace(";", " ").split()]
    return bool(values) and (all(values) or (len(values) > _BOX and all(values[1 : _BOX + 1])))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _not_labels(source: SourceFile, text: str) -> NotAnnotations:
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip())
    number, first = next(lines)
    shown = first if len(first) <= 60 else first[:57] + "..."
    return NotAnnotations(
        f"it is not a label file: the line is {shown!r}",
        where=f"{source.shown_as}:{number}",
        remedy="A line of labels is: class, centre x and y, width, height. If it is something else, move it out of the"
        " folder, or name the folder of the labels as the source.",
    )


def _line(number: int, words: list[str], classes: ClassNames, where: str) -> _Line:
    if len(words) <= _BOX:
        raise ManifestError(
            f"the line has {len(words)} {'value' if len(words) == 1 else 'values'}",
            where=where,
            remedy="A box is: class, centre x and y, width, height.",
        )
    class_number, *numbers = (text_number(word, where) for word in words)
    names = classes.names
    known = class_number.is_integer() and 0 <= class_number < len(names)
    label = names[int(class_number)] if known else ""
    if not label:
        having = sum(bool(name) for name in names)
        raise ManifestError(
            f"class {words[0][:20]} is none of the {having} that have a name in {classes.shown_as}",
            where=where,
            remedy="Name the class there, or correct the line.",
        )
    return _Line(number, label, tuple(numbers), words[-1])


def _refuse_separators(words: Sequence[str], where: str) -> None:
    for separator, name in ((",", "commas"), (";", "semicolons")):
        if any(separator in word for word in words):
            decimal = separator == "," and len(words) > _BOX and not any(word.endswith(",") for word in words)
            raise ManifestError(
                "numbers have a decimal comma" if decimal else f"values are separated by {name}",
                where=where,
                remedy="Write a point: 0.5." if decimal else "Separate them by blanks.",
            )


# What the columns hold.


def _extra_column(line: _Line, keypoints: KeypointShape | None) -> float | None:
    """The last number of a line that has one too many."""
    count = len(line.numbers)
    if keypoints is not None:
        return line.numbers[-1] if count in (_BOX + 1, _pose_length(keypoints) + 1) else None
    return line.numbers[-1] if count % 2 and _inferred_pose(line) is None else None


def _has_pair(line: _Line, keypoints: KeypointShape | None) -> bool:
    """Whether the last two numbers of a line could be a confidence and a track id."""
    count = len(line.numbers)
    return (
        keypoints is None
        and count > _BOX
        and count % 2 == 0
        and line.numbers[-1].is_integer()
        and 0 <= line.numbers[-2] <= 1
        and _inferred_pose(line) is None
    )


def _columns_of(lines: Sequence[_Line], keypoints: KeypointShape | None) -> _Columns:
    """What a file's own lines say of their columns."""
    extras = [value for line in lines if (value := _extra_column(line, keypoints)) is not None]
    extra = None
    if any(not value.is_integer() for value in extras):
        extra = _Extra.CONFIDENCE
    elif any(value not in (0, 1) for value in extras):
        extra = _Extra.TRACK
    even = None
    lines_even = [
        line for line in lines if keypoints is None and len(line.numbers) > _BOX and not len(line.numbers) % 2
    ]
    if any(_has_pair(line, keypoints) and line.numbers[-1] not in (0, 1) for line in lines_even):
        even = _Even.TRACKED
    elif any(not _has_pair(line, keypoints) for line in lines_even):
        even = _Even.PLAIN
    return _Columns(extra, even)


def _leaves_extra_open(lines: Sequence[_Line], keypoints: KeypointShape | None) -> bool:
    return any(_extra_column(line, keypoints) is not None for line in lines)


def _leaves_even_open(lines: Sequence[_Line], keypoints: KeypointShape | None) -> bool:
    return any(_has_pair(line, keypoints) for line in lines)


def _likely_even(lines: Sequence[_Line]) -> _Even:
    """Where no line of a source decides: seven values that end in a whole number and make a box with a confidence are
    a tracked box, and not a triangle that happens to end at the border."""
    pairs = [line for line in lines if _has_pair(line, None)]
    tracked = all(
        len(line.numbers) == _BOX + 2
        and line.last.lstrip("+").isdigit()
        and not line.numbers[-2].is_integer()
        and _is_box(line.numbers)
        for line in pairs
    )
    return _Even.TRACKED if tracked else _Even.PLAIN


def _is_box(numbers: Sequence[float]) -> bool:
    """Whether the first four numbers are a box within the image."""
    x, y, width, height = numbers[:_BOX]
    rim = _BESIDE_THE_BOX
    return (
        width > 0
        and height > 0
        and -rim <= x - width / 2
        and x + width / 2 <= 1 + rim
        and -rim <= y - height / 2
        and y + height / 2 <= 1 + rim
    )


# Keypoints.


def _pose_length(keypoints: KeypointShape) -> int:
    return _BOX + keypoints.count * keypoints.numbers_each


def _inferred_pose(line: _Line) -> KeypointShape | None:
    """The keypoints that a line has by its numbers, where no data file says so: a box, then triples of which each ends
    in a visibility, and which lie in the box."""
    count, rest = divmod(len(line.numbers) - _BOX, 3)
    if rest or count < _FEWEST_KEYPOINTS:
        return None
    triples = line.numbers[_BOX:]
    flags = triples[2::3]
    if any(flag not in (0, 1, 2) for flag in flags) or (2 not in flags and count < _SURE_KEYPOINTS):
        return None
    seen = [point for point, flag in zip(zip(triples[::3], triples[1::3], strict=True), flags, strict=True) if flag]
    x, y, width, height = line.numbers[:_BOX]
    inside = all(
        abs(across - x) <= width / 2 + _BESIDE_THE_BOX and abs(down - y) <= height / 2 + _BESIDE_THE_BOX
        for across, down in seen
    )
    return KeypointShape(count, 3) if seen and inside and _is_box(line.numbers) else None


def _keypoints(numbers: Sequence[float], shape: KeypointShape) -> tuple[tuple[Point, ...], dict[str, object]]:
    """The points that are labelled, with their names, and their visibility where one is hidden."""
    each = shape.numbers_each
    points = [(numbers[at], numbers[at + 1]) for at in range(0, len(numbers), each)]
    # Without a visibility, a point that is not labelled stands at the origin.
    flags = list(numbers[2::each]) if each == 3 else [0.0 if point == (0, 0) else 2.0 for point in points]
    labelled = [index for index, flag in enumerate(flags) if not flag <= 0]
    about: dict[str, object] = {}
    if shape.names:
        about["keypoints"] = [shape.names[index] for index in labelled]
    if any(flags[index] != 2 for index in labelled):
        about["visibility"] = [int(flags[index]) if flags[index].is_integer() else flags[index] for index in labelled]
    return tuple(points[index] for index in labelled), about


# Shapes.


def _shapes(line: _Line, classes: ClassNames, columns: _Columns, where: str, notes: ReadNotes) -> Iterator[Shape]:
    numbers = line.numbers
    pose = classes.keypoints
    if pose is None:
        pose = _inferred_pose(line)
        if pose is not None:
            notes.count(
                "lines are read as a box with keypoints, by their numbers; 'kpt_shape' of a data.yaml says so", at=where
            )
    rest: Sequence[float] = ()
    body = numbers
    if pose is not None:
        lengths = (_pose_length(pose), _BOX)
        length = next((one for one in lengths if one <= len(numbers) <= one + 2), None)
        if length is None:
            raise ManifestError(
                f"the line has {len(numbers) + 1} values, and 'kpt_shape' [{pose.count}, {pose.numbers_each}] makes"
                f" {_pose_length(pose) + 1}",
                where=where,
                remedy="Correct the line, or 'kpt_shape'.",
            )
        body, rest = numbers[:length], numbers[length:]
    elif len(numbers) % 2:
        body, rest = numbers[:-1], numbers[-1:]
    elif columns.even is _Even.TRACKED and _has_pair(line, None):
        body, rest = numbers[:-2], numbers[-2:]
    confidence, metadata = _extras(rest, line, columns, where, notes)
    if pose is None and len(body) > _BOX:
        yield Shape(ShapeType.POLYGON, point_pairs(list(body)), line.label, confidence, metadata)
        return
    x, y, width, height = body[:_BOX]
    corner = (x - width / 2, y - height / 2)
    yield Shape(ShapeType.RECTANGLE, (corner, (width, height)), line.label, confidence, metadata)
    if pose is not None and len(body) > _BOX:
        points, about = _keypoints(body[_BOX:], pose)
        if points:
            yield Shape(ShapeType.POINTS, points, line.label, confidence, {**metadata, **about})


def _extras(
    rest: Sequence[float], line: _Line, columns: _Columns, where: str, notes: ReadNotes
) -> tuple[float | None, dict[str, object]]:
    """Confidence and metadata of the numbers behind a shape."""
    confidence, track = None, None
    if len(rest) == 2:
        confidence, track = rest
    elif rest and columns.extra is _Extra.CONFIDENCE:
        confidence = rest[0]
    elif rest and columns.extra is _Extra.TRACK:
        track = rest[0]
    elif rest and not line.last.lstrip("+").isdigit():
        confidence = rest[0]  # a tool that writes 1.0 does not count
    elif rest:
        notes.count(
            "lines end in 0 or 1, which may be a confidence or a track id; it is not sent (write a confidence as 1.0)",
            at=where,
        )
    if track is None or not math.isfinite(track):
        return confidence, {}
    notes.count("lines end in a whole number above 1, so that this column is read as track ids", at=where)
    return confidence, {"track_id": int(track)} if track >= 0 else {}
