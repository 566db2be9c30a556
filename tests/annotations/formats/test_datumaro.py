"""Datumaro: types of annotations, attributes, categories, subsets, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.core.shapes import ShapeType
from tests.annotations.formats.reading import error, notes, read, shapes, values

CATEGORIES = {
    "label": {"labels": [{"name": "car"}, {"name": "person"}]},
    "points": {"items": [{"label_id": 1, "labels": ["head", "hip", "foot"]}]},
}


def item(*annotations: Any, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": name, "annotations": annotations, "image": {"path": f"{name}.png", "size": [100, 200]}, **more}


def write(folder: Path, *annotations: Any, **more: Any) -> Path:
    document = {"categories": CATEGORIES, "items": [item(*annotations)], **more}
    (folder / "train.json").write_text(json.dumps(document))
    return folder / "train.json"


def one(kind: str, **more: Any) -> dict[str, Any]:
    return {"id": 0, "type": kind, "label_id": 0, "group": 0, "z_order": 0, "attributes": {}, **more}


BOX = one("bbox", bbox=[1, 2, 3, 4])


def test_the_types_of_annotations(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        BOX,
        one("polygon", points=[1, 2, 9, 2, 9, 8]),
        one("polyline", points=[1, 2, 3, 4]),
        one("ellipse", points=[10, 10, 50, 30]),
        one("mask", rle={"counts": [0, 2, 2], "size": [2, 2]}),
        one("bbox", bbox=[10, 10, 4, 2], attributes={"rotation": 90.0}),
        one("rotated_bbox", bbox=[12, 11, 4, 2, 90]),
    )
    box, polygon, line, ellipse, mask, turned, other = shapes(read(source))
    assert (box.type, box.points, box.label) == (ShapeType.RECTANGLE, ((1, 2), (3, 4)), "car")
    assert (polygon.type, line.type) == (ShapeType.POLYGON, ShapeType.LINE)
    assert max(x for x, _ in ellipse.points) == pytest.approx(50)
    assert set(mask.points) == {(0, 0), (1, 0), (1, 2), (0, 2)}
    assert turned.points == tuple(map(pytest.approx, other.points))
    assert not turned.metadata


def test_points_have_the_names_of_their_label_and_those_outside_are_left_out(tmp_path: Path) -> None:
    points = one("points", label_id=1, points=[1, 2, 3, 4, 0, 0], visibility=[2, 1, 0])
    (found,) = shapes(read(write(tmp_path, points)))
    assert found.points == ((1.0, 2.0), (3.0, 4.0))
    assert found.metadata == {"keypoints": ["head", "hip"], "visibility": [2, 1]}


def test_attributes_groups_and_scores(tmp_path: Path) -> None:
    attributes = {"score": 0.5, "color": "red", "tags": ["a", "b"], "occluded": True, "doors": 4, "none": ""}
    (box,) = shapes(read(write(tmp_path, {**BOX, "attributes": attributes, "group": 3, "z_order": 2})))
    assert box.confidence == 0.5
    assert values(box) == {"color": ["red"], "tags": ["a", "b"]}
    assert box.metadata == {"occluded": True, "doors": 4, "group_id": 3, "z_order": 2}


def test_labels_and_captions_of_images_are_counted(tmp_path: Path) -> None:
    index = read(write(tmp_path, one("label"), one("caption", caption="x"), one("cuboid_3d")))
    assert not shapes(index)
    for part in ("labels are of whole images", "captions are texts", "'cuboid_3d'"):
        assert part in notes(index)


def test_categories_may_come_after_the_items(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps({"items": [item(BOX)], "categories": CATEGORIES}))
    assert shapes(read(tmp_path / "train.json"))[0].label == "car"


def test_the_subset_tells_images_of_one_name_apart(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for at, subset in enumerate(("train", "val")):
        document = {"categories": CATEGORIES, "items": [item({**BOX, "label_id": at})]}
        (tmp_path / "annotations" / f"{subset}.json").write_text(json.dumps(document))
    index = read(tmp_path / "annotations", "train/a.png", "val/a.png")
    assert [shapes(index, f"{subset}__a.png")[0].label for subset in ("train", "val")] == ["car", "person"]


def test_an_item_without_a_path_is_named_by_its_id(tmp_path: Path) -> None:
    found = {**item(BOX), "image": {}}
    (tmp_path / "train.json").write_text(json.dumps({"categories": CATEGORIES, "items": [found]}))
    assert len(shapes(read(tmp_path / "train.json"))) == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (7, "the annotation is 7"),
        ({**BOX, "label_id": 9}, "'label_id' is 9"),
        ({**BOX, "bbox": [1, 2]}, "the box has 2 numbers"),
        ({**BOX, "bbox": [1, 2, 3, "here"]}, "'here' is not a number"),
        (one("polygon", points=[1, 2, 3]), "an odd number"),
        (one("mask", rle={"counts": [1], "size": [10**9, 1]}), "its size is not"),
        (one("mask", rle={"counts": [4], "size": [2, 2]}), "has no pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_annotation_that_cannot_be_read_is_left_out(tmp_path: Path, wrong: Any, reason: str) -> None:
    index = read(write(tmp_path, wrong, BOX))
    assert len(shapes(index)) == 1
    assert reason in notes(index)
    assert "items[0].annotations[0]" in notes(index)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"items": [{"annotations": []}]}, "items[0]: the item has no 'id'"),
        ({"items": [{"id": "a", "annotations": 7}]}, "items[0]: 'annotations' is not a list"),
        ({"categories": {"label": 7}, "items": []}, "categories: 'categories.label' is 7"),
        ({"categories": {}}, "it has no 'items'"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_with_its_place(
    tmp_path: Path, document: dict[str, Any], reason: str
) -> None:
    (tmp_path / "train.json").write_text(json.dumps(document))
    assert reason in error(tmp_path / "train.json", format="datumaro")
