"""A format of another package, as CONTRIBUTING.md describes it: one line for each box, `image label x y width height`.

Lines of one image follow one another. A confidence may be the last value. Tests install it by its folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType

from metalake_sync.annotations.entries import Entry, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import (
    AnnotationFormat,
    FileHead,
    FormatReader,
    OutputFormat,
    ReadOptions,
    RecordWriter,
    WriteReport,
)
from metalake_sync.annotations.formats.values import text_number
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.sources.text_files import open_text


class ToyFormat(AnnotationFormat):
    name = "toy"
    extensions = (".boxes",)
    writes = True

    def recognizes(self, head: FileHead) -> bool:
        return head.start().startswith(b"#toy")

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        return ToyReader(options.normalized)

    def output(self) -> OutputFormat:
        return ToyOutput()


class ToyReader(FormatReader):
    def __init__(self, normalized: bool) -> None:
        self._normalized = normalized

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        with open_text(file.path, file.shown_as) as lines:
            words = ((number, line.split()) for number, line in enumerate(lines, start=1) if not line.startswith("#"))
            for image, group in groupby(words, key=lambda one: one[1][0]):
                boxes = [(number, box) for number, line in group if (box := _box(line, number, notes)) is not None]
                yield Entry(
                    ImageRecord(image, tuple(box for _, box in boxes), self._normalized),
                    place=f"image {image}",
                    shape_form="line {}",
                    shape_numbers=tuple(number for number, _ in boxes),
                )


def _box(words: Sequence[str], number: int, notes: ReadNotes) -> Shape | None:
    place = f"line {number}"
    try:
        x, y, width, height, *confidence = (text_number(word, place) for word in words[2:])
    except (ManifestError, ValueError):
        notes.leave_out("lines do not have the form: image label x y width height", place)
        return None
    points = ((x, y), (width, height))
    return Shape(ShapeType.RECTANGLE, points, words[1], confidence[0] if confidence else None)


class ToyOutput(OutputFormat):
    shape_types = frozenset({ShapeType.RECTANGLE})
    file_names = ("annotations.boxes",)

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return ToyWriter(folder)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        if " " in shape.label or " " in image:
            report.lose("shapes with a blank in their label or image; they are left out", image)
            return None
        report.lose("metadata fields", image, len(shape.metadata))
        report.lose("attributes", image, len(shape.attributes))
        return Shape(shape.type, shape.points, shape.label, shape.confidence)


class ToyWriter(RecordWriter):
    def __init__(self, folder: Path) -> None:
        self._file = (folder / "annotations.boxes").open("w", encoding="utf-8")
        self._file.write("#toy\n")

    def write(self, record: ImageRecord, size: Size | None) -> None:
        for shape in record.shapes:
            numbers = [part for point in shape.points for part in point]
            if shape.confidence is not None:
                numbers.append(shape.confidence)
            self._file.write(" ".join([record.image, shape.label, *map(repr, numbers)]) + "\n")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()


FORMAT = ToyFormat()
