"""Writes records in a format: makes them fit, and gives those of a format with class ids to the writer when all labels
are known.

Owns: names and units that a format can't hold, the order of class ids, and the temporary file in which records wait.
What is read back from a written file is the record that `Fitting.fit` returned. Must not: know a format, or where
records come from.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from metalake_sync.annotations.formats import format_named, readable_formats
from metalake_sync.annotations.formats.base import OutputFormat, WriteReport
from metalake_sync.annotations.formats.values import is_single_line, raw_bytes, raw_value
from metalake_sync.annotations.frames import to_fractions, to_pixels
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape, ShapeType
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.names import folded
from metalake_sync.sources.scratch import Spool

SizeOf = Callable[[str], Size | None]
"""Returns width and height of an image in pixels by its name, or None if they are unknown."""

_NAME_BYTES = 200
_LENGTH_BYTES = 8


def write_records(
    records: Iterable[ImageRecord],
    format: str,
    folder: Path,
    size_of: SizeOf = lambda _: None,
    *,
    reserved: Collection[str] = (),
) -> WriteReport:
    """Write records, one for each image, as they come. The folder is created if it does not exist.

    `reserved`: names of other files that the caller writes beside them. Class ids are in the order of `class_order`.
    Raises SyncError where the folder can't be written.
    """
    output = format_named(format).output()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if output.class_ids:
            with contextlib.closing(ClassedRecords(output, size_of, reserved)) as classed:
                for record in records:
                    classed.take(record)
                classed.write(folder, class_order([classed.labels]))
            return classed.report
        fitting = Fitting(output, size_of, reserved)
        with output.writer(folder, ()) as writer:
            for record in records:
                fitted = fitting.fit(record)
                if fitted is not None:
                    writer.write(fitted, size_of(record.image))
        return fitting.report
    except OSError as error:
        raise SyncError(
            f"annotations can't be written ({error.strerror})",
            where=str(error.filename or folder),
            remedy="Make the folder writable, or choose another folder.",
        ) from None


def file_beside(folder: Path, image: str, extension: str) -> Path:
    """Return the path of an image's annotation file, and create its folder."""
    path = folder / PurePosixPath(image).with_suffix("")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(path.name + extension)


# What is lost.

NOT_FILE_NAMES = "images whose name can't be a file name; they are left out"
OTHER_FILES = "images whose annotation file would have the name of a file that describes the folder; they are left out"
SAME_STEMS = "images that differ from another one only in their extension; they are left out"
LOSSES_BY_NAME = frozenset((NOT_FILE_NAMES, OTHER_FILES, SAME_STEMS))
"""What is lost of images for their names, in formats with a file for each image."""


def losses_of_types(output: OutputFormat) -> dict[ShapeType, str]:
    """Return, for each type of shape that a format can't hold, what the report says."""
    return {kind: f"shapes of type {kind}; they are left out" for kind in ShapeType if kind not in output.shape_types}


def stated_losses(output: OutputFormat) -> frozenset[str]:
    """Return every loss of shapes that follows from what a format is, in the words of the report. Other losses concern
    whole images: their names (`LOSSES_BY_NAME`), or their unknown sizes."""
    return frozenset((*losses_of_types(output).values(), *output.losses))


# Making records fit.


