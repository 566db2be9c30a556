"""Darwin JSON: types of annotations, holes, raster layers, slots, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.core.shapes import ShapeType
from tests.annotations.formats.reading import error, notes, read, shapes, values

SLOT = {"type": "image", "slot_name": "0", "width": 4, "height": 2, "source_files": [{"file_name": "a.png"}]}


def path(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in pairs]


def square(left: float, top: float, side: float) -> list[dict[str, float]]:
    return path((left, top), (left + side, top), (left + side, top + side), (left, top + side))


def write(folder: Path, *annotations: Any, name: str = "a.json", slots: Any = (SLOT,), **item: Any) -> Path:
    about = {"name": "a.png", "path": "/", "slots": list(slots), **item}
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"version": "2.0", "item": about, "annotations": annotations}))
    return file


def named(**more: Any) -> dict[str, Any]:
    return {"id": "1", "name": "x", "slot_names": ["0"], **more}


BOX = {"bounding_box": {"x": 1, "y": 2, "w": 3, "h": 4}}


def test_the_types_of_annotations(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        named(**BOX),
        named(polygon={"paths": [path((1, 2), (9, 2), (9, 8))]}, **BOX),
        named(ellipse={"center": {"x": 50, "y": 50}, "radius": {"x": 20, "y": 10}, "angle": 1.5707963}),
        named(line={"path": path((1, 2), (3, 4))}),
        named(keypoint={"x": 5, "y": 6}),
        named(skeleton={"nodes": [{"name": "a", "x": 1, "y": 2}, {"name": "b", "x": 3, "y": 4, "occluded": True}]}),
    )
    box, polygon, ellipse, line, point, skeleton = shapes(read(source))
    assert (box.type, box.points) == (ShapeType.RECTANGLE, ((1, 2), (3, 4)))
    assert polygon.points == ((1.0, 2.0), (9.0, 2.0), (9.0, 8.0))
    assert max(y for _, y in ellipse.points) == pytest.approx(70)
    assert (line.type, point.type) == (ShapeType.LINE, ShapeType.POINTS)
    assert skeleton.metadata == {"keypoints": ["a", "b"], "visibility": [2, 1]}


def test_answers_are_attributes_and_ids_are_metadata(tmp_path: Path) -> None:
    properties = [{"name": "p", "value": "1"}, {"name": "p", "value": "2"}, {"name": "q", "value": None}]
    more = {
        "attributes": ["wet"],
        "text": {"text": "hi"},
        "instance_id": {"value": 7},
        "inference": {"confidence": 0.5},
    }
    (box,) = shapes(read(write(tmp_path, named(properties=properties, **more, **BOX))))
    assert values(box) == {"attributes": ["wet"], "text": ["hi"], "p": ["1", "2"]}
    assert box.metadata == {"instance_id": 7}
    assert box.confidence == 0.5


def test_a_path_inside_another_one_is_a_hole_and_other_paths_are_parts(tmp_path: Path) -> None:
    paths = [square(0, 0, 50), square(10, 10, 20), square(15, 15, 5), square(60, 0, 10)]
    index = read(write(tmp_path, named(polygon={"paths": paths})))
    found = shapes(index)
    assert [min(one.points) for one in found] == [(0, 0), (15, 15), (60, 0)]
    assert [one.metadata["part"] for one in found] == ["1/3", "2/3", "3/3"]
    assert "holes of polygons are filled" in notes(index)


def layer(*dense: int, **masks: int) -> dict[str, Any]:
    raster = {"dense_rle": dense, "mask_annotation_ids_mapping": masks, "total_pixels": sum(dense[1::2])}
    return {"id": "l", "name": "__raster_layer__", "slot_names": ["0"], "raster_layer": raster}


def test_masks_come_from_the_raster_layer(tmp_path: Path) -> None:
    masks = [named(id="m", mask={}), {**named(id="n", mask={}), "name": "y"}]
    first, second = shapes(read(write(tmp_path, *masks, layer(1, 1, 0, 2, 2, 1, 1, 1, 0, 3, m=1, n=2))))
    assert (first.label, set(first.points)) == (
        "x",
        {(0, 0), (1, 0), (1, 1), (1, 2), (0, 2), (0, 1)} & set(first.points),
    )
    assert set(first.points) == {(0, 0), (1, 0), (1, 2), (0, 2)}
    assert (second.label, set(second.points)) == ("y", {(3, 0), (4, 0), (4, 1), (3, 1)})


@pytest.mark.parametrize(
    ("dense", "reason"),
    [
        ((1, 3), "does not fill the image"),
        ((0, 8), "no raster layer has pixels of it"),
        ((1, 10**10), "'dense_rle' or its mapping is wrong"),
        ((1,), "'dense_rle' or its mapping is wrong"),
    ],
)
def test_a_mask_that_cannot_be_read_is_left_out(tmp_path: Path, dense: tuple[int, ...], reason: str) -> None:
    index = read(write(tmp_path, named(id="m", mask={}), layer(*dense, m=1), named(**BOX)))
    assert len(shapes(index)) == 1
    assert reason in notes(index)


def test_each_slot_is_an_image(tmp_path: Path) -> None:
    slots = [{**SLOT, "slot_name": str(at), "source_files": [{"file_name": f"{at}.png"}]} for at in (0, 1)]
    source = write(tmp_path, named(**BOX), {**named(**BOX), "slot_names": ["1"]}, slots=slots, name="item.json")
    index = read(source, "0.png", "1.png")
    assert [len(shapes(index, name)) for name in ("0.png", "1.png")] == [1, 1]


def test_the_folder_of_the_item_tells_images_of_one_name_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(tmp_path, {**named(**BOX), "name": folder}, name=f"ann/{folder}.json", path=f"/{folder}")
    index = read(tmp_path / "ann", "one/a.png", "two/a.png")
    assert [shapes(index, f"{folder}__a.png")[0].label for folder in ("one", "two")] == ["one", "two"]


def test_version_1_is_read(tmp_path: Path) -> None:
    polygon = {"path": path((1, 2), (9, 2), (9, 8)), "additional_paths": [square(20, 20, 5)]}
    image = {"width": 200, "height": 100, "original_filename": "a.png", "path": "/"}
    document = {"dataset": "d", "image": image, "annotations": [{"name": "x", "polygon": polygon}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert len(shapes(read(tmp_path / "a.json"))) == 2


def test_what_is_left_out_is_reported(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        named(tag={}),
        named(cuboid={}),
        named(frames={"0": {}}),
        named(),
        {**named(**BOX), "slot_names": ["9"]},
        7,
    )
    document = json.loads(source.read_text())
    source.write_text(json.dumps({**document, "properties": [{"name": "p", "value": "1"}]}))
    index = read(source)
    assert not shapes(index)
    for part in (
        "tags",
        "'cuboid'",
        "frames of a video",
        "no geometry",
        "does not have",
        "are 7",
        "properties of items",
    ):
        assert part in notes(index)


def test_a_video_is_not_read(tmp_path: Path) -> None:
    index = read(write(tmp_path, named(frames={"0": {}}), slots=[{**SLOT, "type": "video"}]))
    assert not list(index.images())
    assert "slots of items are not images" in notes(index)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"bounding_box": {"x": "here", "y": 2, "w": 3, "h": 4}}, "'here' is not a number"),
        ({"bounding_box": 7}, "'bounding_box' is 7"),
        ({"polygon": {"paths": [7]}}, "a path is 7"),
        ({"line": {"path": [7]}}, "a point is 7"),
        ({"skeleton": {"nodes": 7}}, "'nodes' is 7"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_annotation_that_cannot_be_read_is_left_out(tmp_path: Path, wrong: dict[str, Any], reason: str) -> None:
    index = read(write(tmp_path, named(**wrong), named(**BOX)))
    assert len(shapes(index)) == 1
    assert reason in notes(index)
    assert "annotations[0]" in notes(index)


def test_another_file_is_not_of_this_format(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"annotations": []}')
    assert "it has no 'item'" in error(tmp_path / "a.json", format="darwin")
