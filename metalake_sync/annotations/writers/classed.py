"""Records that wait for the classes of all records: a format with class ids can't be written before these are known.

Owns: the temporary file that they wait in, and the order of classes. Must not: know where records come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from metalake_sync.annotations.entries import raw_bytes, raw_value
from metalake_sync.annotations.images import Size
from metalake_sync.annotations.writers.coco import CocoWriter
from metalake_sync.annotations.writers.fitting import Fitting, WriteReport, is_single_line
from metalake_sync.annotations.writers.per_image import YoloWriter
from metalake_sync.core.shapes import AttributeValue, FormatName, ImageRecord, Shape, ShapeType
from metalake_sync.sources.scratch import Spool

CLASSED: frozenset[FormatName] = frozenset({"coco", "yolo"})
"""Formats that write a class or category as a number."""

_LENGTH_BYTES = 8


def class_order(labels: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """The classes of several sets of records, in the order of their ids: by name. Those that YOLO's list of lines can't
    hold come last, so that the others have the same order in every format."""
    return tuple(sorted(set().union(*labels), key=lambda label: (not is_single_line(label), label)))


class ClassedRecords:
    """Records for YOLO or COCO. Take them, then write them with the classes of all sets that belong together. Close
    it."""

    def __init__(self, format: FormatName, size_of: Callable[[str], Size | None]) -> None:
        assert format in CLASSED, format
        self.labels: set[str] = set()
        """Of the shapes that the format holds."""
        self._format = format
        self._size_of = size_of
        self._fitting = Fitting(format, size_of)
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
        """Write all records. `classes`: those of `labels` and more, in the order of their ids. Raises OSError."""
        lines = [label for label in classes if is_single_line(label)]
        with YoloWriter(folder, lines) if self._format == "yolo" else CocoWriter(folder, classes) as writer:
            for image, size, shapes in self._read():
                record = ImageRecord(image, tuple(map(_unpacked, shapes)), normalized=self._format == "yolo")
                writer.write(record, size)

    def close(self) -> None:
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
