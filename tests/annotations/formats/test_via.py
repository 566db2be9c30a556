"""VGG Image Annotator: its versions, the choice of the label, and regions that can't be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.annotations.formats.source_folders import drawn, errors_of, read_source
from tests.annotations.opened import notes, shapes

RECT = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}


def region(shape: Any = RECT, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def document(*regions: Any, **more: Any) -> str:
    return json.dumps(
        {"a.png7": {"filename": "a.png", "size": 7, "regions": [*regions], "file_attributes": {}, **more}}
    )


def test_every_shape_is_read(tmp_path: Path) -> None:
    corners = {"all_points_x": [1, 5, 5], "all_points_y": [1, 1, 9]}
    names = [{"name": "polygon", **corners}, {"name": "polyline", **corners}, {"name": "point", "cx": 3, "cy": 4}, RECT]
    index = read_source(tmp_path, {"via.json": document(*(region(shape, label="cat") for shape in names))})
    assert drawn(index)["a.png"] == [
        ("polygon", "cat", [1, 1, 5, 1, 5, 9]),
        ("line", "cat", [1, 1, 5, 1, 5, 9]),
        ("points", "cat", [3, 4]),
        ("rectangle", "cat", [1, 2, 3, 4]),
    ]


def test_circles_and_turned_ellipses_are_polygons(tmp_path: Path) -> None:
    circle = region({"name": "circle", "cx": 50, "cy": 50, "r": 10}, label="cat")
    turned = {"name": "ellipse", "cx": 50, "cy": 50, "rx": 20, "ry": 5, "theta": 1.5707963267948966}
    first, second = shapes(read_source(tmp_path, {"via.json": document(circle, region(turned, label="cat"))}))
    across, down = zip(*first.points, strict=True)
    assert (min(across), max(across), min(down), max(down)) == pytest.approx((40, 60, 40, 60))
    across, down = zip(*second.points, strict=True)
    assert (min(across), max(across), min(down), max(down)) == pytest.approx((45, 55, 30, 70))


@pytest.mark.parametrize(
    ("attributes", "label"),
    [
        ({"object": "b", "Label": "a"}, "a"),
        ({"note": "x", "NAME": "n"}, "n"),
        ({"color": "red", "count": 3}, "red"),
        ({"label": "", "class": "c"}, "c"),
        ({"type": {"bird": True, "cat": False}}, "bird"),
        ({"label": 7}, "7"),
    ],
)
def test_the_label_is_the_usual_attribute_or_the_only_text(
    tmp_path: Path, attributes: dict[str, Any], label: str
) -> None:
    (shape,) = shapes(read_source(tmp_path, {"via.json": document(region(**attributes))}))
    assert shape.label == label


def test_words_are_attributes_and_flags_and_numbers_are_metadata(tmp_path: Path) -> None:
    about = {"label": "cat", "color": "red", "marks": {"old": True, "big": True, "new": False}, "age": 3, "wild": True}
    (shape,) = shapes(read_source(tmp_path, {"via.json": document(region(**about))}))
    assert {name: [value.value for value in values] for name, values in shape.attributes.items()} == {
        "color": ["red"],
        "marks": ["old", "big"],
    }
    assert shape.metadata == {"age": 3, "wild": True}


def test_regions_without_a_label_and_answers_for_the_image_are_told(tmp_path: Path) -> None:
    regions = [region(), region(a="x", b="y"), region(label="cat")]
    index = read_source(tmp_path, {"via.json": document(*regions, file_attributes={"caption": "night", "empty": " "})})
    assert len(shapes(index)) == 1
    assert "regions have no label" in notes(index)
    assert "left out (2 times, first: 'a.png7'.regions[0])" in notes(index)
    assert "attributes of whole images are left out: they are not shapes (once: 'a.png7')" in notes(index)


def test_a_project_and_the_regions_of_version_1_are_read(tmp_path: Path) -> None:
    images = json.loads(document(region(label="cat")))
    images["a.png7"]["regions"] = {"0": region(label="cat")}
    project = {"_via_settings": {"ui": {}}, "_via_img_metadata": images, "_via_attributes": {"region": {}}}
    assert drawn(read_source(tmp_path, {"p.json": json.dumps(project)})) == {
        "a.png": [("rectangle", "cat", [1, 2, 3, 4])]
    }


def test_the_table_has_a_row_for_each_region(tmp_path: Path) -> None:
    def row(image: str, *cells: Any) -> str:
        texts = [cell if isinstance(cell, str) else json.dumps(cell) for cell in cells]
        quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
        return ",".join([image, "7", quoted[0], "1", "0", *quoted[1:]]) + "\n"

    head = "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    rows = row("a.png", {"caption": 'a "swan"'}, RECT, {"name": 'the "red", one'}) + row("b.png", {}, {}, {})
    index = read_source(tmp_path, {"via.csv": head + rows + row("a.png", {"caption": "x"}, "{broken", {"name": "x"})})
    assert drawn(index) == {"a.png": [("rectangle", 'the "red", one', [1, 2, 3, 4])], "b.png": []}
    assert "attributes of whole images are left out: they are not shapes (once: line 2)" in notes(index)
    assert "regions can't be read: broken JSON" in notes(index)
    assert "left out (once: line 4)" in notes(index)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (7, "the region is 7, not an object"),
        (region(None, label="x"), "'shape_attributes' is missing"),
        (region({"name": "blob"}, label="x"), "there is no shape 'blob'"),
        (region({"name": "rect", "x": 1}, label="x"), "null is not a number"),
        (
            region({"name": "polygon", "all_points_x": [1], "all_points_y": [1, 2]}, label="x"),
            "the polygon has 1 x and 2 y",
        ),
        (region({"name": "polygon", "all_points_x": 1}, label="x"), "'all_points_x' is 1, not a list"),
    ],
)
def test_regions_that_cannot_be_read_are_told_with_their_place(tmp_path: Path, broken: Any, told: str) -> None:
    index = read_source(tmp_path, {"via.json": document(region(label="cat"), broken)})
    assert len(shapes(index)) == 1
    assert f"regions can't be read: {told}; left out (once: 'a.png7'.regions[1])" in notes(index)


def test_an_entry_without_a_file_name_is_an_error_with_its_place(tmp_path: Path) -> None:
    text = json.dumps({"a": {"filename": "a.png", "regions": []}, "b": {"regions": []}})
    assert "via.json: 'b': 'filename' is missing" in errors_of(tmp_path, {"via.json": text}, "via.json")


def test_a_row_that_was_cut_off_is_no_image_without_regions(tmp_path: Path) -> None:
    head = "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    index = read_source(tmp_path, {"via.csv": f"{head}b.png,7,{{}},0,0,{{}},{{}}\na.png,12"}, "via.csv", "via")
    assert list(drawn(index)) == ["b.png"]
    assert index.mode == "append"
    assert "via.csv: rows end before" in notes(index)
