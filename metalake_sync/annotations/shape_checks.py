"""Decides which shapes of an operation can be sent, and reports the others.

Owns: renaming and restricting labels, the policy for invalid shapes, and every note on shapes. Must not: read sources,
or match images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from metalake_sync.annotations.entries import AnnotationSpec, Entry, SourceFile
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.validation import CLAUSES, ONE_PIXEL, SIX_DIGITS, ShapeProblem, Treatment, check_shape
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.shapes import ImageRecord, Shape
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestError

ERRORS_SHOWN = 20
"""How many errors of `invalid: fail` are shown one by one."""

SMALLEST_IMAGE_PX = 16
"""In an image of at least this size, shapes that are all inside the first pixel are probably fractions."""


class ShapeChecks:
    """The checks of one operation."""

    def __init__(self, operation: str, kind: AnnotationKind) -> None:
        self._operation = operation
        self._kind = kind
        self._notes: list[Note] = []
        self._errors: list[ManifestError] = []
        self._failed = 0
        self._not_allowed: dict[str, int] = {}
        self._seen: set[str] = set()
        self._configured: dict[tuple[str, str], None] = {}
        self._size_unknown: list[str] = []
        self._other_size: list[str] = []
        self._turned: dict[str, list[str]] = {}
        """File → images whose shapes were converted to the displayed orientation."""
        self._reach_out_of_turned: list[str] = []
        self._uncertain = 0
        self._infinite_extras: dict[str, tuple[int, str]] = {}
        """File → how many shapes lost a value that is not a finite number, and the place of the first."""
        self._in_first_pixel: dict[str, int] = {}
        self.outside: dict[str, str] = {}
        """Image → the place of its first shape that reaches outside, in its stored and in its displayed orientation."""
        self.reported = 0
        """Grows with everything that a shape adds to the report."""

    def sendable(self, spec: AnnotationSpec, entry: Entry, file: SourceFile, size: Size | None) -> Iterator[Shape]:
        """Yield the shapes that can be sent, and report the others. `entry`: its record has the name of the image.
        `size`: of the image, or None if it is unknown."""
        record = entry.record
        bounds, rounding = size, ONE_PIXEL
        if record.normalized:
            bounds, rounding = (1, 1), (1 / size[0], 1 / size[1]) if size is not None else SIX_DIGITS
        elif size is not None:
            self._check_for_fractions(record, file, size)
        if size is not None and entry.size not in (None, size):
            self._other_size.append(record.image)
        for number, original in enumerate(record.shapes):
            label = spec.labels.get(original.label, original.label)
            self._seen.update((original.label, label))
            if spec.allowed is not None and label not in spec.allowed and label.strip():
                self._not_allowed[label] = self._not_allowed.get(label, 0) + 1
                self.reported += 1
                continue
            shape = replace(original, label=label) if label is not original.label else original
            checked = check_shape(shape, bounds, rounding, spec.invalid)
            for problem, treatment in checked.problems:
                if problem is ShapeProblem.NOT_FINITE and treatment == "fix":
                    self._count_infinite_extras(file, entry.place_of(number))
                    continue
                self._add_report(problem, treatment, shape, record.image, f"{file.shown_as}: {entry.place_of(number)}")
            if checked.shape is not None:
                self._count_uncertain(checked.shape)
                yield checked.shape

    def recalled(self, file: SourceFile, labels: Iterable[str]) -> None:
        """Take an entry that an earlier run checked without a report. `labels`: of its shapes, as in the source and as
        they are sent."""
        self._seen.update(labels)
        self._in_first_pixel[file.shown_as] = -1

    def size_is_unknown(self, image: str) -> None:
        """Report a local image whose size can't be read."""
        self._size_unknown.append(image)

    def was_turned(self, image: str, file: SourceFile) -> None:
        """Report an image whose shapes were converted to its displayed orientation."""
        self._turned.setdefault(file.shown_as, []).append(image)
        self.reported += 1

    def may_be_of_stored_frame(self, image: str) -> None:
        """Report an image that EXIF turns, whose shapes are partly outside and may be of the stored orientation."""
        self._reach_out_of_turned.append(image)
        self.reported += 1

    def was_read(self, spec: AnnotationSpec) -> None:
        """Take the labels of a block whose sources were all read."""
        for label in spec.labels:
            self._configured["labels.map", label] = None
        for label in sorted(spec.allowed or ()):
            self._configured["labels.allow", label] = None

    def errors(self, where: str) -> Iterator[ManifestError]:
        """Yield the errors of `invalid: fail`, each once."""
        yield from self._errors
        if self._failed > ERRORS_SHOWN:
            yield ManifestError(
                f"{self._failed - ERRORS_SHOWN} more shapes are invalid",
                where=where,
                remedy="Correct them, or set 'invalid' to skip or fix.",
            )
        self._errors, self._failed = [], 0

    def notes(self) -> Iterator[Note]:
        """Yield what was left out or repaired, and what looks wrong."""
        yield from self._notes
        for label, count in self._not_allowed.items():
            shapes = counted(count, "shape has", "shapes have")
            message = f"{shapes} the label {label!r}, which the manifest does not allow; left out"
            yield Note(NoteCode.SHAPE_SKIPPED, message, self._operation)
        for key, label in self._configured:
            if label not in self._seen:
                yield Note(NoteCode.SOURCE_NOTE, f"no source has the label {label!r} of '{key}'", self._operation)
        if self._size_unknown:
            images_have = counted(len(self._size_unknown), "image has a size", "images have sizes")
            clause = f"{images_have} that can't be read, so shapes may be partly outside"
            yield Note.naming(NoteCode.SOURCE_NOTE, clause, self._size_unknown, self._operation)
        if self._other_size:
            images_have = counted(len(self._other_size), "image has", "images have")
            clause = f"{images_have} another size than the source states, so shapes may be in the wrong place"
            yield Note.naming(NoteCode.SOURCE_NOTE, clause, self._other_size, self._operation)
        for name, turned in self._turned.items():
            images_are = counted(len(turned), "image is", "images are")
            clause = f"{images_are} turned by EXIF, and the shapes are of the stored pixels; the shapes are turned too"
            yield Note.naming(NoteCode.SHAPE_FIXED, clause, turned, name)
        if self._reach_out_of_turned:
            images_are = counted(len(self._reach_out_of_turned), "image is", "images are")
            clause = f"{images_are} turned by EXIF, and shapes are partly outside the displayed image"
            yield Note.naming(NoteCode.SOURCE_NOTE, clause, self._reach_out_of_turned, self._operation)
        for name, images in self._in_first_pixel.items():
            if images > 0:
                message = "all coordinates are within 0 to 1, which looks like fractions; if so, set 'normalized'"
                yield Note(NoteCode.SOURCE_NOTE, message, name)
        for name, (count, first) in self._infinite_extras.items():
            shapes = counted(count, "shape has", "shapes have")
            message = (
                f"{shapes} a confidence, metadata or attributes that are not finite numbers (first: {first}); these"
            )
            yield Note(NoteCode.SOURCE_NOTE, f"{message} values are left out", name)
        if self._uncertain:
            shapes = counted(self._uncertain, "shape has", "shapes have")
            message = f"{shapes} attributes whose confidence is not 1; the lake stores 1 for human annotations"
            yield Note(NoteCode.SOURCE_NOTE, message, self._operation)

    def _add_report(self, problem: ShapeProblem, treatment: Treatment, shape: Shape, image: str, place: str) -> None:
        self.reported += 1
        if problem is ShapeProblem.OUTSIDE:
            self.outside.setdefault(image, place)
        what = f"{shape.type} {shape.label!r} {CLAUSES[problem]}"
        match treatment:
            case "skip":
                message = f"{self._operation}: {what} ({place}); it is left out"
                self._notes.append(Note(NoteCode.SHAPE_SKIPPED, message, image))
            case "fix":
                message = f"{self._operation}: {what} ({place}); it is repaired"
                self._notes.append(Note(NoteCode.SHAPE_FIXED, message, image))
            case "fail":
                self._failed += 1
                if self._failed <= ERRORS_SHOWN:
                    remedy = f"Correct it, or set 'invalid: {{{problem}: skip}}'."
                    self._errors.append(ManifestError(f"{image}: {what}", where=place, remedy=remedy))
            case _:
                assert_never(treatment)

    def _count_infinite_extras(self, file: SourceFile, place: str) -> None:
        self.reported += 1
        count, first = self._infinite_extras.get(file.shown_as, (0, place))
        self._infinite_extras[file.shown_as] = (count + 1, first)

    def _check_for_fractions(self, record: ImageRecord, file: SourceFile, size: Size) -> None:
        """Count images whose shapes are all within 0 to 1; -1 for a file with any other shape."""
        if not record.shapes:
            return
        within = max(size) >= SMALLEST_IMAGE_PX and all(
            0 <= number <= 1 for shape in record.shapes for point in shape.points for number in point
        )
        self.reported += within
        images = self._in_first_pixel.get(file.shown_as, 0)
        self._in_first_pixel[file.shown_as] = images + 1 if within and images >= 0 else -1

    def _count_uncertain(self, shape: Shape) -> None:
        if shape.attributes and self._kind is AnnotationKind.HUMAN:
            values = (value.confidence for group in shape.attributes.values() for value in group)
            uncertain = any(confidence not in (None, 1) for confidence in values)
            self._uncertain += uncertain
            self.reported += uncertain
