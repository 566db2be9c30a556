"""COCO as tools and scripts write it: an invalid part affects only itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.annotations.entries import AnnotationSpec, ReadNotes
from metalake_sync.annotations.image_matching import AnyImage, LocalImages
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.annotations.validation import InvalidPolicy, ShapeProblem
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestErrors
from tests.annotations.opened import closed_afterwards, notes, shapes, types
from tests.embedded_lake.talk import png

BOX = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20]}
NAN = float("nan")
RECTANGLE, POLYGON, POINTS = "rectangle", "polygon", "points"
SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]


def read(
    base: Path, annotations: list[Any], *, local: bool = True, policy: InvalidPolicy | None = None, **more: Any
) -> AnnotationIndex:
    """Read a COCO file of these annotations for an image of 60 x 40 pixels."""
    document: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
        "categories": [{"id": 1, "name": "bird"}],
        "annotations": annotations,
    }
    (base / "coco.json").write_text(json.dumps(document | more))
    (base / "a.png").write_bytes(png(60, 40))
    images = LocalImages([("a.png", "a.png", str(base / "a.png"))]) if local else AnyImage()
    spec = AnnotationSpec(
        "op", AnnotationKind.MACHINE, ("coco.json",), base, "m.yaml:1:1", invalid=policy or InvalidPolicy()
    )
    return closed_afterwards(open_index([spec], images))


def error_text(base: Path, annotations: list[Any], **more: Any) -> str:
    with pytest.raises(ManifestErrors) as raised:
        read(base, annotations, **more)
    return str(raised.value)


# Geometry.


@pytest.mark.parametrize(
    "segmentation",
    [
        [[]],
        [[], []],
        [[5, 5]],
        [[5, 5, 25, 5]],
        [[5, 5, 15, 5, 25, 5]],
        [[5, 5, 5, 5, 5, 5, 5, 5]],
        [[NAN, 5, 25, 5, 25, 25]],
        [5, 5, 25, 5],
        NAN,
        "polygon",
        [[5, 5, 25]],
        [[5, 5, "25", 5, 25, 25]],
        {},
        {"size": [40, 60], "counts": [2400]},
        {"size": [60, 40], "counts": [0, 2400]},
        {"size": [40, 60], "counts": [1, 2]},
    ],
)
def test_the_box_replaces_a_segmentation_without_area(tmp_path: Path, segmentation: Any) -> None:
    index = read(tmp_path, [BOX | {"segmentation": segmentation}, BOX | {"segmentation": [SQUARE]}])
    assert types(index) == [RECTANGLE, POLYGON]
    assert shapes(index)[0].points == ((10, 10), (20, 20))
    assert "left out (" not in notes(index) or "parts of segmentations" in notes(index)


def test_parts_without_area_are_left_out_beside_valid_ones(tmp_path: Path) -> None:
    index = read(tmp_path, [BOX | {"segmentation": [[1, 1], SQUARE, [2, 2, 3, 3, 4, 4]]}])
    assert types(index) == [POLYGON]
    assert "part" not in shapes(index)[0].metadata
    assert "parts of segmentations have no area; they are left out (2 times, first: annotations[0])" in notes(index)


def test_a_degenerate_segmentation_without_a_box_is_reported(tmp_path: Path) -> None:
    index = read(tmp_path, [{"image_id": 1, "category_id": 1, "segmentation": [[1, 1, 2, 2]]}])
    assert "polygon 'bird' has too few points (coco.json: annotations[0]); it is left out" in notes(index)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"bbox": [1, 2, 3]}, "a 'bbox' that is not four numbers; left out (once: annotations[1]: [1, 2, 3])"),
        (
            {"bbox": ["1", 2, 3, 4]},
            "a 'bbox' that is not four numbers; left out (once: annotations[1]: ['1', 2, 3, 4])",
        ),
        (
            {"bbox": None, "segmentation": 7},
            "'segmentation' that is neither a list nor a mask; left out (once: annotations[1]: 7)",
        ),
        (
            {"bbox": [], "keypoints": [1, 2]},
            "'keypoints' that are not x, y, visibility, …; left out (once: annotations[1]: [1, 2])",
        ),
        (
            {"category_id": None},
            "a 'category_id' that is neither a whole number nor a text; left out (once: annotations[1]: null)",
        ),
        (
            {"image_id": 1.5},
            "an 'image_id' that is neither a whole number nor a text; left out (once: annotations[1]: 1.5)",
        ),
        (
            {"bbox": None, "segmentation": {"size": [40, 60], "counts": [3]}},
            "its runs do not fill its size; left out (once",
        ),
    ],
)
def test_an_unreadable_annotation_is_reported_and_the_others_are_read(
    tmp_path: Path, entry: dict[str, Any], reason: str
) -> None:
    index = read(tmp_path, [BOX, BOX | entry, BOX])
    assert types(index) == [RECTANGLE, RECTANGLE]
    assert reason in notes(index)
    fail = InvalidPolicy(named={ShapeProblem.UNREADABLE: "fail"})
    assert "coco.json: annotations[1]" in error_text(tmp_path, [BOX, BOX | entry, BOX], policy=fail)


def test_elements_that_are_not_objects_are_left_out(tmp_path: Path) -> None:
    index = read(tmp_path, [None, BOX, "x"])
    assert types(index) == [RECTANGLE]
    assert "annotations are not objects; left out (2 times, first: annotations[0]: null)" in notes(index)


def test_the_number_of_reported_reasons_is_limited() -> None:
    notes = ReadNotes()
    for number in range(100):
        notes.leave_out(f"reason {number}", f"object {number}")
    assert len(notes.unreadable) == 21
    assert notes.unreadable["annotations can't be read for other reasons"] == 80


def test_an_invalid_box_beside_other_shapes_is_left_out_and_reported(tmp_path: Path) -> None:
    good = {"bbox": [1, 2], "segmentation": [SQUARE], "keypoints": [12, 12, 2]}
    index = read(tmp_path, [BOX | good, BOX | {"bbox": 0, "segmentation": [[1]], "keypoints": [5, 5, 2]}])
    assert types(index) == [POLYGON, POINTS, POINTS]
    assert "a 'bbox' that is not four numbers; only their other shapes are taken (2 times" in notes(index)


# Keys without a value.


@pytest.mark.parametrize(
    "key", ["score", "area", "iscrowd", "keypoints", "attributes", "metadata", "segmentation", "occlusion", "id"]
)
def test_nan_in_an_optional_key_counts_as_missing(tmp_path: Path, key: str) -> None:
    index = read(tmp_path, [BOX | {"track": 4, key: NAN}])
    assert types(index) == [RECTANGLE]
    assert shapes(index)[0].confidence is None
    assert shapes(index)[0].metadata == {"track": 4}


def test_nan_in_metadata_removes_only_that_field(tmp_path: Path) -> None:
    entry = {"attributes": {"a": NAN, "b": True, "c": [{"value": "x", "confidence": NAN}]}, "m": {"n": [1, NAN]}}
    index = read(tmp_path, [BOX | entry, BOX | entry])
    shape = shapes(index)[0]
    assert (shape.metadata, shape.attributes["c"][0].confidence) == ({"b": True}, None)
    assert "coco.json: 2 shapes have a confidence, metadata or attributes that are not finite numbers" in notes(index)
    fail = InvalidPolicy(named={ShapeProblem.NOT_FINITE: "fail"})
    assert "holds a number that is not finite" in error_text(tmp_path, [BOX | entry], policy=fail)


def test_nan_in_coordinates_removes_the_shape(tmp_path: Path) -> None:
    index = read(tmp_path, [BOX | {"bbox": [1, NAN, 5, 5]}, BOX])
    assert types(index) == [RECTANGLE]
    assert "holds a number that is not finite (coco.json: annotations[0]); it is left out" in notes(index)


def test_a_score_that_is_not_a_number_is_left_out(tmp_path: Path) -> None:
    index = read(tmp_path, [BOX | {"score": "0.9"}])
    assert shapes(index)[0].confidence is None
    assert "a 'score' that is not a number; it is left out (once: annotations[0]: '0.9')" in notes(index)


def test_captions_and_labels_of_whole_images_are_counted(tmp_path: Path) -> None:
    caption = {"image_id": 1, "id": 5, "caption": "a bird on a wire"}
    index = read(
        tmp_path, [caption, BOX, caption, {"image_id": 1, "category_id": 1}], categories=[{"id": 1, "name": "bird"}]
    )
    assert types(index) == [RECTANGLE]
    assert "a caption, which is a text for the whole image, and no shape; they are left out (2 times," in notes(index)
    assert "neither box nor mask nor keypoints; they are left out (once: annotations[3])" in notes(index)


# Masks.

RUNS = [40 * 10 + 5, 4, 36, 4, 40 * 60 - 40 * 11 - 9]
"""Columns 10 and 11, rows 5 to 8 of 60 x 40."""


@pytest.mark.parametrize("said", [{"width": 60, "height": 40}, {"width": "60", "height": 40.0}, {}])
def test_a_mask_with_the_size_of_another_image_is_reported(tmp_path: Path, said: dict[str, Any]) -> None:
    images = [{"id": 1, "file_name": "a.png", **said}]
    turned = {"size": [60, 40], "counts": RUNS}
    index = read(
        tmp_path,
        [BOX | {"segmentation": turned}, BOX | {"segmentation": {"size": [40, 60], "counts": RUNS}}],
        images=images,
    )
    assert types(index) == [RECTANGLE, POLYGON]
    assert (
        "is not the image's; their boxes are taken (once: annotations[0]: [60, 40] for an image of 60 x 40)"
        in notes(index)
    )


def test_without_a_local_image_a_mask_must_fit_the_size_in_the_file(tmp_path: Path) -> None:
    index = read(tmp_path, [BOX | {"segmentation": {"size": [60, 40], "counts": RUNS}}], local=False)
    assert types(index) == [RECTANGLE]


def test_masks_in_a_list_are_read(tmp_path: Path) -> None:
    mask = {"size": [40, 60], "counts": RUNS}
    index = read(tmp_path, [BOX | {"segmentation": [mask, SQUARE]}])
    assert [(shape.type.value, shape.metadata["part"]) for shape in shapes(index)] == [
        (POLYGON, "1/2"),
        (POLYGON, "2/2"),
    ]


# Ids.


@pytest.mark.parametrize("number", [7, 0, -3, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("text_in", ["image", "annotation"])
def test_ids_that_are_numbers_and_texts_are_distinguished(tmp_path: Path, number: int, text_in: str) -> None:
    here, there = (str(number), number) if text_in == "image" else (number, str(number))
    images = [{"id": here, "file_name": "a.png"}, {"id": number + 1, "file_name": "b.png"}]
    categories = [{"id": number + 2, "name": "plane"}, {"id": here, "name": "bird"}]
    index = read(tmp_path, [BOX | {"image_id": there, "category_id": there}], images=images, categories=categories)
    assert [shape.label for shape in shapes(index)] == ["bird"]
    assert "'image_id' that is a text in one list and a number in the other (once)" in notes(index)


def test_an_exact_id_wins_over_its_other_form(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "bird"}, {"id": "1", "name": "plane"}]
    images = [{"id": 1, "file_name": "a.png"}, {"id": "1", "file_name": "b.png"}]
    index = read(
        tmp_path, [BOX, BOX | {"category_id": "1"}, BOX | {"image_id": "1"}], images=images, categories=categories
    )
    assert [shape.label for shape in shapes(index)] == ["bird", "plane"]
    assert "in one list" not in notes(index)


@pytest.mark.parametrize("other", ["01", "1.0", "one", " 1"])
def test_different_texts_are_different_ids(tmp_path: Path, other: str) -> None:
    index = read(tmp_path, [BOX, BOX | {"image_id": other}])
    assert types(index) == [RECTANGLE]
    assert "of an image that the file does not list; they are left out (once: annotations[1])" in notes(index)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"categories": [{"id": 2, "name": "b"}]}, "annotations[0]: category 1 is not in 'categories'"),
        ({"categories": [{"id": 1, "name": 5}]}, "categories[0]: 'name' of the category is 5, not a text"),
        ({"categories": [{"id": [1], "name": "b"}]}, "categories[0]: 'id' is [1], neither a whole number nor a text"),
        ({"images": [{"id": 1}]}, "images[0]: 'file_name' of the image is null, not a name"),
        (
            {"images": [{"id": 1, "file_name": "a"}, {"id": 1.0, "file_name": "b"}]},
            "images[1]: two images have the id 1.0",
        ),
        ({"images": [{"id": 1, "file_name": "a"}, 7]}, "images[1]: the element is 7, not an object"),
    ],
)
def test_errors_contain_the_value_that_was_found(tmp_path: Path, more: dict[str, Any], reason: str) -> None:
    assert f"coco.json: {reason}" in error_text(tmp_path, [BOX], **more)
