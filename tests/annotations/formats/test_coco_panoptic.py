"""COCO panoptic: segments of a PNG of ids, where it is, and what of it can't be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.annotations.formats.source_folders import drawn, errors_of, mask_png, read_source
from tests.annotations.opened import notes, shapes

THING, STUFF = 65536 + 256 * 2 + 3, 7
CATEGORIES = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "grass", "isthing": 0}]


def color(segment: int) -> tuple[int, int, int]:
    return segment % 256, segment // 256 % 256, segment // 65536


def ids(*rows: tuple[int, ...]) -> bytes:
    return mask_png([[color(one) for one in row] for row in rows])


PNG = ids((0, 0, 0, STUFF), (0, THING, THING, 0), (0, THING, THING, 0), (0, 0, 0, 0))


def document(*segments: Any, **more: Any) -> str:
    annotation = {"image_id": 1, "file_name": "a.png", "segments_info": [*segments], **more}
    images = [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 4}]
    return json.dumps({"images": images, "annotations": [annotation], "categories": CATEGORIES})


def read(folder: Path, text: str, png: bytes | None = PNG, at: str = "p/a.png", format: str | None = None) -> Any:
    files: dict[str, str | bytes] = {"p.json": text, **({at: png} if png is not None else {})}
    return read_source(folder, files, "p.json", format, size=(4, 4))


@pytest.mark.parametrize("format", [None, "coco_panoptic", "coco"])
@pytest.mark.parametrize("at", ["p/a.png", "a.png"])
def test_segments_become_polygons_of_their_category(tmp_path: Path, at: str, format: str | None) -> None:
    segments = [{"id": THING, "category_id": 1, "iscrowd": 1}, {"id": STUFF, "category_id": 2, "iscrowd": 0}]
    index = read(tmp_path, document(*segments), at=at, format=format)
    assert drawn(index) == {
        "a.jpg": [("polygon", "cat", [1, 1, 3, 1, 3, 3, 1, 3]), ("polygon", "grass", [3, 0, 4, 0, 4, 1, 3, 1])]
    }
    assert [dict(shape.metadata) for shape in shapes(index, "a.jpg")] == [{"iscrowd": 1}, {}]
    assert not notes(index)


def test_parts_are_numbered_and_holes_are_counted(tmp_path: Path) -> None:
    png = ids((1, 0, 1, 1), (0, 0, 1, 1), (0, 0, 0, 0), (0, 0, 0, 0))
    found = shapes(read(tmp_path, document({"id": 1, "category_id": 1}), png), "a.jpg")
    assert [shape.metadata["part"] for shape in found] == ["1/2", "2/2"]
    ring = ids((1, 1, 1, 0), (1, 0, 1, 0), (1, 1, 1, 0), (0, 0, 0, 0))
    index = read(tmp_path, document({"id": 1, "category_id": 1}), ring)
    assert "holes of masks are filled: a polygon has none (once: annotations[0].segments_info[0])" in notes(index)


def test_ids_may_be_gray_values_or_colors_of_a_palette(tmp_path: Path) -> None:
    rows = [(0, 2), (2, 2)]
    text = document({"id": 2, "category_id": 1}).replace('"width": 4, "height": 4', '"width": 2, "height": 2')
    gray = read_source(tmp_path, {"p.json": text, "a.png": mask_png(rows)}, "p.json", size=(2, 2))
    assert len(shapes(gray, "a.jpg")) == 1
    palette = [(0, 0, 0), (9, 9, 9), (2, 0, 0)]
    again = read_source(tmp_path, {"p.json": text, "a.png": mask_png(rows, palette)}, "p.json", size=(2, 2))
    assert drawn(again) == drawn(gray)


@pytest.mark.parametrize(
    ("segment", "told"),
    [
        (7, "segments can't be read: the segment is 7, not an object; left out"),
        ({"id": "x", "category_id": 1}, "segments can't be read: 'id' is 'x', not a whole number; left out"),
        ({"id": THING, "category_id": None}, "segments have a 'category_id' that is neither a whole number nor a text"),
        ({"id": 99, "category_id": 1}, "segments have no pixel in the mask; they are left out"),
    ],
)
def test_segments_that_cannot_be_read_are_told(tmp_path: Path, segment: Any, told: str) -> None:
    index = read(tmp_path, document({"id": STUFF, "category_id": 2}, segment))
    assert len(shapes(index, "a.jpg")) == 1
    assert told in notes(index)


def test_ids_that_are_not_listed_are_told(tmp_path: Path) -> None:
    index = read(tmp_path, document({"id": STUFF, "category_id": 2}))
    assert "ids of a mask are not in 'segments_info'; their pixels are left out (once: annotations[0])" in notes(index)


@pytest.mark.parametrize(
    ("text", "png", "told"),
    [
        (document(), None, "the mask 'a.png' does not exist"),
        (document(file_name="a\0.png"), PNG, "does not exist"),
        (document(file_name="a" * 5000), PNG, "does not exist"),
        (document(), PNG[:50], "its image is not a PNG, or it is damaged"),
        (document(), ids((0, 0), (0, 0)), "has 2 x 2 pixels, and the image 4 x 4"),
        (document(file_name="../../etc/x.png"), PNG, "the mask 'etc/x.png' does not exist"),
        (document(file_name="x/../../a.png"), PNG, "which leaves the folder"),
        (document(file_name=None), PNG, "'file_name' is missing"),
        (document({"id": STUFF, "category_id": 77}), PNG, "category 77 is not in 'categories'"),
        (document(segments_info=3), PNG, "'segments_info' is 3, not a list"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_an_error_with_its_place(
    tmp_path: Path, text: str, png: bytes | None, told: str
) -> None:
    files: dict[str, str | bytes] = {"p.json": text, **({"p/a.png": png} if png is not None else {})}
    found = errors_of(tmp_path, files, "p.json")
    assert told in found


def test_the_mask_of_a_file_is_a_part_of_what_its_shapes_depend_on(tmp_path: Path) -> None:
    text = document({"id": 1, "category_id": 1})
    first = drawn(read(tmp_path, text, ids((1, 0, 0, 0), *[(0, 0, 0, 0)] * 3)))
    second = drawn(read(tmp_path, text, ids((0, 0, 0, 1), *[(0, 0, 0, 0)] * 3)))
    assert first != second
