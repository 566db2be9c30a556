"""Images, shapes and entries for tests of the report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType
from metalake_sync.report.model import ActionLine, Entry, ImageUnavailable, ReportPlan, SetChange, set_change

GROUND, INK = (230, 230, 230), (20, 60, 220)


@dataclass(frozen=True)
class File:
    """An image of a test."""

    path: Path

    @contextlib.contextmanager
    def opened(self) -> Iterator[str]:
        if not self.path.exists():
            raise ImageUnavailable("the file is not on this disk any more")
        yield str(self.path)


def box(label: str, x: float, y: float, width: float, height: float) -> Shape:
    return Shape(ShapeType.RECTANGLE, ((x, y), (width, height)), label)


def drawn(shape_type: ShapeType, label: str, *points: Point) -> Shape:
    return Shape(shape_type, points, label)


def record(*shapes: Shape, normalized: bool = False) -> ImageRecord:
    return ImageRecord("a.jpg", shapes, normalized)


def write_image(path: Path, size: tuple[int, int] = (320, 200), *boxes: tuple[int, int, int, int]) -> File:
    """Write an image with filled boxes (x, y, width, height)."""
    image = Image.new("RGB", size, GROUND)
    pen = ImageDraw.Draw(image)
    for x, y, width, height in boxes:
        pen.rectangle((x, y, x + width - 1, y + height - 1), fill=INK)
    image.save(path, quality=95)
    return File(path)


def changed(
    name: str, image: File | None, *sets: SetChange, group: str | None = None, labels: tuple[str, ...] = ()
) -> Entry:
    """An entry whose annotation sets change."""
    action = ActionLine("~", "annotate", "annotations_changed")
    text = group or ""
    return Entry(
        "birds", "image", name, (action,), image, load_sets=lambda: sets, group=group, group_text=text, labels=labels
    )


def new(name: str, image: File, *shapes: Shape) -> Entry:
    """An entry of a file that is uploaded."""
    action = ActionLine("+", "upload", "new")
    change = set_change("human", "human", record(), record(*shapes))
    return Entry("birds", "image", name, (action,), image, is_new=True, load_sets=lambda: (change,))


def human(before: ImageRecord | None, after: ImageRecord, size: tuple[int, int] | None = None) -> SetChange:
    return set_change("human", "human", before, after, size)


def plan(*entries: Entry, warnings: Sequence[tuple[str, str, str]] = ()) -> ReportPlan:
    return ReportPlan("birds.yaml", ("Plan: 1 to update",), entries, warnings=warnings)
