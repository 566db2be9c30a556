"""Writes Datumaro's JSON: one file, of the subset `default`.

Items wait in a temporary file, so that the categories come first. Texts of the metadata are attributes there, and are
read back as attributes of the label.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, WriteReport
from metalake_sync.annotations.formats.fitting import (
    METADATA_NOT_HELD,
    SEVERAL_VALUES_LOSSES,
    TEXT_LOSSES,
    is_number,
    plain_attributes,
    with_text,
)
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType

FILE = "default.json"

_TYPES = {
    ShapeType.RECTANGLE: "bbox",
    ShapeType.POLYGON: "polygon",
    ShapeType.LINE: "polyline",
    ShapeType.POINTS: "points",
}
_NAMES = "names of key points"
_OWN = {"group_id": "group", "z_order": "z_order"}
"""Metadata that has a key of its own, if it is a whole number other than 0."""


class DatumaroOutput(OutputFormat):
    """One file, in pixels. The ids of labels are their places in the list of categories."""

    shape_types = frozenset(ShapeType)
    file_names = (FILE,)
    class_ids = True
    losses = (_NAMES, *SEVERAL_VALUES_LOSSES, *TEXT_LOSSES)

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder, classes)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Keep texts as attributes, and flags and numbers as metadata. The names of key points are lost."""
        attributes = plain_attributes(shape, image, report, several=True)
        metadata: dict[str, Any] = {}
        for name, value in shape.metadata.items():
            if name == "keypoints" and shape.type is ShapeType.POINTS:
                report.lose(_NAMES, image)
            elif isinstance(value, str):
                with_text(attributes, name, value, image, report)
            elif name in attributes or value is None or _is_taken(name, value, shape) or _are_texts(value):
                report.lose(METADATA_NOT_HELD, image)
            else:
                metadata[name] = value
        for name in [name for name in attributes if name in metadata]:
            del metadata[name]
            report.lose(METADATA_NOT_HELD, image)
        return replace(shape, metadata=metadata, attributes=attributes)


def _is_taken(name: str, value: Any, shape: Shape) -> bool:
    """Whether a value of the metadata would be read back as something else."""
    if name == "score":
        return is_number(value)
    return name == "rotation" and shape.type is ShapeType.RECTANGLE and is_number(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


class _Writer(RecordWriter):
    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._file = (folder / FILE).open("w", encoding="utf-8")
        labels = [{"name": label, "parent": "", "attributes": []} for label in classes]
        categories = json.dumps({"label": {"labels": labels, "attributes": []}})
        self._file.write(f'{{"dm_format_version": "1.0", "infos": {{}}, "categories": {categories}, "items": [')
        self._labels = {label: number for number, label in enumerate(classes)}
        self._count = 0

    def write(self, record: ImageRecord, size: Size | None) -> None:
        image: dict[str, Any] = {"path": record.image}
        if size is not None:
            image["size"] = [size[1], size[0]]
        annotations = [self._annotation(shape, number) for number, shape in enumerate(record.shapes, start=1)]
        stem = PurePosixPath(record.image).with_suffix("").as_posix() if record.image.strip("./") else record.image
        item = {"id": stem, "annotations": annotations, "image": image}
        self._file.write((",\n" if self._count else "\n") + json.dumps(item, allow_nan=False))
        self._count += 1

    def _annotation(self, shape: Shape, number: int) -> dict[str, Any]:
        attributes: dict[str, Any] = {}
        annotation: dict[str, Any] = {
            "id": number,
            "type": _TYPES[shape.type],
            "attributes": attributes,
            "group": 0,
            "label_id": self._labels[shape.label],
            "z_order": 0,
        }
        for name, value in shape.metadata.items():
            key = _OWN.get(name)
            if key is not None and type(value) is int and value != 0:
                annotation[key] = value
            elif not (name == "visibility" and _are_flags(value, shape)):
                attributes[name] = value
        for name, values in shape.attributes.items():
            texts = [one.value for one in values]
            attributes[name] = texts[0] if len(texts) == 1 else texts
        if shape.confidence is not None:
            attributes["score"] = shape.confidence
        if shape.type is ShapeType.RECTANGLE:
            annotation["bbox"] = [part for pair in shape.points for part in pair]
        else:
            annotation["points"] = [part for pair in shape.points for part in pair]
        if shape.type is ShapeType.POINTS:
            flags = shape.metadata.get("visibility")
            annotation["visibility"] = flags if _are_flags(flags, shape) else [2] * len(shape.points)
        return annotation

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._file.write("\n]}\n")
        self._file.close()


def _are_flags(value: Any, shape: Shape) -> bool:
    """Whether a value says for each point whether it is hidden (1) or visible (2), and one is hidden."""
    if shape.type is not ShapeType.POINTS or not isinstance(value, list) or len(value) != len(shape.points):
        return False
    return all(type(one) is int and one in (1, 2) for one in value) and 1 in value
