"""Writes Darwin JSON 2.0: one file for each image, beside it.

Attributes are properties of an annotation. Darwin has no metadata, so it is written as properties too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, WriteReport
from metalake_sync.annotations.formats.fitting import SEVERAL_VALUES_LOSSES, TEXT_LOSSES, plain_attributes, with_text
from metalake_sync.annotations.formats.values import box_around
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.writing import file_beside
from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType

_WITHOUT_NAMES = "several points without names; they get numbers as names"

_SCHEMA = "https://darwin-public.s3.eu-west-1.amazonaws.com/darwin_json/2.0/schema.json"


class DarwinOutput(OutputFormat):
    """NAME.json for each image, in pixels."""

    shape_types = frozenset(ShapeType)
    image_file_extension = ".json"
    losses = (*SEVERAL_VALUES_LOSSES, *TEXT_LOSSES, _WITHOUT_NAMES)

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Keep attributes, and write metadata as attributes. Several points without names get numbers as names."""
        attributes = plain_attributes(shape, image, report, several=True)
        metadata: dict[str, Any] = {}
        for name, value in shape.metadata.items():
            if (name == "instance_id" and value is not None) or _is_of_skeleton(name, value, shape):
                metadata[name] = value
            else:
                with_text(attributes, name, value, image, report)
        if shape.type is ShapeType.POINTS and "keypoints" not in metadata and len(shape.points) > 1:
            report.lose(_WITHOUT_NAMES, image)
            metadata["keypoints"] = [str(number) for number in range(1, len(shape.points) + 1)]
        return replace(shape, metadata=metadata, attributes=attributes)


def _is_of_skeleton(name: str, value: Any, shape: Shape) -> bool:
    """Whether a value of the metadata is about the nodes of a skeleton."""
    if shape.type is not ShapeType.POINTS or not isinstance(value, list) or len(value) != len(shape.points):
        return False
    if name == "keypoints":
        return all(isinstance(one, str) for one in value)
    has_nodes = len(shape.points) > 1 or _is_of_skeleton("keypoints", shape.metadata.get("keypoints"), shape)
    return (
        name == "visibility" and has_nodes and all(type(one) is int and one in (1, 2) for one in value) and 1 in value
    )


class _Writer(RecordWriter):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, record: ImageRecord, size: Size | None) -> None:
        path = PurePosixPath(record.image)
        width, height = size if size is not None else (None, None)
        slot = {
            "type": "image",
            "slot_name": "0",
            "width": width,
            "height": height,
            "source_files": [{"file_name": path.name, "url": None}],
        }
        parent = path.parent.as_posix()
        item = {"name": path.name, "path": "/" if parent == "." else f"/{parent}", "slots": [slot]}
        document = {
            "version": "2.0",
            "schema_ref": _SCHEMA,
            "item": item,
            "annotations": [_annotation(shape, number) for number, shape in enumerate(record.shapes, start=1)],
            "properties": [],
        }
        target = file_beside(self._folder, record.image, ".json")
        target.write_text(json.dumps(document, allow_nan=False, indent=2) + "\n", encoding="utf-8")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Every file is closed already."""


def _annotation(shape: Shape, number: int) -> dict[str, Any]:
    annotation: dict[str, Any] = {"id": f"00000000-0000-4000-8000-{number:012d}", "name": shape.label}
    annotation["slot_names"] = ["0"]
    match shape.type:
        case ShapeType.RECTANGLE:
            annotation["bounding_box"] = _box([part for pair in shape.points for part in pair])
        case ShapeType.POLYGON:
            if math.isfinite(sum(map(sum, shape.points))):
                annotation["bounding_box"] = _box(box_around(shape.points))
            annotation["polygon"] = {"paths": [[_point(point) for point in shape.points]]}
        case ShapeType.LINE:
            annotation["line"] = {"path": [_point(point) for point in shape.points]}
        case _:
            annotation |= _points(shape)
    if "instance_id" in shape.metadata:
        annotation["instance_id"] = {"value": shape.metadata["instance_id"]}
    if shape.confidence is not None:
        annotation["inference"] = {"confidence": shape.confidence}
    annotation["properties"] = [
        {"frame_index": 0, "name": name, "value": one.value}
        for name, values in shape.attributes.items()
        for one in values
    ]
    return annotation


def _points(shape: Shape) -> dict[str, Any]:
    names = shape.metadata.get("keypoints")
    if names is None:
        return {"keypoint": _point(shape.points[0])}
    flags = shape.metadata.get("visibility", [2] * len(names))
    nodes = [
        {**_point(point), "name": name, "occluded": flag == 1}
        for point, name, flag in zip(shape.points, names, flags, strict=True)
    ]
    return {"skeleton": {"nodes": nodes}}


def _point(point: Point) -> dict[str, float]:
    return {"x": point[0], "y": point[1]}


def _box(box: Sequence[float]) -> dict[str, float]:
    x, y, width, height = box
    return {"x": x, "y": y, "w": width, "h": height}
