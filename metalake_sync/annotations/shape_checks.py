"""Which shapes of an operation can be sent, and what is told of the others.

Owns: renaming and restricting labels, the policy on invalid shapes, and every note on shapes. Must not: read sources,
or look for pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from metalake_sync.annotations.entries import Entry, SourceFile
from metalake_sync.annotations.images import Size
from metalake_sync.annotations.spec import AnnotationSpec
from metalake_sync.annotations.validation import CLAUSES, ONE_PIXEL, SIX_DIGITS, ShapeProblem, Treatment, check_shape
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.shapes import ImageRecord, Shape
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestError

ERRORS_SHOWN = 20
"""Of the shapes that `invalid: fail` complains of, so many are told one by one."""

SMALLEST_IMAGE_PX = 16
"""In pictures of that size and more, shapes that all lie in the first pixel are no accident."""


class ShapeChecks:
    """Those of one operation."""

    def __init__(self, operation: str, kind: AnnotationKind) -> None:
        self._operation = operation
        self._kind = kind
        self._notes: list[Note] = []
        self._errors: list[ManifestError] = []
        self._failed = 0
        self._not_allowed: dict[str, int] = {}
        self._seen: set[str] = set()
        self._said: dict[tuple[str, str], None] = {}
        self._size_unknown: list[str] = []
        self._other_size: list[str] = []
        self._turned: dict[str, list[str]] = {}
        """File → images whose shapes were turned."""
        self._reach_out_of_turned: list[str] = []
        self._unsure_people = 0
        self._infinite_extras: dict[str, tuple[int, str]] = {}
        """File → how many shapes lost a value that is not a finite number, and the first."""
        self._in_first_pixel: dict[str, int] = {}
        self.told = 0
        """Grows with everything that a shape leaves in the report."""

    def sendable(self, spec: AnnotationSpec, entry: Entry, file: SourceFile, size: Size | None) -> Iterator[Shape]:
        """The shapes that can be sent; each one that can't leaves a line in the report. `entry`: its record is called
        as the picture is. `size`: the picture's, None where it is not known."""
        record = entry.record
        bounds, rounding = size, ONE_PIXEL
        if record.normalized:
            bounds, rounding = (1, 1), (1 / size[0], 1 / size[1]) if size is not None else SIX_DIGITS
        elif size is not None:
            self._look_for_fractions(record, file, size)
        if size is not None and entry.size not in (None, size):
            self._other_size.append(record.image)
        for number, original in enumerate(record.shapes):
            label = spec.labels.get(original.label, original.label)
            self._seen.update((original.label, label))
            if spec.allowed is not None and label not in spec.allowed and label.strip():
                self._not_allowed[label] = self._not_allowed.get(label, 0) + 1
                self.told += 1
                continue
            shape = replace(original, label=label) if label is not original.label else original
            checked = check_shape(shape, bounds, rounding, spec.invalid)
            for problem, treatment in checked.problems:
                if problem is ShapeProblem.NOT_FINITE and treatment == "fix":
                    self._count_infinite_extras(file, entry.place_of(number))
                    continue
                self._tell(problem, treatment, shape, record.image, f"{file.shown_as}: {entry.place_of(number)}")
            if checked.shape is not None:
                self._count_unsure(checked.shape)
                yield checked.shape

    def recalled(self, file: SourceFile, labels: Iterable[str]) -> None:
        """An entry is known from an earlier run, in which it left nothing in the report. `labels`: of its shapes, as
        the source has them and as they are sent."""
        self._seen.update(labels)
        self._in_first_pixel[file.shown_as] = -1

    def size_is_unknown(self, image: str) -> None:
        """A picture's size can't be read, though it is here."""
        self._size_unknown.append(image)

    def was_turned(self, image: str, file: SourceFile) -> None:
        """The shapes of an image counted in its stored frame, and were turned as EXIF turns the image."""
        self._turned.setdefault(file.shown_as, []).append(image)
        self.told += 1

    def may_be_of_stored_frame(self, image: str) -> None:
        """Shapes reach out of an image that EXIF turns, and it is not clear that they count in its stored frame."""
        self._reach_out_of_turned.append(image)
        self.told += 1

    def was_read(self, spec: AnnotationSpec) -> None:
        """All sources of a block were read."""
        for label in spec.labels:
            self._said["labels.map", label] = None
        for label in sorted(spec.allowed or ()):
            self._said["labels.allow", label] = None

    def errors(self, where: str) -> Iterator[ManifestError]:
        """What `invalid: fail` complains of, once."""
        yield from self._errors
        if self._failed > ERRORS_SHOWN:
            yield ManifestError(
                f"{self._failed - ERRORS_SHOWN} more shapes are invalid",
                where=where,
                remedy="Set 'invalid' to skip or fix where that will do.",
            )
        self._errors, self._failed = [], 0

    def notes(self) -> Iterator[Note]:
        """What was left out or mended, and what looks like a mistake."""
        yield from self._notes
        for label, count in self._not_allowed.items():
            shapes = counted(count, "shape has", "shapes have")
            message = f"{shapes} the label {label!r}, which the manifest does not allow; left out"
            yield Note(NoteCode.SHAPE_SKIPPED, message, self._operation)
        for key, label in self._said:
            if label not in self._seen:
                yield Note(NoteCode.SOURCE_NOTE, f"no source has the label {label!r} of '{key}'", self._operation)
        if self._size_unknown:
            pictures = counted(len(self._size_unknown), "picture has a size", "pictures have sizes")
            clause = f"{pictures} that can't be read, so that shapes may reach out"
            yield Note.naming(NoteCode.SOURCE_NOTE, clause, self._size_unknown, self._operation)
        if self._other_size:
            pictures = counted(len(self._other_size), "picture has", "pictures have")
            clause = f"{pictures} another size than the source says, so that shapes may lie elsewhere"
            yield Note.naming(NoteCode.SOURCE_NOTE, clause, self._other_size, self._operation)
        for name, turned in self._turned.items():
            images_are = counted(len(turned), "image is", "images are")
            clause = (
                f"{images_are} turned by EXIF when shown, and the shapes are of the stored pixels; they are turned too"
            )
            yield Note.naming(NoteCode.SHAPE_FIXED, clause, turned, name)
        if self._reach_out_of_turned:
            images_are = counted(len(self._reach_out_of_turned), "image is", "images are")
            clause = f"{images_are} turned by EXIF when shown, and shapes reach out of the shown frame"
            yield Note.naming(NoteCode.SOURCE_NOTE, clause, self._reach_out_of_turned, self._operation)
        for name, images in self._in_first_pixel.items():
            if images > 0:
                message = (
                    "all its coordinates are within 0 to 1, which looks like fractions; are they, set 'normalized'"
                )
                yield Note(NoteCode.SOURCE_NOTE, message, name)
        for name, (count, first) in self._infinite_extras.items():
            shapes = counted(count, "shape has", "shapes have")
            message = (
                f"{shapes} a confidence, metadata or attributes that are not finite numbers (first: {first}); these"
            )
            yield Note(NoteCode.SOURCE_NOTE, f"{message} values are left out", name)
        if self._unsure_people:
            shapes = counted(self._unsure_people, "shape has", "shapes have")
            message = f"{shapes} attributes whose confidence is not 1; the lake keeps a person's as 1"
            yield Note(NoteCode.SOURCE_NOTE, message, self._operation)

    def _tell(self, problem: ShapeProblem, treatment: Treatment, shape: Shape, image: str, place: str) -> None:
        self.told += 1
        what = f"{shape.type} {shape.label!r} {CLAUSES[problem]}"
        match treatment:
            case "skip":
                message = f"{self._operation}: {what} ({place}); it is left out"
                self._notes.append(Note(NoteCode.SHAPE_SKIPPED, message, image))
            case "fix":
                message = f"{self._operation}: {what} ({place}); it is mended"
                self._notes.append(Note(NoteCode.SHAPE_FIXED, message, image))
            case "fail":
                self._failed += 1
                if self._failed <= ERRORS_SHOWN:
                    remedy = f"Correct it, or set 'invalid: {{{problem}: skip}}'."
                    self._errors.append(ManifestError(f"{image}: {what}", where=place, remedy=remedy))
            case _:
                assert_never(treatment)

    def _count_infinite_extras(self, file: SourceFile, place: str) -> None:
        self.told += 1
        count, first = self._infinite_extras.get(file.shown_as, (0, place))
        self._infinite_extras[file.shown_as] = (count + 1, first)

    def _look_for_fractions(self, record: ImageRecord, file: SourceFile, size: Size) -> None:
        """A file stands as -1 once a shape of it reaches further."""
        if not record.shapes:
            return
        within = max(size) >= SMALLEST_IMAGE_PX and all(
            0 <= number <= 1 for shape in record.shapes for point in shape.points for number in point
        )
        self.told += within
        images = self._in_first_pixel.get(file.shown_as, 0)
        self._in_first_pixel[file.shown_as] = images + 1 if within and images >= 0 else -1

    def _count_unsure(self, shape: Shape) -> None:
        if shape.attributes and self._kind is AnnotationKind.HUMAN:
            values = (value.confidence for group in shape.attributes.values() for value in group)
            unsure = any(confidence not in (None, 1) for confidence in values)
            self._unsure_people += unsure
            self.told += unsure