@dataclass(slots=True)
class Fitting:
    """Makes records fit one format."""

    output: OutputFormat
    size_of: SizeOf
    reserved: Collection[str] = ()
    """Names of other files beside the annotation files. The annotation file of an image gets none of them."""
    report: WriteReport = field(default_factory=WriteReport)
    _stems: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = frozenset(map(folded, (*self.output.file_names, *self.reserved)))
        self.reserved = own | _side_files() if self.output.image_file_extension is not None else own

    def fit(self, record: ImageRecord) -> ImageRecord | None:
        """Return what the format holds of a record, in the format's unit; None if it can't hold the record at all."""
        if self.output.image_file_extension is not None and not self._has_a_file_name(record.image):
            return None
        fitted = self._in_unit(record)
        if fitted is None:
            return None
        shapes = tuple(kept for shape in fitted.shapes if (kept := self._shape(shape, record.image)) is not None)
        shapes = self.output.fit_shapes(shapes, record.image, self.report)
        self.report.images += 1
        self.report.shapes += len(shapes)
        return replace(fitted, shapes=shapes)

    def _has_a_file_name(self, image: str) -> bool:
        """Whether a file inside the folder can have the image's name, and nothing else takes that file."""
        path = PurePosixPath(image)
        parts = path.parts
        if (
            path.is_absolute()
            or any(part in (".", "..") or len(part.encode("utf-8", "surrogatepass")) > _NAME_BYTES for part in parts)
            or not is_single_line(image)
            or not path.stem.strip(". ")
            or str(path) != image
        ):
            self.report.lose(NOT_FILE_NAMES, image)
            return False
        if folded(f"{path.stem}{self.output.image_file_extension}") in self.reserved:
            self.report.lose(OTHER_FILES, image)
            return False
        stem = str(path.with_suffix(""))
        other = self._stems.setdefault(folded(stem), image)
        if other != image:
            self.report.lose(SAME_STEMS, image)
            return False
        return True

    def _in_unit(self, record: ImageRecord) -> ImageRecord | None:
        fractions = self.output.fractions
        if record.normalized == fractions or not record.shapes:
            return replace(record, normalized=fractions)
        size = self.size_of(record.image)
        if size is None:
            unit = "fractions" if fractions else "pixels"
            self.report.lose(
                f"images of unknown size, whose shapes can't be converted to {unit}; they are left out", record.image
            )
            return None
        return to_fractions(record, size) if fractions else to_pixels(record, size)

    def _shape(self, shape: Shape, image: str) -> Shape | None:
        if shape.type not in self.output.shape_types:
            self.report.lose(losses_of_types(self.output)[shape.type], image)
            return None
        return self.output.fit_shape(shape, image, self.report)


@functools.cache
def _side_files() -> frozenset[str]:
    """The names that readers of a folder take for something else than annotations."""
    return frozenset(folded(name) for one in readable_formats() for name in one.side_files)


# Class ids.


def class_order(labels: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Return the classes of several sets of records in the order of their ids, which is the order of their names.

    Labels that are not a single line come last: YOLO's list of names can't hold them, and the others have the same
    order in every format.
    """
    return tuple(sorted(set().union(*labels), key=lambda label: (not is_single_line(label), label)))


class ClassedRecords:
    """Records for a format with class ids. Take all records, then write them with the classes of all sets that belong
    together. Close it."""

    def __init__(self, output: OutputFormat, size_of: SizeOf, reserved: Collection[str] = ()) -> None:
        assert output.class_ids
        self.labels: set[str] = set()
        """The labels of all shapes that the format holds."""
        self._output = output
        self._size_of = size_of
        self._fitting = Fitting(output, size_of, reserved)
        self._spool = Spool()

    @property
    def report(self) -> WriteReport:
        return self._fitting.report

    def take(self, record: ImageRecord) -> None:
        """Keep what the format holds of a record. Raises SyncError where the temporary folder is full or missing."""
        fitted = self._fitting.fit(record)
        if fitted is None:
            return
        self.labels.update(shape.label for shape in fitted.shapes)
        data = raw_bytes([fitted.image, self._size_of(record.image), [_packed(shape) for shape in fitted.shapes]])
        self._spool.append(len(data).to_bytes(_LENGTH_BYTES) + data)

    def write(self, folder: Path, classes: Sequence[str]) -> None:
        """Write all records. `classes`: at least `labels`, in the order of their ids. Raises OSError."""
        with self._output.writer(folder, classes) as writer:
            for image, size, shapes in self._read():
                record = ImageRecord(image, tuple(map(_unpacked, shapes)), normalized=self._output.fractions)
                writer.write(record, size)

    def close(self) -> None:
        """Delete the temporary file."""
        self._spool.close()

    def _read(self) -> Iterator[list[Any]]:
        at = 0
        while at < self._spool.size_bytes:
            length = int.from_bytes(self._spool.read(at, _LENGTH_BYTES))
            yield raw_value(self._spool.read(at + _LENGTH_BYTES, length))
            at += _LENGTH_BYTES + length


def _packed(shape: Shape) -> list[Any]:
    attributes = [
        [name, [[value.value, value.confidence, dict(value.metadata)] for value in values]]
        for name, values in shape.attributes.items()
    ]
    return [shape.type.value, shape.points, shape.label, shape.confidence, dict(shape.metadata), attributes]


def _unpacked(packed: list[Any]) -> Shape:
    shape_type, points, label, confidence, metadata, attributes = packed
    values = {name: tuple(AttributeValue(*value) for value in group) for name, group in attributes}
    return Shape(ShapeType(shape_type), points, label, confidence, metadata, values)
