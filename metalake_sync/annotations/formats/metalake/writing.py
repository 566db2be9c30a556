"""Writes the MetaLake's own annotation JSON, image by image. The format holds everything that a record holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, SizeUse
from metalake_sync.annotations.images import Size
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType

FILE = "annotations.json"


class MetalakeOutput(OutputFormat):
    """One file, in pixels."""

    shape_types = frozenset(ShapeType)
    file_names = (FILE,)
    sizes = SizeUse.UNUSED

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder)


class _Writer(RecordWriter):
    def __init__(self, folder: Path) -> None:
        self._file = (folder / FILE).open("w", encoding="utf-8")
        self._file.write('{"images": [')
        self._first = True

    def write(self, record: ImageRecord, size: Size | None) -> None:
        document = {"image": record.image, "annotations": [_annotation(shape) for shape in record.shapes]}
        self._file.write(("\n" if self._first else ",\n") + json.dumps(document, allow_nan=False))
        self._first = False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._file.write("\n]}\n")
        self._file.close()


def _annotation(shape: Shape) -> dict[str, Any]:
    annotation: dict[str, Any] = {"type": shape.type.value, "label": shape.label}
    if shape.type is ShapeType.RECTANGLE:
        annotation["bbox"] = [*shape.points[0], *shape.points[1]]
    else:
        annotation[shape.type.value] = [list(point) for point in shape.points]
    if shape.confidence is not None:
        annotation["confidence"] = shape.confidence
    if shape.metadata:
        annotation["metadata"] = dict(shape.metadata)
    if shape.attributes:
        annotation["attributes"] = attributes_document(shape)
    return annotation


def attributes_document(shape: Shape) -> dict[str, list[dict[str, Any]]]:
    """Return attributes in the MetaLake's form: name → values with their confidence and metadata."""
    return {
        name: [
            {
                "value": value.value,
                **({} if value.confidence is None else {"confidence": value.confidence}),
                **({"metadata": dict(value.metadata)} if value.metadata else {}),
            }
            for value in values
        ]
        for name, values in shape.attributes.items()
    }
