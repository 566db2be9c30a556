"""What the numbers of a line of labels mean, and the shapes of a line.

Owns: which column holds a confidence or a track id, and which lines have keypoints. Must not: read files.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.values import point_pairs
from metalake_sync.annotations.formats.yolo.class_names import ClassNames, KeypointShape
from metalake_sync.core.shapes import Point, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass

BOX = 4
"""How many numbers of a box follow the class."""

_FEWEST_KEYPOINTS = 2
"""Fewer keypoints can't be distinguished from a polygon by their numbers alone."""

_SURE_KEYPOINTS = 3
"""This many flags of 0 or 1 are unlikely to be coordinates."""

_OUTSIDE_BOX = 0.02
"""How far keypoints may lie outside their box, as a fraction of the image."""


class Extra(enum.Enum):
    """The meaning of the last column, in a line with one number too many."""

    CONFIDENCE = "a confidence"
    TRACK = "a track id"


class Even(enum.Enum):
    """The meaning of a line with an even count of numbers."""

    PLAIN = "a polygon"
    TRACKED = "a box or polygon, a confidence and a track id"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a label file, which is one object."""

    number: int
    label: str
    numbers: tuple[float, ...]
    """The numbers after the class."""
    last: str
    """The last number as it is written."""


@dataclass(frozen=True, slots=True)
class Columns:
    """How the lines of a file are read. None: the lines of the file do not decide it."""

    extra: Extra | None
    even: Even | None


# What the columns hold.


def _extra_column(line: Line, keypoints: KeypointShape | None) -> float | None:
    """Return the last number of a line with one number too many."""
    count = len(line.numbers)
    if keypoints is not None:
        return line.numbers[-1] if count in (BOX + 1, _pose_length(keypoints) + 1) else None
    return line.numbers[-1] if count % 2 and _inferred_pose(line) is None else None


def _has_pair(line: Line, keypoints: KeypointShape | None) -> bool:
    """Whether the last two numbers of a line could be a confidence and a track id."""
    count = len(line.numbers)
    return (
        keypoints is None
        and count > BOX
        and count % 2 == 0
        and line.numbers[-1].is_integer()
        and 0 <= line.numbers[-2] <= 1
        and _inferred_pose(line) is None
    )


def columns_of(lines: Sequence[Line], keypoints: KeypointShape | None) -> Columns:
    """Return how the lines of a file are read, as far as these lines decide it."""
    extras = [value for line in lines if (value := _extra_column(line, keypoints)) is not None]
    extra = None
    if any(not value.is_integer() for value in extras):
        extra = Extra.CONFIDENCE
    elif any(value not in (0, 1) for value in extras):
        extra = Extra.TRACK
    even = None
    lines_even = [line for line in lines if keypoints is None and len(line.numbers) > BOX and not len(line.numbers) % 2]
    if any(_has_pair(line, keypoints) and line.numbers[-1] not in (0, 1) for line in lines_even):
        even = Even.TRACKED
    elif any(not _has_pair(line, keypoints) for line in lines_even):
        even = Even.PLAIN
    return Columns(extra, even)


def leaves_extra_open(lines: Sequence[Line], keypoints: KeypointShape | None) -> bool:
    """Whether the meaning of the last column matters to these lines."""
    return any(_extra_column(line, keypoints) is not None for line in lines)


def leaves_even_open(lines: Sequence[Line], keypoints: KeypointShape | None) -> bool:
    """Whether the meaning of an even count of numbers matters to these lines.

    A last number with a decimal point is a coordinate: track ids are written without one.
    """
    return any(_has_pair(line, keypoints) and line.last.lstrip("+-").isdigit() for line in lines)


def _is_box(numbers: Sequence[float]) -> bool:
    """Whether the first four numbers are a box within the image."""
    x, y, width, height = numbers[:BOX]
    rim = _OUTSIDE_BOX
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
    return BOX + keypoints.count * keypoints.numbers_each


def _inferred_pose(line: Line) -> KeypointShape | None:
    """Return the keypoints of a line where no data file declares them. The line must be a box, then triples that each
    end in a visibility and lie in the box."""
    count, rest = divmod(len(line.numbers) - BOX, 3)
    if rest or count < _FEWEST_KEYPOINTS:
        return None
    triples = line.numbers[BOX:]
    flags = triples[2::3]
    if any(flag not in (0, 1, 2) for flag in flags) or (2 not in flags and count < _SURE_KEYPOINTS):
        return None
    seen = [point for point, flag in zip(zip(triples[::3], triples[1::3], strict=True), flags, strict=True) if flag]
    x, y, width, height = line.numbers[:BOX]
    inside = all(
        abs(across - x) <= width / 2 + _OUTSIDE_BOX and abs(down - y) <= height / 2 + _OUTSIDE_BOX
        for across, down in seen
    )
    return KeypointShape(count, 3) if seen and inside and _is_box(line.numbers) else None


def _keypoints(numbers: Sequence[float], shape: KeypointShape) -> tuple[tuple[Point, ...], dict[str, object]]:
    """Return the labelled points and their metadata: their names, and their visibility if one is hidden."""
    each = shape.numbers_each
    points = [(numbers[at], numbers[at + 1]) for at in range(0, len(numbers), each)]
    # Without a visibility, an unlabelled point has the coordinates 0, 0.
    flags = list(numbers[2::each]) if each == 3 else [0.0 if point == (0, 0) else 2.0 for point in points]
    labelled = [index for index, flag in enumerate(flags) if not flag <= 0]
    about: dict[str, object] = {}
    if shape.names:
        about["keypoints"] = [shape.names[index] for index in labelled]
    if any(flags[index] != 2 for index in labelled):
        about["visibility"] = [int(flags[index]) if flags[index].is_integer() else flags[index] for index in labelled]
    return tuple(points[index] for index in labelled), about


# Shapes.


def shapes_of(line: Line, classes: ClassNames, columns: Columns, where: str, notes: ReadNotes) -> Iterator[Shape]:
    """Yield the shapes of a line. `where`: its place in errors. Raises ManifestError."""
    numbers = line.numbers
    pose = classes.keypoints
    if pose is None:
        pose = _inferred_pose(line)
        if pose is not None:
            notes.count(
                "lines are read as a box with keypoints because of their numbers; 'kpt_shape' in data.yaml declares it",
                at=where,
            )
    rest: Sequence[float] = ()
    body = numbers
    if pose is not None:
        lengths = (_pose_length(pose), BOX)
        length = next((one for one in lengths if one <= len(numbers) <= one + 2), None)
        if length is None:
            raise ManifestError(
                f"the line has {len(numbers) + 1} values, and 'kpt_shape' [{pose.count}, {pose.numbers_each}] needs"
                f" {_pose_length(pose) + 1}",
                where=where,
                remedy="Correct the line, or 'kpt_shape'.",
            )
        body, rest = numbers[:length], numbers[length:]
    elif len(numbers) % 2:
        body, rest = numbers[:-1], numbers[-1:]
    elif columns.even is Even.TRACKED and _has_pair(line, None):
        body, rest = numbers[:-2], numbers[-2:]
    confidence, metadata = _extras(rest, line, columns, where, notes)
    if pose is None and len(body) > BOX:
        yield Shape(ShapeType.POLYGON, point_pairs(list(body)), line.label, confidence, metadata)
        return
    x, y, width, height = body[:BOX]
    corner = (x - width / 2, y - height / 2)
    yield Shape(ShapeType.RECTANGLE, (corner, (width, height)), line.label, confidence, metadata)
    if pose is not None and len(body) > BOX:
        points, about = _keypoints(body[BOX:], pose)
        if points:
            yield Shape(ShapeType.POINTS, points, line.label, confidence, {**metadata, **about})


def _extras(
    rest: Sequence[float], line: Line, columns: Columns, where: str, notes: ReadNotes
) -> tuple[float | None, dict[str, object]]:
    """Return confidence and metadata of the numbers after a shape."""
    confidence, track = None, None
    if len(rest) == 2:
        confidence, track = rest
    elif rest and columns.extra is Extra.CONFIDENCE:
        confidence = rest[0]
    elif rest and columns.extra is Extra.TRACK:
        track = rest[0]
    elif rest and not line.last.lstrip("+").isdigit():
        confidence = rest[0]  # a track id would have no decimal point
    elif rest:
        notes.count(
            "lines end in 0 or 1, which may be a confidence or a track id; it is not sent (write a confidence as 1.0)",
            at=where,
        )
    if track is None or not math.isfinite(track):
        return confidence, {}
    notes.count("lines end in a whole number above 1, so this column is read as track ids", at=where)
    return confidence, {"track_id": int(track)} if track >= 0 else {}
