"""Records as one COCO file. Annotations are written as they come; images wait in a temporary file beside them.

Metadata and attributes go to keys of those names, which COCO's tools pass over.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from metalake_sync.annotations.pictures import Size
from metalake_sync.annotations.writers.metalake import attributes_document
from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType


class CocoWriter:
    """Writes annotations.json."""

    def __init__(self, folder: Path) -> None:
        self._images = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115 - closed on exit
        self._file = (folder / "annotations.json").open("w", encoding="utf-8")
        self._file.write('{"annotations": [')
        self._image_count = 0
        self._annotation_count = 0
        self._categories: dict[str, int] = {}

    def __enter__(self) -> CocoWriter:
        return self

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
                "category_id": self._categories.setdefault(shapes[0].label, len(self._categories) + 1),
            }
            text = json.dumps({**head, **_annotation(shapes)}, allow_nan=False)
            self._file.write((",\n" if self._annotation_count > 1 else "\n") + text)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._file.write('\n], "images": [')
            self._images.seek(0)
            shutil.copyfileobj(self._images, self._file)
            categories = [{"id": number, "name": label} for label, number in self._categories.items()]
            self._file.write(f'\n], "categories": {json.dumps(categories)}}}\n')
        self._images.close()
        self._file.close()


def _annotations(shapes: Sequence[Shape]) -> list[list[Shape]]:
    """Shapes grouped to annotations: the parts 1/n to n/n of one segmentation belong together."""
    groups: list[list[Shape]] = []
    at = 0
    while at < len(shapes):
        length = _parts_from(shapes, at)
        groups.append(list(shapes[at : at + length]))
        at += length
    return groups


def _parts_from(shapes: Sequence[Shape], at: int) -> int:
    """How many shapes from `at` on are the parts of one; 1 for a shape of its own."""
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
    annotation: dict[str, Any] = {"iscrowd": 0}
    match first.type:
        case ShapeType.RECTANGLE:
            (x, y), (width, height) = first.points
            annotation |= {"bbox": [x, y, width, height], "area": width * height, "segmentation": []}
        case ShapeType.POLYGON:
            annotation |= {
                "bbox": _box_around([point for shape in shapes for point in shape.points]),
                "area": sum(_area(shape.points) for shape in shapes),
                "segmentation": [[part for point in shape.points for part in point] for shape in shapes],
            }
        case _:
            annotation |= {
                "keypoints": [part for x, y in first.points for part in (x, y, 2)],
                "num_keypoints": len(first.points),
            }
    if first.confidence is not None:
        annotation["score"] = first.confidence
    if metadata:
        annotation["metadata"] = metadata
    if first.attributes:
        annotation["attributes"] = attributes_document(first)
    return annotation


def _box_around(points: Sequence[Point]) -> list[float]:
    across, down = zip(*points, strict=True)
    left, top = min(across), min(down)
    return [left, top, max(across) - left, max(down) - top]


def _area(points: Sequence[Point]) -> float:
    following = (*points[1:], points[0])
    return abs(sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(points, following, strict=True))) / 2
