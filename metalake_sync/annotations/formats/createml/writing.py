"""Writes Create ML's JSON image by image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, SizeUse, WriteReport
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType

FILE = "annotations.json"


class CreateMlOutput(OutputFormat):
    """One file, in pixels."""

    shape_types = frozenset({ShapeType.RECTANGLE})
    file_names = (FILE,)
    sizes = SizeUse.UNUSED
    losses = ("metadata fields", "attributes")

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Keep the label and the confidence."""
        report.lose("metadata fields", image, len(shape.metadata))
        report.lose("attributes", image, len(shape.attributes))
        return replace(shape, metadata={}, attributes={})


class _Writer(RecordWriter):
    def __init__(self, folder: Path) -> None:
        self._file = (folder / FILE).open("w", encoding="utf-8")
        self._file.write("[")
        self._first = True

    def write(self, record: ImageRecord, size: Size | None) -> None:
        entry = {"image": record.image, "annotations": [_annotation(shape) for shape in record.shapes]}
        self._file.write(("\n" if self._first else ",\n") + json.dumps(entry, allow_nan=False))
        self._first = False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._file.write("\n]\n")
        self._file.close()


def _annotation(shape: Shape) -> dict[str, Any]:
    (left, top), (width, height) = shape.points
    box = {"x": left + width / 2, "y": top + height / 2, "width": width, "height": height}
    confidence = {} if shape.confidence is None else {"confidence": shape.confidence}
    return {"label": shape.label, "coordinates": box, **confidence}
