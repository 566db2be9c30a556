"""Wrong and unusual sources, and how they are reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.image_matching import LocalImages
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.core.shapes import ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestErrors
from tests.annotations.opened import closed_afterwards
from tests.embedded_lake.talk import png


def index(
    base: Path, source: str, *names: str, kind: AnnotationKind = AnnotationKind.HUMAN, **spec: Any
) -> AnnotationIndex:
    """Read a source for images of 40 x 20 pixels."""
    files = []
    for name in names or ("a.png",):
        path = base / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(40, 20))
        files.append((path.name, name, str(path)))
    return closed_afterwards(
        open_index([AnnotationSpec("op", kind, (source,), base, "m.yaml:1:1", **spec)], LocalImages(files))
    )


def notes(read: AnnotationIndex) -> list[str]:
    return [str(note) for note in read.notes()]


def coco(base: Path, *boxes: list[float], **more: Any) -> str:
    document: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "bird"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes],
    }
    (base / "coco.json").write_text(json.dumps(document | more))
    return "coco.json"


def metalake(base: Path, *annotations: dict[str, Any]) -> str:
    head = {"type": "rectangle", "bbox": [1, 1, 5, 5], "label": "bird"}
    images = [{"image": "a.png", "annotations": [head | one for one in annotations]}]
    (base / "boxes.json").write_text(json.dumps({"images": images}))
    return "boxes.json"


def yolo(base: Path, text: str = "0 0.5 0.5 0.2 0.2\n", **files: str) -> str:
    (base / "labels").mkdir()
    (base / "labels/a.txt").write_text(text)
    for name, content in files.items():
        (base / name.replace("_", ".")).write_text(content)
    return "labels"


def error(base: Path, source: str, **spec: Any) -> str:
    with pytest.raises(ManifestErrors) as raised:
        index(base, source, **spec)
    return str(raised.value)


def test_two_categories_of_one_id_are_an_error(tmp_path: Path) -> None:
    source = coco(tmp_path, categories=[{"id": 1, "name": "bird"}, {"id": 1, "name": "beak"}])
    assert "coco.json: categories[1]: two categories have the id 1" in error(tmp_path, source)


def test_categories_that_are_not_a_list_are_an_error(tmp_path: Path) -> None:
    reported = error(tmp_path, coco(tmp_path, categories={"1": "bird"}))
    assert "coco.json: 'categories' is {'1': 'bird'}, not a list" in reported


def test_whole_floats_are_valid_ids(tmp_path: Path) -> None:
    annotation = {"image_id": 1.0, "category_id": 1.0, "bbox": [1, 1, 5, 5]}
    read = index(tmp_path, coco(tmp_path, annotations=[annotation]))
    assert read.images()["a.png"].shape_count == 1


def test_the_place_of_a_coco_shape_is_its_annotation(tmp_path: Path) -> None:
    read = index(tmp_path, coco(tmp_path, [1, 1, 5, 5], [1, 1, 0, 5]))
    assert notes(read) == ["a.png: op: rectangle 'bird' has no size (coco.json: annotations[1]); it is left out"]


def test_a_duplicate_top_level_key_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text('{"images": [],\n "images": [{"image": "a.png", "annotations": []}]}')
    assert "boxes.json:2:2: broken JSON (the key 'images' is there twice)" in error(tmp_path, "boxes.json")


def test_a_label_with_a_control_character_is_left_out_and_reported(tmp_path: Path) -> None:
    read = index(tmp_path, metalake(tmp_path, {"label": "bi\0rd"}, {"label": "a\nb"}, {"label": "fine"}))
    assert read.images()["a.png"].shape_count == 1
    assert [r"'bi\x00rd' has a control character in its label" in note for note in notes(read)] == [True, False]
    assert "images[0].annotations[0]: a.png: rectangle" in error(
        tmp_path, "boxes.json", invalid=_failing("control_character")
    )


def _failing(problem: str) -> Any:
    from metalake_sync.annotations.validation import InvalidPolicy, ShapeProblem

    return InvalidPolicy(named={ShapeProblem(problem): "fail"})


@pytest.mark.parametrize(
    ("text", "files", "message"),
    [
        ("1 0.5 0.5 0.2 0.2", {"data_yaml": "names: {0: x, 5: y}"}, "labels/a.txt:1: class 1 is not one of the 2 that"),
        ("0 0.5 0.5 0.2 0.2", {"classes_txt": ""}, "labels/a.txt:1: class 0 is not one of the 0 that"),
        ("0_1 0.5 0.5 0.2 0.2", {"classes_txt": "a\nb"}, "labels/a.txt:1: '0_1' is not a number"),
        ("9" * 5000 + " 0.5 0.5 0.2 0.2", {"classes_txt": "a"}, "class 99999999999999999999 is not one of the 1"),
        ("0 0.5 0.5 0.2 0.2", {"data_yaml": "names:\n  - [a"}, "error: data.yaml:"),
    ],
)
def test_problems_of_yolo_labels_are_reported(tmp_path: Path, text: str, files: dict[str, str], message: str) -> None:
    reported = error(tmp_path, yolo(tmp_path, text, **files))
    assert message.removeprefix("error: ") in reported
    assert str(tmp_path) not in reported
    assert len(reported) < 300


def test_a_class_count_that_differs_from_the_names_is_reported(tmp_path: Path) -> None:
    read = index(tmp_path, yolo(tmp_path, data_yaml="nc: 3\nnames: [bird]"))
    assert notes(read) == ["m.yaml:1:1: 'nc' of data.yaml is 3, and 'names' has 1 (once)"]


def test_an_impossible_path_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"train: {'a' * 5000}\nval: {'a' * 300}.txt\nnames: [bird]\n")
    with pytest.raises(ManifestErrors, match=r"annotation source 'data.yaml' has no annotation file"):
        index(tmp_path, "data.yaml")
    with pytest.raises(ManifestErrors, match="does not exist"):
        index(tmp_path, "a" * 5000)


@pytest.mark.parametrize("train", ["../train/images", "train/images", "train.txt"])
def test_labels_of_data_files_by_roboflow_and_darknet_are_found(tmp_path: Path, train: str) -> None:
    (tmp_path / "train/labels").mkdir(parents=True)
    (tmp_path / "train/labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "train.txt").write_text("./train/images/a.png\ntrain/images/none.png\n")
    (tmp_path / "data.yaml").write_text(f"train: {train}\nnames: [bird]\n")
    read = index(tmp_path, "data.yaml")
    assert (read.images()["a.png"].shape_count, read.images()["a.png"].place) == (1, "train/labels/a.txt")


def test_an_image_size_that_differs_from_the_source_is_reported(tmp_path: Path) -> None:
    read = index(
        tmp_path, coco(tmp_path, [1, 1, 5, 5], images=[{"id": 1, "file_name": "a.png", "width": 80, "height": 40}])
    )
    assert notes(read) == [
        "op: 1 image has another size than the source states, so shapes may be in the wrong place: a.png"
    ]
    (tmp_path / "a.xml").write_text(
        "<annotation><filename>a.png</filename><size><width>40</width><height>20</height></size><object><name>x</name>"
        "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
    )
    assert notes(index(tmp_path, "a.xml")) == []
    (tmp_path / "a.xml").write_text((tmp_path / "a.xml").read_text().replace("<width>40", "<width>41"))
    assert "another size than the source states" in notes(index(tmp_path, "a.xml"))[0]


def test_undeclared_fractions_are_reported(tmp_path: Path) -> None:
    read = index(tmp_path, coco(tmp_path, [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.5]))
    assert notes(read) == [
        "coco.json: all coordinates are within 0 to 1, which looks like fractions; if so, set 'normalized'"
    ]
    assert notes(index(tmp_path, coco(tmp_path, [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 2, 2]))) == []


def test_labels_of_the_manifest_that_no_source_has_are_reported(tmp_path: Path) -> None:
    source = metalake(tmp_path, {"label": "bird"}, {"label": "brid"})
    read = index(tmp_path, source, labels={"brid": "bird", "brd": "bird"}, allowed=frozenset({"bird", "beak"}))
    assert notes(read) == [
        "op: no source has the label 'brd' of 'labels.map'",
        "op: no source has the label 'beak' of 'labels.allow'",
    ]


def test_a_human_confidence_below_1_is_reported(tmp_path: Path) -> None:
    source = metalake(tmp_path, {"attributes": {"sex": [{"value": "male", "confidence": 0.4}]}})
    assert notes(index(tmp_path, source)) == [
        "op: 1 shape has attributes whose confidence is not 1; the lake stores 1 for human annotations"
    ]
    assert notes(index(tmp_path, source, kind=AnnotationKind.MACHINE)) == []


def test_an_unknown_format_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("file,x\na.png,1\n")
    reported = error(tmp_path, "boxes.csv")
    assert "boxes.csv: the format of the file is unknown" in reported
    assert "'format'" in reported


def old_form(base: Path, *annotations: dict[str, Any], **top: Any) -> str:
    """A MetaLake file whose annotations have no type."""
    shapes = [{"bbox": [1, 1, 5, 5], "label": "bird"} | one for one in annotations]
    images = [{"image": "a.png", "annotations": shapes}]
    (base / "old.json").write_text(json.dumps({**top, "images": images}))
    return "old.json"


def attributes_in(read: AnnotationIndex) -> list[dict[str, list[tuple[Any, float | None]]]]:
    shapes = read.record("a.png").shapes
    assert not any(shape.metadata for shape in shapes if shape.attributes)
    return [
        {name: [(value.value, value.confidence) for value in values] for name, values in shape.attributes.items()}
        for shape in shapes
    ]


def test_old_form_metadata_becomes_attributes_with_the_confidence_of_the_shape(tmp_path: Path) -> None:
    source = old_form(
        tmp_path,
        {"metadata": {"pose": "flying", "age": 3}, "confidence": 0.5},
        {"metadata": {"seen": ["left", "right"]}},
        {},
    )
    read = index(tmp_path, source, kind=AnnotationKind.MACHINE)
    assert attributes_in(read) == [
        {"pose": [("flying", 0.5)], "age": [(3, 0.5)]},
        {"seen": [("left", None), ("right", None)]},
        {},
    ]
    assert read.labels() == {"bird": {"pose": ["flying"], "age": ["3"], "seen": ["left", "right"]}}
    assert not notes(read)


def test_a_value_that_cannot_be_an_attribute_is_left_out_and_reported(tmp_path: Path) -> None:
    read = index(tmp_path, old_form(tmp_path, {"metadata": {"pose": None, "box": {"x": 1}, "sex": "f"}}))
    assert attributes_in(read) == [{"sex": [("f", None)]}]
    problem = "is not a text, number or boolean, so it is not an attribute and is not sent"
    assert [note for note in notes(read) if "'pose'" in note or "'box'" in note] == [
        f"old.json: a value of '{name}' {problem} (once)" for name in ("pose", "box")
    ]


@pytest.mark.parametrize(
    ("annotation", "top", "options", "expected"),
    [
        ({"bbox": [1, 1, 2, 2]}, {}, {}, "rectangle"),
        ({"polygon": [[1, 1], [5, 1], [5, 5]]}, {}, {}, "polygon"),
        ({"line": [[1, 1], [5, 1]]}, {}, {}, "line"),
        ({"points": [[1, 1]]}, {}, {}, "points"),
        ({"polygon": [[1, 1], [5, 1]]}, {"shape_type": "line"}, {}, "line"),
        ({"polygon": [[1, 1], [5, 1]]}, {}, {"shape_type": ShapeType.LINE}, "line"),
        ({"polygon": [[1, 1], [5, 1]]}, {"shape_type": "polygon"}, {"shape_type": ShapeType.LINE}, "line"),
    ],
)
def test_the_type_in_the_old_form_comes_from_the_block_the_file_or_the_coordinates(
    tmp_path: Path, annotation: dict[str, Any], top: dict[str, Any], options: dict[str, Any], expected: str
) -> None:
    document = {"images": [{"image": "a.png", "annotations": [{"label": "bird", **annotation}]}], **top}
    (tmp_path / "old.json").write_text(json.dumps(document))
    (shape,) = index(tmp_path, "old.json", options=options).record("a.png").shapes
    assert (shape.type, len(shape.points)) == (
        expected,
        len(next(iter(annotation.values()))) // (1 + ("bbox" in annotation)),
    )


def test_the_form_in_the_block_overrides_the_form_of_the_file(tmp_path: Path) -> None:
    typed = metalake(tmp_path, {"metadata": {"pose": "flying"}})
    assert attributes_in(index(tmp_path, typed)) == [{}]
    assert attributes_in(index(tmp_path, typed, options={"old_form": True})) == [{"pose": [("flying", None)]}]
    untyped = old_form(tmp_path, {"metadata": {"pose": "flying"}}, shape_type="rectangle")
    (shape,) = index(tmp_path, untyped, options={"old_form": False}).record("a.png").shapes
    assert (shape.metadata, shape.attributes) == ({"pose": "flying"}, {})


@pytest.mark.parametrize(
    ("annotations", "spec", "said"),
    [
        (
            ({"type": "rectangle"}, {}),
            {},
            "old.json: images[0].annotations[1]: the annotation has no 'type', and others",
        ),
        (
            ({}, {"type": "rectangle"}),
            {},
            "old.json: images[0].annotations[1]: the annotation has a 'type', and others",
        ),
        (({"polygon": [[1, 1]]},), {}, "annotations[0]: the annotation has no type"),
        (({},), {"options": {"old_form": False}}, "annotations[0]: the annotation has no type"),
        (
            ({"metadata": {"sex": "f"}, "attributes": {"sex": [{"value": "m"}]}},),
            {},
            "annotations[0].metadata: 'sex' is in 'metadata' and in 'attributes'",
        ),
    ],
)
def test_an_ambiguous_old_form_is_an_error_at_its_place(
    tmp_path: Path, annotations: tuple[dict[str, Any], ...], spec: dict[str, Any], said: str
) -> None:
    assert said in error(tmp_path, old_form(tmp_path, *annotations), **spec)


def test_old_form_is_valid_only_for_metalake_json(tmp_path: Path) -> None:
    reported = error(tmp_path, coco(tmp_path, [1, 1, 5, 5]), options={"old_form": True})
    assert "coco.json: the file has the format coco, which does not take 'old_form'" in reported


def test_a_bucket_applies_to_the_entries_after_it(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png", "d.png"]
    images: list[dict[str, Any]] = [{"image": name, "annotations": []} for name in names]
    images[1]["storageName"] = "cold"
    images[2]["annotations"] = [{"type": "points", "points": [[2, 2]], "label": "bird"}]
    images[3]["storageName"] = "warm"
    (tmp_path / "old.json").write_text(json.dumps({"images": images}))
    read = index(tmp_path, "old.json", *names)
    assert [read.record(name).bucket for name in names] == [None, "cold", "cold", "warm"]
    images[3]["storageName"] = 7
    (tmp_path / "old.json").write_text(json.dumps({"images": images}))
    assert "old.json: images[3].storageName: 'storageName' is not the name of a bucket" in error(tmp_path, "old.json")
