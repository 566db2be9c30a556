"""Writes COCO files.

Annotations and images wait in temporary files beside the file, because the names of a category's keypoints are known
only after all records. Metadata becomes keys of the annotation, and goes under `metadata` where COCO has another
meaning for the key. An attribute with one text as its value is written in CVAT's form (name: value), others in the
MetaLake's form (name: list of values).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeGuard

from metalake_sync.annotations.formats.base import OutputFormat, RecordWriter, WriteReport
from metalake_sync.annotations.formats.coco.shapes import COCO_KEYS
from metalake_sync.annotations.formats.metalake import attributes_document
from metalake_sync.annotations.formats.values import box_around, has_area
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType

FILE = "annotations.json"

INFO = {
    "description": "Annotations of a LayerNext MetaLake",
    "url": "",
    "version": "1.0",
    "contributor": "metalake-sync",
}

_NAMES = "keypoint names"
"""A key of an annotation in the temporary file, until the names of its category's keypoints are known."""


_CERTAIN = "attribute values with a confidence of 1; they are written without it"


class CocoOutput(OutputFormat):
    """One file, in pixels. Categories have the ids 1, 2, …."""

    shape_types = frozenset({ShapeType.RECTANGLE, ShapeType.POLYGON, ShapeType.POINTS})
    file_names = (FILE,)
    class_ids = True
    losses = (_CERTAIN,)

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        return _Writer(folder, classes)

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Leave out attribute confidences of 1: the lake stores 1 where the user gave none, and COCO has a plain value
        there."""
        without = {
            name: tuple(replace(value, confidence=None) for value in values)
            for name, values in shape.attributes.items()
            if values and values[0].confidence == 1 and _is_plain([replace(one, confidence=None) for one in values])
        }
        report.lose(_CERTAIN, image, len(without))
        return replace(shape, attributes={**shape.attributes, **without}) if without else shape


class _Writer(RecordWriter):
    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._images = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115 - closed on exit
        self._annotations = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115 - the same
        self._file = (folder / FILE).open("w", encoding="utf-8")
        # pycocotools copies both keys, and prints 'info'. A date would make two equal files differ.
        head = json.dumps({"info": INFO, "licenses": []})
        self._file.write(f'{head[:-1]}, "annotations": [')
        self._image_count = 0
        self._annotation_count = 0
        self._categories = {label: number for number, label in enumerate(classes, start=1)}
        self._names: dict[int, list[str]] = {}
        """Category id → the names of its keypoints."""

    def write(self, record: ImageRecord, size: Size | None) -> None:
        self._image_count += 1
        image: dict[str, Any] = {"id": self._image_count, "file_name": record.image}
        if size is not None:
            image["width"], image["height"] = size
        self._images.write((",\n" if self._image_count > 1 else "\n") + json.dumps(image))
        for shapes in _annotations(record.shapes):
            self._annotation_count += 1
            head = {
                "id": self._annotation_count,
                "image_id": self._image_count,
                "category_id": self._categories[shapes[0].label],
            }
            annotation = {**head, **_annotation(shapes)}
            if shapes[0].type is ShapeType.POINTS:
                annotation |= self._named(shapes[0], head["category_id"], annotation.get("metadata", {}))
            self._annotations.write(json.dumps(annotation, allow_nan=False) + "\n")

    def _named(self, shape: Shape, category: int, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return the changes to an annotation whose points have names that its category can take."""
        names = shape.metadata.get("keypoints")
        if not _are_names(names, len(shape.points)):
            return {}
        order = merged_order(self._names.get(category, []), names)
        if order is None:
            return {}
        self._names[category] = order
        rest = {key: value for key, value in metadata.items() if key != "keypoints"}
        return {_NAMES: names, "metadata": rest}

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._annotations.seek(0)
            for number, line in enumerate(self._annotations):
                self._file.write((",\n" if number else "\n") + self._finished(line.rstrip("\n")))
            self._file.write('\n], "images": [')
            self._images.seek(0)
            shutil.copyfileobj(self._images, self._file)
            categories = [
                {"id": number, "name": label, **({"keypoints": self._names[number]} if number in self._names else {})}
                for label, number in self._categories.items()
            ]
            self._file.write(f'\n], "categories": {json.dumps(categories)}}}\n')
        self._images.close()
        self._annotations.close()
        self._file.close()

    def _finished(self, line: str) -> str:
        """Return an annotation with a triple for each keypoint of its category."""
        if '"keypoints"' not in line:
            return line
        annotation: dict[str, Any] = json.loads(line)
        names = self._names.get(annotation["category_id"])
        if names is None or not annotation.get("keypoints"):
            return line
        points = annotation["keypoints"]
        if _NAMES in annotation:
            triples = dict(
                zip(annotation.pop(_NAMES), zip(points[::3], points[1::3], points[2::3], strict=True), strict=True)
            )
            annotation["keypoints"] = [part for name in names for part in triples.get(name, (0, 0, 0))]
            if not annotation["metadata"]:
                del annotation["metadata"]
        elif len(points) == 3 * len(names):
            # The points have other names, and as many. One more, unlabelled point keeps a reader from naming them.
            annotation["keypoints"] += [0, 0, 0]
        return json.dumps(annotation, allow_nan=False)


