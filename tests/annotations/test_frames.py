"""All coordinates of an image that EXIF turns refer to the displayed image."""

from __future__ import annotations

import contextlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from metalake_sync.annotations.drawing import draw_record
from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.frames import are_of_stored_frame, turned
from metalake_sync.annotations.image_matching import LocalImages
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.core.notes import NoteCode
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.embedded_lake.items import image_size as size_in_lake
from metalake_sync.sources.image_headers import ImageHeader, image_size, read_header

WIDE = (120, 40)
BOX = Shape(ShapeType.RECTANGLE, ((80.0, 8.0), (24.0, 16.0)), "x")
"""Of the stored frame: it extends outside an image of 40 x 120."""


def photograph(path: Path, orientation: int | None, light: Shape = BOX) -> Path:
    """A dark JPEG of 120 x 40 stored pixels, with a light rectangle."""
    image = Image.new("L", WIDE, 20)
    (x, y), (width, height) = light.points
    image.paste(230, (int(x), int(y), int(x + width), int(y + height)))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, "JPEG", quality=95, exif=exif.tobytes() if orientation is not None else b"")
    return path


def index_of(folder: Path, source: str) -> AnnotationIndex:
    spec = AnnotationSpec("op", AnnotationKind.HUMAN, (source,), folder, "m.yaml:1:1")
    files = [(path.name, path.name, str(path)) for path in sorted(folder.glob("*.jpg"))]
    return open_index([spec], LocalImages(files))


@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 4, 5, 6, 7, 8])
def test_every_reader_returns_the_displayed_size(tmp_path: Path, orientation: int | None) -> None:
    path = photograph(tmp_path / "a.jpg", orientation)
    with Image.open(path) as opened:
        shown = ImageOps.exif_transpose(opened).size
    assert image_size(str(path)) == size_in_lake(path.read_bytes()) == shown
    header = read_header(str(path))
    assert header is not None
    assert (header.stored, header.orientation) == (WIDE, orientation or 1)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_shapes_of_the_stored_frame_are_turned_with_the_pixels(tmp_path: Path, orientation: int) -> None:
    path = photograph(tmp_path / "a.jpg", orientation)
    header = ImageHeader(WIDE, orientation)
    (box,) = turned([BOX], header)
    (x, y), (width, height) = box.points
    with Image.open(path) as opened:
        shown = ImageOps.exif_transpose(opened)
    middle: Any = shown.getpixel((int(x + width / 2), int(y + height / 2)))
    assert middle > 200
    assert (width, height) == (16, 24)
    corners = Shape(ShapeType.POLYGON, ((80.0, 8.0), (104.0, 8.0), (104.0, 24.0)), "x")
    (polygon,) = turned([corners], header)
    assert all(x <= px <= x + width and y <= py <= y + height for px, py in polygon.points)


@pytest.mark.parametrize(
    ("said", "shapes", "expected"),
    [
        (None, [BOX], True),
        (WIDE, [BOX], True),
        ((40, 120), [BOX], False),
        (None, [replace(BOX, points=((2.0, 2.0), (20.0, 20.0)))], False),
        (WIDE, [replace(BOX, points=((2.0, 2.0), (20.0, 20.0)))], True),
        (None, [BOX, replace(BOX, points=((2.0, 60.0), (20.0, 50.0)))], False),
        (WIDE, [replace(BOX, points=((2.0, 60.0), (20.0, 50.0)))], False),
    ],
)
def test_the_stated_size_and_the_fit_of_shapes_decide_the_frame(
    said: tuple[int, int] | None, shapes: list[Shape], expected: bool
) -> None:
    assert are_of_stored_frame(shapes, said, ImageHeader(WIDE, 6)) is expected
    assert not are_of_stored_frame(shapes, said, ImageHeader((40, 120), 1))


def test_no_box_is_lost_and_a_note_names_the_turned_image(tmp_path: Path) -> None:
    for name in ("shown", "stored", "both"):
        photograph(tmp_path / f"{name}.jpg", 6)
    boxes = {"shown": [[4, 60, 20, 40]], "stored": [[80, 8, 24, 16]], "both": [[4, 60, 20, 40], [80, 8, 24, 16]]}
    images = [
        {"image": f"{name}.jpg", "annotations": [{"type": "rectangle", "bbox": box, "label": "x"} for box in found]}
        for name, found in boxes.items()
    ]
    (tmp_path / "a.json").write_text(json.dumps({"images": images}))
    with contextlib.closing(index_of(tmp_path, "a.json")) as index:
        points: dict[str, Any] = {
            name: [shape.points for shape in index.record(f"{name}.jpg").shapes] for name in boxes
        }
        notes = list(index.notes())
    assert points["shown"] == [((4, 60), (20, 40))]
    assert points["stored"] == [((16, 80), (16, 24))]
    assert points["both"][0] == ((4, 60), (20, 40))
    fixed = [note.message for note in notes if note.code is NoteCode.SHAPE_FIXED and "EXIF" in note.message]
    assert len(fixed) == 1
    assert "stored.jpg" in fixed[0]
    assert [note for note in notes if "EXIF" in note.message and "both.jpg" in note.message]


def test_fractions_and_the_preview_use_the_displayed_frame(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.jpg", 6)
    (tmp_path / "a.txt").write_text("0 0.5 0.75 0.4 0.2\n")
    (tmp_path / "classes.txt").write_text("x\n")
    with contextlib.closing(index_of(tmp_path, "a.txt")) as index:
        points: Any = index.record("a.jpg").shapes[0].points
    assert points == ((12, 78), (16, 24))
    draw_record(str(path), ImageRecord("a.jpg", ()), {}, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.width < drawn.height
        scale = drawn.width / 40
        light: Any = drawn.convert("L").getpixel((round(24 * scale), round(92 * scale)))
        assert light > 200


def test_a_file_that_is_not_regular_has_no_size_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "page.jpg").write_text("<?xml version='1.0'?><svg width='9' height='9'/>")
    (tmp_path / "cut.jpg").write_bytes(photograph(tmp_path / "a.jpg", 6).read_bytes()[:20])
    whole = io.BytesIO()
    Image.new("RGB", (3, 5)).save(whole, "PNG")
    (tmp_path / "b.png").write_bytes(whole.getvalue())
    sizes = {path.name: image_size(str(path)) for path in tmp_path.iterdir()}
    assert sizes == {
        **dict.fromkeys(("fifo.jpg", "zero.jpg", "page.jpg", "cut.jpg")),
        "a.jpg": (40, 120),
        "b.png": (3, 5),
    }
