"""Writes a list of Label Studio's tasks, one for each image.

An image with a confidence has a prediction, because a person's annotation has none; any other image has an annotation.
Attributes are choices of the region, numbers of the metadata are numbers of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, SizeUse, WriteReport
from metalake_sync.annotations.formats.fitting import (
    SEVERAL_VALUES_LOSSES,
    TEXT_LOSSES,
    is_number,
    plain_attributes,
    with_text,
)
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType

FILE = "tasks.json"

_SEVERAL_POINTS = "shapes of several points; they are left out"

_POINT_WIDTH_PERCENT = 0.5
_TEXTS = ("description", "parentID")
"""Texts of the metadata that a region has a key for."""


class LabelStudioOutput(OutputFormat):
    """One file, in percent of the image."""

    shape_types = frozenset(ShapeType)
    file_names = (FILE,)
    fractions = True
    sizes = SizeUse.REQUIRED
    losses = (_SEVERAL_POINTS, *SEVERAL_VALUES_LOSSES, *TEXT_LOSSES)

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Keep attributes, numbers and descriptions. Other metadata is written as attributes."""
        if shape.type is ShapeType.POINTS and len(shape.points) > 1:
            report.lose(_SEVERAL_POINTS, image)
            return None
        attributes = plain_attributes(shape, image, report, several=True)
        metadata: dict[str, Any] = {}
        for name, value in shape.metadata.items():
            is_kept = (name and is_number(value) and name not in attributes) or (
                name in _TEXTS and isinstance(value, str) and value
            )
            if is_kept:
                metadata[name] = value
            else:
                with_text(attributes, name, value, image, report)
        return replace(shape, metadata=metadata, attributes=attributes)


class _Writer(RecordWriter):
    def __init__(self, folder: Path) -> None:
        self._file = (folder / FILE).open("w", encoding="utf-8")
        self._file.write("[")
        self._count = 0

    def write(self, record: ImageRecord, size: Size | None) -> None:
        self._count += 1
        about: dict[str, Any] = {"to_name": "image", "image_rotation": 0}
        if size is not None:
            about |= {"original_width": size[0], "original_height": size[1]}
        results = [
            {**about, **result}
            for number, shape in enumerate(record.shapes, start=1)
            for result in _results(shape, number)
        ]
        is_prediction = any(shape.confidence is not None for shape in record.shapes)
        found = {"result": results} if is_prediction else {"result": results, "was_cancelled": False}
        task: dict[str, Any] = {
            "id": self._count,
            "data": {"image": record.image},
            "annotations": [],
            "predictions": [],
        }
        task["predictions" if is_prediction else "annotations"] = [found]
        self._file.write((",\n" if self._count > 1 else "\n") + json.dumps(task, allow_nan=False))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._file.write("\n]\n")
        self._file.close()


def _results(shape: Shape, number: int) -> Iterator[dict[str, Any]]:
    """Yield the results of a region: what is drawn, then each answer."""
    kind, drawn = _drawn(shape)
    region = {"id": f"region{number}"}
    first: dict[str, Any] = {**region, "type": kind, "from_name": "label", "value": {**drawn, kind: [shape.label]}}
    if shape.confidence is not None:
        first["score"] = shape.confidence
    if "description" in shape.metadata:
        first["meta"] = {"text": [shape.metadata["description"]]}
    if "parentID" in shape.metadata:
        first["parentID"] = shape.metadata["parentID"]
    yield first
    for name, values in shape.attributes.items():
        answer = {**drawn, "choices": [one.value for one in values]}
        yield {**region, "type": "choices", "from_name": name, "value": answer}
    for name, value in shape.metadata.items():
        if is_number(value):
            yield {**region, "type": "number", "from_name": name, "value": {**drawn, "number": value}}


def _drawn(shape: Shape) -> tuple[str, dict[str, Any]]:
    """Return the type of a region and its geometry."""
    percent = [_percent(point) for point in shape.points]
    match shape.type:
        case ShapeType.RECTANGLE:
            (x, y), (width, height) = percent
            return "rectanglelabels", {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
        case ShapeType.POLYGON:
            return "polygonlabels", {"points": [list(point) for point in percent], "closed": True}
        case ShapeType.LINE:
            vertices = [{"id": str(number), "x": x, "y": y} for number, (x, y) in enumerate(percent)]
            return "vectorlabels", {"vertices": vertices, "closed": False}
        case _:
            ((x, y),) = percent
            return "keypointlabels", {"x": x, "y": y, "width": _POINT_WIDTH_PERCENT}


def _percent(point: Point) -> Point:
    return point[0] * 100, point[1] * 100
