"""The MetaLake's own annotation JSON, which holds everything that a record holds, and writing it image by image.

`reading` reads its old and its new form.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import (
    AnnotationFormat,
    FileHead,
    FormatReader,
    OutputFormat,
    ReadOptions,
    RecordWriter,
    SizeUse,
)
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.json_stream import TOP_LEVEL
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType


class MetalakeFormat(AnnotationFormat):
    """One JSON file with a list of images."""

    name = "metalake"
    title = "MetaLake JSON"
    extensions = (".json",)
    writes = True
    options = frozenset({"old_form", "shape_type"})

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object with 'images' whose elements are not COCO's."""
        has_images = has_categories = False
        for key, position, value in head.members():
            if key in ("annotations", TOP_LEVEL):
                return False
            if key == "images" and position is not None:
                return not (isinstance(value, dict) and ("file_name" in value or "id" in value))
            has_images |= key == "images" and isinstance(value, list)
            has_categories |= key == "categories"
        return has_images and not has_categories

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.metalake.reading import MetalakeForm, MetalakeReader

        chosen = options.chosen
        return MetalakeReader(options.normalized, MetalakeForm(chosen.get("old_form"), chosen.get("shape_type")))

    def output(self) -> OutputFormat:
        return MetalakeOutput()


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
        document = {"image": record.image, "annotations": [annotation_document(shape) for shape in record.shapes]}
        self._file.write(("\n" if self._first else ",\n") + json.dumps(document, allow_nan=False))
        self._first = False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._file.write("\n]}\n")
        self._file.close()


def annotation_document(shape: Shape) -> dict[str, Any]:
    """Return a shape in the new form."""
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


FORMAT = MetalakeFormat()
