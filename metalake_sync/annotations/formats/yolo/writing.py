"""Writes YOLO label files: one text for each image, one line for each object, in fractions of the image.

A label file is beside its image, where trainers and labeling tools look for it, with the class names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import yaml

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, SizeUse, WriteReport
from metalake_sync.annotations.formats.values import is_single_line
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.writing import file_beside
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType

_LABELS = "shapes whose label is not a single line; they are left out"
_BOXES = "boxes beside polygons; they are written as polygons"


class YoloOutput(OutputFormat):
    """NAME.txt for each image, in fractions; classes.txt and data.yaml."""

    shape_types = frozenset({ShapeType.RECTANGLE, ShapeType.POLYGON})
    file_names = ("classes.txt", "data.yaml")
    index_file = "data.yaml"
    image_file_extension = ".txt"
    class_ids = True
    fractions = True
    sizes = SizeUse.REQUIRED
    losses = (_LABELS, "metadata fields", "attributes", _BOXES)

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder, [label for label in classes if is_single_line(label)])

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Keep the label and the confidence."""
        if not is_single_line(shape.label):
            report.lose(_LABELS, image)
            return None
        report.lose("metadata fields", image, len(shape.metadata))
        report.lose("attributes", image, len(shape.attributes))
        return replace(shape, metadata={}, attributes={})

    def fit_shapes(self, shapes: tuple[Shape, ...], image: str, report: WriteReport) -> tuple[Shape, ...]:
        """Turn boxes to polygons if the image has both: trainers read a file as boxes or as polygons."""
        boxes = sum(shape.type is ShapeType.RECTANGLE for shape in shapes)
        if not boxes or boxes == len(shapes):
            return shapes
        report.lose(_BOXES, image, boxes)
        return tuple(_as_polygon(shape) if shape.type is ShapeType.RECTANGLE else shape for shape in shapes)

    def write_index(self, folder: Path, splits: Sequence[str], classes: Sequence[str]) -> None:
        """Write data.yaml. Its paths are relative to it, so the folder can be moved."""
        names = [label for label in classes if is_single_line(label)]
        _write_data_file(folder, {_key_of(split): split for split in splits}, names)

    def warning_for_splits(self, splits: Sequence[str]) -> str | None:
        """Ultralytics refuses a data.yaml without 'train' or 'val'."""
        missing = [name for name in ("train", "val") if name not in map(_key_of, splits)]
        if not missing:
            return None
        return f"has no split {' and '.join(map(repr, missing))}. YOLO trainers need 'train' and 'val' in data.yaml"

    def warning_for(self, folder: Path) -> str | None:
        """YOLO trainers replace a folder 'images' in the path of an image by 'labels'."""
        if "images" not in folder.resolve().parts:
            return None
        return (
            "is inside a folder 'images'. YOLO trainers look for labels in a sibling folder 'labels', not next to the"
            " images. Choose a different folder"
        )


def _as_polygon(box: Shape) -> Shape:
    (x, y), (width, height) = box.points
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return replace(box, type=ShapeType.POLYGON, points=corners)


class _Writer(RecordWriter):
    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder = folder
        self._classes = {label: number for number, label in enumerate(classes)}

    def write(self, record: ImageRecord, size: Size | None) -> None:
        lines = [self._line(shape) + "\n" for shape in record.shapes]
        file_beside(self._folder, record.image, ".txt").write_text("".join(lines), encoding="utf-8")

    def _line(self, shape: Shape) -> str:
        if shape.type is ShapeType.RECTANGLE:
            (x, y), (width, height) = shape.points
            numbers = [x + width / 2, y + height / 2, width, height]
        else:
            numbers = [part for point in shape.points for part in point]
        if shape.confidence is not None:
            numbers.append(shape.confidence)
        return " ".join([str(self._classes[shape.label]), *map(_fraction, numbers)])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            names = "".join(f"{label}\n" for label in self._classes)
            (self._folder / "classes.txt").write_text(names, encoding="utf-8")
            _write_data_file(self._folder, {"train": ".", "val": "."}, list(self._classes))


def _key_of(split: str) -> str:
    """Return the key of a split in data.yaml. Ultralytics calls the validation data 'val'."""
    return "val" if split.lower() in ("val", "valid", "validation") else split


def _write_data_file(folder: Path, images: Mapping[str, str], classes: Sequence[str]) -> None:
    # Older trainers need 'nc'.
    data = {**images, "nc": len(classes), "names": list(classes)}
    (folder / "data.yaml").write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def _fraction(number: float) -> str:
    """Return a number with a decimal point: a whole number at the end of a line could be a track id."""
    text = f"{number:.12g}"
    return f"{text}.0" if text.lstrip("-").isdigit() else text
