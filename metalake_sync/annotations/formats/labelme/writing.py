"""Writes LabelMe's JSON: one file for each image, beside it.

Flags that are set are flags of the shape, other texts, flags and numbers of the metadata are keys of it. Attributes
and the confidence have the keys that tools beside LabelMe use: `attributes` and `score`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, WriteReport
from metalake_sync.annotations.formats.fitting import METADATA_NOT_HELD, ONE_VALUE_LOSSES, plain_attributes
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.writing import file_beside
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType

_VERSION = "5.5.0"
"""The version of LabelMe whose form is written."""

_TAKEN = frozenset(
    {"label", "points", "shape_type", "flags", "mask", "score", "attributes", "line_color", "fill_color"}
)
"""Keys of a shape that metadata can't have."""


class LabelmeOutput(OutputFormat):
    """NAME.json for each image, in pixels."""

    shape_types = frozenset(ShapeType)
    image_file_extension = ".json"
    losses = (*ONE_VALUE_LOSSES, METADATA_NOT_HELD)

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Keep one value of each attribute, and metadata that is a text, a flag or a number."""
        attributes = plain_attributes(shape, image, report, several=False)
        metadata = {
            name: value
            for name, value in shape.metadata.items()
            if value is True or (isinstance(value, str | int | float) and value != "" and name not in _TAKEN)
        }
        report.lose(METADATA_NOT_HELD, image, len(shape.metadata) - len(metadata))
        return replace(shape, metadata=metadata, attributes=attributes)


class _Writer(RecordWriter):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, record: ImageRecord, size: Size | None) -> None:
        width, height = size if size is not None else (None, None)
        document: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": [_shape(shape) for shape in record.shapes],
            "imagePath": PurePosixPath(record.image).name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        path = file_beside(self._folder, record.image, ".json")
        path.write_text(json.dumps(document, allow_nan=False, indent=2) + "\n", encoding="utf-8")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Every file is closed already."""


def _shape(shape: Shape) -> dict[str, Any]:
    points = [list(point) for point in shape.points]
    match shape.type:
        case ShapeType.RECTANGLE:
            (x, y), (width, height) = shape.points
            kind, points = "rectangle", [[x, y], [x + width, y + height]]
        case ShapeType.POLYGON:
            kind = "polygon"
        case ShapeType.LINE:
            kind = "line" if len(points) == 2 else "linestrip"
        case _:
            kind = "point" if len(points) == 1 else "points"
    written: dict[str, Any] = {
        "label": shape.label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {name: True for name, value in shape.metadata.items() if value is True},
        "mask": None,
    }
    written |= {name: value for name, value in shape.metadata.items() if value is not True}
    if shape.attributes:
        written["attributes"] = {name: values[0].value for name, values in shape.attributes.items()}
    if shape.confidence is not None:
        written["score"] = shape.confidence
    return written
