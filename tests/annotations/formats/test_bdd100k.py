"""BDD100K: which geometry of a label counts, curves, poses, and frames of both forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.annotations.formats.curves import STEPS, flattened
from tests.annotations.formats.source_folders import drawn, errors_of, read_source
from tests.annotations.opened import notes, shapes

BOX = {"x1": 1, "y1": 2, "x2": 4, "y2": 6}
CORNERS = [[1, 1], [9, 1], [9, 9], [1, 9]]
MASK = {"size": [100, 200], "counts": [100, 10, 19_890]}


def frames(*labels: Any, **more: Any) -> str:
    return json.dumps([{"name": "a.png", "labels": [*labels], **more}])


def label(**parts: Any) -> dict[str, Any]:
    return {"id": "1", "category": "car", **parts}


def test_the_mask_counts_before_the_polygon_and_the_polygon_before_the_box(tmp_path: Path) -> None:
    polygon = [{"vertices": CORNERS, "types": "LLLL", "closed": True}]
    labels = [
        label(box2d=BOX),
        label(box2d=BOX, poly2d=polygon, rle=None),
        label(box2d=BOX, poly2d=polygon, rle=MASK),
        label(poly2d=[{"vertices": CORNERS, "types": "LLLL", "closed": False}], box3d=None),
    ]
    assert drawn(read_source(tmp_path, {"all.json": frames(*labels)}))["a.png"] == [
        ("rectangle", "car", [1, 2, 3, 4]),
        ("polygon", "car", [1, 1, 9, 1, 9, 9, 1, 9]),
        ("polygon", "car", [1, 0, 2, 0, 2, 10, 1, 10]),
        ("line", "car", [1, 1, 9, 1, 9, 9, 1, 9]),
    ]


def test_several_polygons_of_a_label_are_its_parts(tmp_path: Path) -> None:
    part = {"vertices": CORNERS, "types": "LLLL", "closed": True}
    found = shapes(read_source(tmp_path, {"all.json": frames(label(poly2d=[part, part]))}))
    assert [shape.metadata["part"] for shape in found] == ["1/2", "2/2"]


def test_words_are_attributes_and_flags_are_metadata(tmp_path: Path) -> None:
    about = {"occluded": True, "trafficLightColor": "red", "crowd": False, "lanes": 2}
    (shape,) = shapes(read_source(tmp_path, {"all.json": frames(label(box2d=BOX, attributes=about, score=0.25))}))
    assert shape.metadata == {"occluded": True, "crowd": False, "lanes": 2}
    assert [value.value for value in shape.attributes["trafficLightColor"]] == ["red"]
    assert shape.confidence == 0.25


def test_a_pose_comes_beside_the_box_without_the_points_that_are_not_labeled(tmp_path: Path) -> None:
    nodes = [
        {"location": [10, 20], "category": "head", "visibility": "V"},
        {"location": [11, 30], "category": "neck", "visibility": "N"},
        {"location": [12, 40], "category": "hip"},
    ]
    index = read_source(tmp_path, {"all.json": frames(label(box2d=BOX, graph={"nodes": nodes}))})
    assert [kind for kind, _, _ in drawn(index)["a.png"]] == ["rectangle", "points"]
    assert drawn(index)["a.png"][1][2] == [10, 20, 12, 40]
    assert shapes(index)[1].metadata == {"keypoints": ["head", "hip"]}


def test_two_control_points_between_corners_are_a_curve() -> None:
    points = [(0.0, 0.0), (0.0, 8.0), (8.0, 8.0), (8.0, 0.0)]
    found = flattened(points, "LCCL")
    assert [found[0], found[-1]] == [(0, 0), (8, 0)]
    assert len(found) == STEPS + 1
    assert found[STEPS // 2] == (4, 6)
    assert flattened(points, "LLLL") == tuple(points)
    assert flattened(points, "CCCC") == tuple(points)
    assert flattened(points, "LCLL") == tuple(points)


def test_a_curve_may_end_at_the_first_corner() -> None:
    points = [(0.0, 0.0), (8.0, 0.0), (8.0, 8.0), (0.0, 8.0)]
    assert flattened(points, "LLCC")[:2] == ((0, 0), (8, 0))
    assert len(flattened(points, "LLCC")) == STEPS + 1
    assert flattened(points, "CLLC")[0] == (8, 0)
    assert len(flattened(points, "CLLC")) == STEPS + 1


def test_an_object_with_frames_and_names_that_are_addresses_are_read(tmp_path: Path) -> None:
    document = {
        "frames": [
            {"name": "https://example.org/set/a.png", "labels": [label(box2d=BOX)]},
            {"name": "b.png", "labels": None},
            {"name": "c.png"},
        ],
        "config": {"imageSize": {"width": 200, "height": 100}},
    }
    index = read_source(tmp_path, {"all.json": json.dumps(document)})
    assert {image: len(found) for image, found in drawn(index).items()} == {"a.png": 1, "b.png": 0, "c.png": 0}


def test_the_older_form_has_one_image_a_file(tmp_path: Path) -> None:
    objects = [label(poly2d=[[1, 1, "L"], [9, 1, "L"], [9, 9, "L"]]), label(box2d=BOX)]
    document = {"name": "a", "attributes": {"weather": "rain"}, "frames": [{"timestamp": 1, "objects": objects}]}
    index = read_source(tmp_path, {"a.json": json.dumps(document)}, local=("a.png",))
    assert [kind for kind, _, _ in drawn(index)["a.png"]] == ["polygon", "rectangle"]
    assert "attributes of whole images are left out" in notes(index)


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    labels = [label(box3d={"location": [1, 2, 3]}), label(), {"box2d": BOX}]
    index = read_source(tmp_path, {"all.json": frames(*labels, attributes={"weather": "rain", "scene": "city"})})
    assert not shapes(index)
    told = notes(index)
    assert "3D boxes are left out (once: [0].labels[0])" in told
    assert "labels draw nothing and are left out (once: [0].labels[1])" in told
    assert "has no label" in told
    assert "attributes of whole images are left out: they are not shapes (2 times, first: [0])" in told


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("car", "the label is 'car', not an object"),
        (label(box2d={"x1": 1}), "null is not a number"),
        (label(poly2d=[{"vertices": [[1]]}]), "a vertex is not x and y"),
        (label(poly2d=[7]), "the polygon is 7, not an object"),
        (label(rle={"size": [1, 1], "counts": [5]}), "it has a mask (RLE), and its runs do not fill its size"),
        (label(graph={"nodes": [{"location": 1}]}), "a vertex is not x and y"),
        ({"category": 3, "box2d": BOX}, "'category' is 3, not a text"),
    ],
)
def test_labels_that_cannot_be_read_are_told_with_their_place(tmp_path: Path, broken: Any, told: str) -> None:
    index = read_source(tmp_path, {"all.json": frames(label(box2d=BOX), broken)})
    assert len(shapes(index)) == 1
    assert f"{told}; left out (once: [0].labels[1])" in notes(index)


def test_a_frame_without_a_name_is_an_error_with_its_place(tmp_path: Path) -> None:
    text = json.dumps([{"name": "a.png", "labels": []}, {"labels": []}])
    assert "all.json: [1]: 'name' is missing" in errors_of(tmp_path, {"all.json": text}, "all.json")
