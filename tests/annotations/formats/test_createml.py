"""Create ML's JSON: boxes by their center, and entries that can't be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.annotations.writing import write_records
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType
from tests.annotations.formats.source_folders import drawn, errors_of, read_source
from tests.annotations.opened import notes, shapes


def box(label: Any = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "coordinates": {"x": 20, "y": 30, "width": 10, "height": 20}, **more}


def test_x_and_y_are_the_center(tmp_path: Path) -> None:
    document = [
        {"image": "a.png", "annotations": [box(), box("dog", confidence=0.5)]},
        {"image": "b", "annotations": []},
    ]
    index = read_source(tmp_path, {"all.json": json.dumps(document)})
    assert drawn(index) == {
        "a.png": [("rectangle", "cat", [15, 20, 10, 20]), ("rectangle", "dog", [15, 20, 10, 20])],
        "b": [],
    }
    assert [shape.confidence for shape in shapes(index)] == [None, 0.5]


def test_older_names_of_keys_and_addresses_of_images_are_read(tmp_path: Path) -> None:
    document = [{"imagefilename": "https://example.org/set/a%20b.png?x=1", "annotation": [box()]}]
    assert list(drawn(read_source(tmp_path, {"all.json": json.dumps(document)}))) == ["a b.png"]


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (7, "the annotation is 7, not an object"),
        ({"label": "cat"}, "'coordinates' is missing"),
        ({"label": "cat", "coordinates": {"x": 1, "y": 2, "width": "w", "height": 4}}, "'w' is not a number"),
        (box([1]), "'label' is [1], not a text"),
    ],
)
def test_annotations_that_cannot_be_read_are_told_with_their_place(tmp_path: Path, annotation: Any, told: str) -> None:
    document = [{"image": "a.png", "annotations": [box(), annotation]}]
    index = read_source(tmp_path, {"all.json": json.dumps(document)})
    assert len(shapes(index)) == 1
    assert f"{told}; left out (once: [0].annotations[1]" in notes(index)


def test_a_box_without_a_label_is_left_out_and_told(tmp_path: Path) -> None:
    index = read_source(tmp_path, {"all.json": json.dumps([{"image": "a.png", "annotations": [box(None), box()]}])})
    assert len(shapes(index)) == 1
    assert "has no label" in notes(index)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([{"image": "a.png", "annotations": []}, 7], "all.json: [1]: the entry is 7, not an object"),
        ([{"image": "a.png", "annotations": []}, {"annotations": []}], "[1]: 'image' is missing"),
        ([{"image": "", "annotations": []}], "[0]: 'image' is empty"),
    ],
)
def test_an_entry_without_an_image_is_an_error_with_its_place(tmp_path: Path, document: Any, told: str) -> None:
    assert told in errors_of(tmp_path, {"all.json": json.dumps(document)}, "all.json")


def test_another_document_is_refused(tmp_path: Path) -> None:
    assert "its top level is not a list" in errors_of(tmp_path, {"all.json": '{"images": 1}'}, "all.json", "createml")


def test_boxes_are_written_with_their_center_and_losses_are_counted(tmp_path: Path) -> None:
    shape = Shape(ShapeType.RECTANGLE, ((15.0, 20.0), (10.0, 20.0)), "cat", 0.5, {"id": 1}, {"c": ()})
    line = Shape(ShapeType.LINE, ((1.0, 2.0), (3.0, 4.0)), "cat")
    report = write_records([ImageRecord("a.png", (shape, line)), ImageRecord("b.png", ())], "createml", tmp_path)
    assert json.loads((tmp_path / "annotations.json").read_text()) == [
        {"image": "a.png", "annotations": [box(confidence=0.5)]},
        {"image": "b.png", "annotations": []},
    ]
    assert report.losses == {
        "metadata fields": 1,
        "attributes": 1,
        "shapes of type line; they are left out": 1,
    }