def merged_order(order: Sequence[str], names: Sequence[str]) -> list[str] | None:
    """Return an order that agrees with both: a new name comes after the name that it follows. None if they contradict
    each other."""
    merged = list(order)
    at = 0
    for name in names:
        if name not in merged:
            merged.insert(at, name)
        elif merged.index(name) < at:
            return None
        at = merged.index(name) + 1
    return merged


def _are_names(names: Any, count: int) -> TypeGuard[list[str]]:
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return texts and len(names) == count == len(set(names))


def _annotations(shapes: Sequence[Shape]) -> list[list[Shape]]:
    """Group shapes to annotations: the parts 1/n to n/n of one segmentation are one."""
    groups: list[list[Shape]] = []
    at = 0
    while at < len(shapes):
        length = _parts_from(shapes, at)
        groups.append(list(shapes[at : at + length]))
        at += length
    return groups


def _parts_from(shapes: Sequence[Shape], at: int) -> int:
    """Return how many shapes from `at` on are parts of one annotation; 1 if the shape is an annotation itself."""
    first = shapes[at]
    part = first.metadata.get("part")
    if first.type is not ShapeType.POLYGON or not isinstance(part, str) or not part.startswith("1/"):
        return 1
    count = int(part[2:]) if part[2:].isascii() and part[2:].isdigit() and len(part) < 8 else 1
    if count < 2 or part != f"1/{count}":
        return 1
    together = all(
        shape.type is ShapeType.POLYGON
        and (shape.label, shape.confidence, shape.attributes) == (first.label, first.confidence, first.attributes)
        and dict(shape.metadata) == {**first.metadata, "part": f"{number}/{count}"}
        for number, shape in enumerate(shapes[at : at + count], start=1)
    )
    return count if together and at + count <= len(shapes) else 1


def _annotation(shapes: Sequence[Shape]) -> dict[str, Any]:
    first = shapes[0]
    metadata = dict(first.metadata)
    if len(shapes) > 1:
        del metadata["part"]
    crowd = type(metadata.get("iscrowd")) is int and metadata["iscrowd"] == 1
    annotation: dict[str, Any] = {"iscrowd": metadata.pop("iscrowd") if crowd else 0}
    match first.type:
        case ShapeType.RECTANGLE:
            (x, y), (width, height) = first.points
            annotation |= {"bbox": [x, y, width, height], "area": width * height, "segmentation": []}
        case ShapeType.POLYGON:
            # With a box, a polygon without area would not be read back.
            if all(has_area(shape.points) for shape in shapes):
                annotation["bbox"] = box_around([point for shape in shapes for point in shape.points])
            annotation |= {
                "area": sum(_area(shape.points) for shape in shapes),
                "segmentation": [[part for point in shape.points for part in point] for shape in shapes],
            }
        case _:
            box = box_around(first.points)
            flags = _visibility(metadata, len(first.points))
            annotation |= {
                "keypoints": [part for (x, y), flag in zip(first.points, flags, strict=True) for part in (x, y, flag)],
                "num_keypoints": len(first.points),
                "bbox": box,
                "area": box[2] * box[3],
            }
    if first.confidence is not None:
        annotation["score"] = first.confidence
    annotation |= {key: value for key, value in metadata.items() if key not in COCO_KEYS and key != _NAMES}
    inner = {key: value for key, value in metadata.items() if key in COCO_KEYS or key == _NAMES}
    if inner:
        annotation["metadata"] = inner
    if first.attributes:
        lists = attributes_document(first)
        annotation["attributes"] = {
            name: values[0].value if _is_plain(values) else lists[name] for name, values in first.attributes.items()
        }
    return annotation


def _is_plain(values: Sequence[AttributeValue]) -> bool:
    """Whether an attribute is one text and nothing more, as in CVAT's form."""
    if len(values) != 1:
        return False
    (one,) = values
    return isinstance(one.value, str) and bool(one.value) and one.confidence is None and not one.metadata


def _visibility(metadata: dict[str, Any], count: int) -> list[int]:
    """Return the visibility of keypoints, and remove it from their metadata if COCO can hold it.

    1: hidden, 2: visible.
    """
    stated = metadata.get("visibility")
    if not isinstance(stated, list) or len(stated) != count or 1 not in stated:
        return [2] * count
    if not all(type(flag) in (int, float) and flag in (1, 2) for flag in stated):
        return [2] * count
    return [int(flag) for flag in metadata.pop("visibility")]


def _area(points: Sequence[Point]) -> float:
    following = (*points[1:], points[0])
    return abs(sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(points, following, strict=True))) / 2
