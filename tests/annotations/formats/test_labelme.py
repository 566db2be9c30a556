"""LabelMe JSON: every type of shape, metadata, names of images, and what is left out."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from metalake_sync.core.shapes import ShapeType
from tests.annotations.formats.reading import error, notes, read, shapes, values


def write(folder: Path, *found: dict[str, Any], name: str = "a.json", **more: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "5.4.1", "shapes": found, "imagePath": "a.png", **more}))
    return path


def shape(kind: str, *points: list[float], **more: Any) -> dict[str, Any]:
    return {"label": "x", "points": points, "shape_type": kind, **more}


def mask(*rows: str) -> str:
    image = Image.new("1", (len(rows[0]), len(rows)))
    for y, row in enumerate(rows):
        for x, char in enumerate(row):
            image.putpixel((x, y), char == "#")
    content = io.BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def test_the_types_of_shapes(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        shape("rectangle", [30, 40], [10, 20]),
        {"label": "x", "points": [[1, 2], [3, 4], [5, 9]]},
        shape("line", [1, 2], [3, 4]),
        shape("linestrip", [1, 2], [3, 4], [5, 9]),
        shape("point", [1, 2]),
        shape("points", [1, 2], [3, 4]),
    )
    found = shapes(read(source))
    types = ["rectangle", "polygon", "line", "line", "points", "points"]
    assert [one.type.value for one in found] == types
    assert found[0].points == ((10.0, 20.0), (20.0, 20.0))


def test_a_circle_is_a_polygon_around_its_center(tmp_path: Path) -> None:
    (found,) = shapes(read(write(tmp_path, shape("circle", [50, 50], [53, 54]))))
    assert found.type is ShapeType.POLYGON
    assert max(x for x, _ in found.points) == pytest.approx(55)


def test_a_mask_stands_where_its_first_point_is(tmp_path: Path) -> None:
    source = write(tmp_path, shape("mask", [10, 20], [12, 21], mask=mask("###", "#.#")))
    (found,) = shapes(read(source))
    assert {(10, 20), (13, 20), (13, 22), (12, 22), (12, 21), (11, 21), (11, 22), (10, 22)} == set(found.points)


def test_flags_that_are_set_and_the_group_are_metadata(tmp_path: Path) -> None:
    flags = {"occluded": True, "checked": False}
    more = {"flags": flags, "group_id": 0, "description": "half", "difficult": True, "score": 0.5}
    (found,) = shapes(read(write(tmp_path, shape("point", [1, 2], attributes={"color": "red", "n": 3}, **more))))
    assert found.metadata == {"occluded": True, "group_id": 0, "description": "half", "difficult": True, "n": 3}
    assert found.confidence == 0.5
    assert values(found) == {"color": ["red"]}


def test_flags_of_the_image_are_counted(tmp_path: Path) -> None:
    assert "flags are labels of whole images" in notes(read(write(tmp_path, flags={"night": True, "blurred": False})))


@pytest.mark.parametrize(
    "name", ["../images/b.png", "..\\images\\b.png", "C:\\data\\images\\b.png", "/home/x/images/b.png", "b.png"]
)
def test_the_image_is_named_by_its_path(tmp_path: Path, name: str) -> None:
    index = read(write(tmp_path, shape("point", [1, 2]), imagePath=name), "images/b.png", "images/a.png")
    assert list(index.images()) == ["images__b.png"]


def test_a_file_whose_path_names_no_image_has_the_name_of_its_image(tmp_path: Path) -> None:
    assert len(shapes(read(write(tmp_path, shape("point", [1, 2]), imagePath="other.png")))) == 1


def test_files_in_folders_name_images_in_their_folders(tmp_path: Path) -> None:
    for folder in ("train", "val"):
        write(tmp_path, shape("point", [1, 2], label=folder), name=f"set/{folder}/a.json")
    index = read(tmp_path / "set", "train/a.png", "val/a.png")
    assert [shapes(index, f"{folder}__a.png")[0].label for folder in ("train", "val")] == ["train", "val"]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (7, "7 is not an object"),
        (shape("cuboid", [1, 2]), "'shape_type' is 'cuboid'"),
        (shape("rectangle", [1, 2]), "two opposite corners"),
        (shape("circle", [1, 2]), "a circle needs"),
        (shape("polygon", [1, 2, 3]), "is not a point"),
        ({"label": "x", "points": 7}, "'points' is not a list"),
        (shape("mask", [1, 2], mask="%%%"), "not base64"),
        (shape("mask", [1, 2]), "has no 'mask'"),
        (shape("mask", [1, 2], mask="aGVsbG8="), "not a PNG"),
        (shape("mask", [1, 2], mask=mask(".")), "has no pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_shape_that_cannot_be_read_is_left_out_with_its_place(tmp_path: Path, wrong: Any, reason: str) -> None:
    index = read(write(tmp_path, wrong, shape("point", [1, 2])))
    assert len(shapes(index)) == 1
    assert reason in notes(index)
    assert "shapes[0]" in notes(index)


def test_a_shape_without_a_label_is_left_out(tmp_path: Path) -> None:
    assert "has no label" in notes(read(write(tmp_path, {"points": [[1, 2]], "shape_type": "point"})))


def test_a_file_without_shapes_is_not_of_this_format(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"imagePath": "a.png"}')
    assert "it has no 'shapes'" in error(tmp_path / "a.json", format="labelme")
