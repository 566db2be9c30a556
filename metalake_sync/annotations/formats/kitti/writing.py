"""Writes KITTI's label files: one text for each image, with unknown values for what the lake does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, WriteReport
from metalake_sync.annotations.formats.kitti.reading import NOT_ANNOTATED
from metalake_sync.annotations.formats.label_texts import is_number
from metalake_sync.annotations.formats.values import is_single_line
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.writing import file_beside
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType

_NUMBERS = ("truncated", "occluded")
_LABELS = "shapes whose label KITTI can't hold; they are left out"

_UNKNOWN = "-1"
_NO_ALPHA = "-10"
_NO_3D_BOX = "-1 -1 -1 -1000 -1000 -1000 -10"


class KittiOutput(OutputFormat):
    """NAME.txt for each image, in pixels."""

    shape_types = frozenset({ShapeType.RECTANGLE})
    image_file_extension = ".txt"
    losses = (_LABELS, "metadata fields", "attributes")

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Keep the label, the confidence, and how far an object is truncated and occluded."""
        words = shape.label.split()
        fits = is_single_line(shape.label) and " ".join(words) == shape.label and not any(map(is_number, words[1:]))
        if not fits or shape.label.lower() == NOT_ANNOTATED:
            report.lose(_LABELS, image)
            return None
        kept = {name: value for name, value in shape.metadata.items() if name in _NUMBERS and _is_amount(value)}
        report.lose("metadata fields", image, len(shape.metadata) - len(kept))
        report.lose("attributes", image, len(shape.attributes))
        return replace(shape, metadata=kept, attributes={})


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e9


class _Writer(RecordWriter):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, record: ImageRecord, size: Size | None) -> None:
        lines = [_line(shape) + "\n" for shape in record.shapes]
        file_beside(self._folder, record.image, ".txt").write_text("".join(lines), encoding="utf-8")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Every file is closed already."""


def _line(shape: Shape) -> str:
    (left, top), (width, height) = shape.points
    truncated, occluded = (_amount(shape.metadata, name) for name in _NUMBERS)
    box = " ".join(map(repr, (left, top, left + width, top + height)))
    score = [] if shape.confidence is None else [repr(shape.confidence)]
    return " ".join([shape.label, truncated, occluded, _NO_ALPHA, box, _NO_3D_BOX, *score])


def _amount(metadata: Mapping[str, Any], name: str) -> str:
    return repr(metadata[name]) if name in metadata else _UNKNOWN
