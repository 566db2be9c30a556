"""Ground Truth: label attributes of any name, confidences, and labels that draw nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.annotations.formats.source_folders import drawn, errors_of, read_source
from tests.annotations.opened import notes, shapes

BOX = {"class_id": 0, "left": 1.5, "top": 2, "width": 3, "height": 4}
ABOUT = {"class-map": {"0": "Bird"}, "objects": [{"confidence": 0.75}], "type": "groundtruth/object-detection"}


def line(*boxes: Any, image: str = "s3://bucket/set/a.png", about: Any = ABOUT, **more: Any) -> str:
    size = [{"width": 200, "height": 100, "depth": 3}]
    job = {"my boxes": {"image_size": size, "annotations": [*boxes]}, "my boxes-metadata": about}
    return json.dumps({"source-ref": image, **job, **more}) + "\n"


def test_boxes_have_the_name_of_their_class_and_a_confidence_each(tmp_path: Path) -> None:
    text = line(BOX, BOX) + "\n" + line(image="s3://bucket/b.png")
    index = read_source(tmp_path, {"output.manifest": text})
    assert drawn(index) == {"a.png": [("rectangle", "Bird", [1.5, 2, 3, 4])] * 2, "b.png": []}
    assert [shape.confidence for shape in shapes(index)] == [0.75, None]
    assert not notes(index)


def test_several_label_attributes_of_a_line_are_one_set(tmp_path: Path) -> None:
    corners = [{"x": 1, "y": 2}, {"x": 5, "y": 2}, {"x": 5, "y": 6}]
    more: dict[str, Any] = {"outlines": {"polygons": [{"class_id": 3, "vertices": corners}]}}
    more["outlines-metadata"] = {"class-map": {"3": "Tree"}}
    index = read_source(tmp_path, {"output.manifest": line(BOX, **more)})
    assert [label for _, label, _ in drawn(index)["a.png"]] == ["Bird", "Tree"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"weather": 1, "weather-metadata": {"class-name": "rain"}}, "labels of whole images are left out"),
        ({"m-ref": "s3://b/m.png", "m-ref-metadata": {}}, "masks that are files of their own in a bucket"),
        ({"x-metadata": {"failure-reason": "ClientError"}}, "images that could not be labeled are left out"),
        ({"v": {}, "v-metadata": {"type": "groundtruth/video-object-detection"}}, "labels of videos"),
    ],
)
def test_labels_that_draw_nothing_are_told(tmp_path: Path, more: dict[str, Any], told: str) -> None:
    index = read_source(tmp_path, {"output.manifest": line(BOX, **more)})
    assert len(shapes(index)) == 1
    assert told in notes(index)
    assert "(once: line 1, " in notes(index)


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ({**BOX, "class_id": 7}, "class 7 is not in 'class-map'"),
        ({**BOX, "left": None}, "null is not a number"),
        ("box", "the annotation is 'box', not an object"),
        ({"class_id": 0, "vertices": 3}, "'vertices' is 3, not a list"),
    ],
)
def test_boxes_that_cannot_be_read_are_told_with_their_line(tmp_path: Path, box: Any, told: str) -> None:
    index = read_source(tmp_path, {"output.manifest": line() + line(BOX, box, image="b.png")})
    assert len(shapes(index, "b.png")) == 1
    assert f"{told}; left out (once: line 2, annotations[1])" in notes(index)


def test_an_image_that_is_not_labeled_keeps_its_set(tmp_path: Path) -> None:
    failed = {"source-ref": "b.png", "my boxes-metadata": {"failure-reason": "ClientError"}}
    text = line(BOX) + json.dumps(failed) + "\n" + '{"source-ref": "c.png"}\n'
    index = read_source(tmp_path, {"output.manifest": text})
    assert list(drawn(index)) == ["a.png"]
    assert "images that could not be labeled are left out (once: line 2, 'my boxes')" in notes(index)
    assert "images are not labeled and are left out (once: line 3)" in notes(index)


def test_a_broken_line_is_an_error_with_its_number(tmp_path: Path) -> None:
    found = errors_of(tmp_path, {"output.manifest": line(BOX) + '{"source-ref": '}, "output.manifest")
    assert "output.manifest:2" in found
    found = errors_of(tmp_path, {"output.manifest": line(BOX) + "{}\n"}, "output.manifest")
    assert "output.manifest:2: 'source-ref' is missing" in found


def test_an_input_manifest_is_refused(tmp_path: Path) -> None:
    found = errors_of(tmp_path, {"input.manifest": '{"source": "x"}\n'}, "input.manifest", "ground_truth")
    assert "its first line has no 'source-ref'" in found


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    for text in ("", "\n \n"):
        found = errors_of(tmp_path, {"output.manifest": text}, "output.manifest", "ground_truth")
        assert "output.manifest: the file has no lines. Download the output manifest of the job again." in found
