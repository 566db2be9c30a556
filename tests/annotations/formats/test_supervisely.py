"""Supervisely: types of objects, tags, the folders of a project, and what is left out."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from metalake_sync.core.shapes import ShapeType
from tests.annotations.formats.reading import error, notes, read, shapes, values


def drawn(kind: str, *points: list[float], interior: Any = (), **more: Any) -> dict[str, Any]:
    about = {"points": {"exterior": points, "interior": interior}} if points else {}
    return {"classTitle": "x", "tags": [], "geometryType": kind, **about, **more}


BOX = drawn("rectangle", [10, 20], [12, 20])


def write(folder: Path, *objects: Any, name: str = "ds/ann/a.png.json", **more: Any) -> Path:
    file = folder / "project" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {"description": "", "size": {"height": 100, "width": 200}, "tags": [], "objects": objects, **more}
    file.write_text(json.dumps(document))
    return folder / "project"


def bitmap(*rows: str) -> str:
    image = Image.new("RGBA", (len(rows[0]), len(rows)))
    for y, line in enumerate(rows):
        for x, char in enumerate(line):
            image.putpixel((x, y), (255, 255, 255, 255 if char == "#" else 0))
    content = io.BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(zlib.compress(content.getvalue())).decode()


def test_both_corners_of_a_rectangle_are_inside(tmp_path: Path) -> None:
    (box,) = shapes(read(write(tmp_path, BOX), "ds/img/a.png"), "ds__img__a.png")
    assert (box.type, box.points) == (ShapeType.RECTANGLE, ((10, 20), (3, 1)))


def test_the_types_of_objects(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        drawn("polygon", [1, 2], [9, 2], [9, 8], interior=[[[2, 3], [3, 3], [3, 4]]]),
        drawn("line", [1, 2], [3, 4]),
        drawn("point", [5, 6]),
        drawn("bitmap", bitmap={"origin": [10, 20], "data": bitmap("##", "#.")}),
        drawn("oriented_bbox", [10, 10], [13, 11], angle=1.5707963267948966),
        drawn("cuboid"),
    )
    index = read(source)
    polygon, line, point, mask, turned = shapes(index)
    assert (polygon.type, line.type, point.type) == (ShapeType.POLYGON, ShapeType.LINE, ShapeType.POINTS)
    assert set(mask.points) == {(10, 20), (12, 20), (12, 21), (11, 21), (11, 22), (10, 22)}
    assert turned.points[0] == pytest.approx((13, 9))
    assert "holes of polygons are filled" in notes(index)
    assert "type 'cuboid'" in notes(index)


def test_nodes_of_a_graph_have_the_names_of_the_project(tmp_path: Path) -> None:
    graph = drawn("graph", nodes={"1": {"loc": [1, 2]}, "2": {"loc": [3, 4], "disabled": True}, "3": {"loc": [5, 6]}})
    source = write(tmp_path, graph)
    nodes = {"1": {"label": "head"}, "2": {"label": "hip"}}
    classes = [{"title": "x", "geometry_config": {"nodes": nodes}}]
    (source / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))
    (found,) = shapes(read(source))
    assert found.metadata == {"keypoints": ["head", "hip", "3"], "visibility": [2, 1, 2]}


def test_tags_are_attributes_flags_and_numbers(tmp_path: Path) -> None:
    tags: list[dict[str, Any]] = [{"name": "color", "value": "red"}, {"name": "color", "value": "blue"}]
    tags += [{"name": "parked"}, {"name": "doors", "value": 4}, {"name": "confidence", "value": 0.5}]
    (box,) = shapes(read(write(tmp_path, {**BOX, "tags": tags, "description": "wet"})))
    assert values(box) == {"color": ["red", "blue"]}
    assert box.metadata == {"parked": True, "doors": 4, "description": "wet"}
    assert box.confidence == 0.5


def test_data_sets_tell_images_of_one_name_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(tmp_path, {**BOX, "classTitle": folder}, name=f"{folder}/ann/a.png.json")
    index = read(tmp_path / "project", "one/img/a.png", "two/img/a.png")
    assert [shapes(index, f"{folder}__img__a.png")[0].label for folder in ("one", "two")] == ["one", "two"]


def test_a_file_without_the_extension_of_its_image(tmp_path: Path) -> None:
    assert len(shapes(read(write(tmp_path, BOX, name="ds/ann/a.json")))) == 1


def test_labels_of_images_are_counted(tmp_path: Path) -> None:
    index = read(write(tmp_path, tags=[{"name": "night"}], description="a yard"))
    assert "tags of images" in notes(index)
    assert "descriptions of images" in notes(index)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (7, "the object is 7"),
        (drawn("rectangle", [1, 2]), "two corners"),
        (drawn("line", [1]), "is not a point"),
        (drawn("bitmap", bitmap={"origin": [1, 2]}), "has no 'data'"),
        (drawn("bitmap", bitmap={"origin": [1, 2], "data": "%"}), "can't be decoded"),
        (
            drawn("bitmap", bitmap={"origin": [1, 2], "data": base64.b64encode(zlib.compress(b"x")).decode()}),
            "not a PNG",
        ),
        (drawn("bitmap", bitmap={"origin": [1, 2], "data": bitmap("..")}), "has no pixels"),
        (drawn("graph", nodes={"1": 7}), "a node is 7"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_object_that_cannot_be_read_is_left_out(tmp_path: Path, wrong: Any, reason: str) -> None:
    index = read(write(tmp_path, wrong, BOX))
    assert len(shapes(index)) == 1
    assert reason in notes(index)
    assert "objects[0]" in notes(index)


def test_a_bitmap_that_unpacks_to_too_much_is_left_out(tmp_path: Path) -> None:
    packed = base64.b64encode(zlib.compress(bytes(65 << 20))).decode()
    index = read(write(tmp_path, drawn("bitmap", bitmap={"origin": [1, 2], "data": packed})))
    assert "its image is too large" in notes(index)


def test_another_file_is_not_of_this_format(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"classes": [], "tags": []}')
    assert "not an annotation file of Supervisely" in error(tmp_path / "meta.json", format="supervisely")
