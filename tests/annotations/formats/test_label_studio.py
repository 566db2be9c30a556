"""Label Studio: regions in percent, answers, annotators, predictions, JSON-MIN, and the names of images."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from metalake_sync.annotations.formats.image_names import image_names, looks_like_image
from metalake_sync.annotations.writing import write_records
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from tests.annotations.formats.reading import error, notes, read, shapes, values

BOX = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}


def result(value: dict[str, Any], kind: str = "rectanglelabels", **more: Any) -> dict[str, Any]:
    size = {"original_width": 200, "original_height": 100}
    return {"id": "r", "type": kind, "from_name": "label", "to_name": "image", "value": value, **size, **more}


def labeled(**value: Any) -> dict[str, Any]:
    return result({**BOX, "rectanglelabels": ["x"], **value})


def write(folder: Path, *results: Any, data: Any = None, **more: Any) -> Path:
    task = {"id": 1, "data": data or {"image": "a.png"}, "annotations": [{"id": 1, "result": results}], **more}
    (folder / "tasks.json").write_text(json.dumps([task]))
    return folder / "tasks.json"


def test_percentages_are_of_the_original_size(tmp_path: Path) -> None:
    (box,) = shapes(read(write(tmp_path, labeled())))
    assert (box.type, box.points, box.label) == (ShapeType.RECTANGLE, ((20, 20), (60, 40)), "x")


def test_percentages_are_of_the_image_where_the_result_has_no_size(tmp_path: Path) -> None:
    one = {key: value for key, value in labeled().items() if not key.startswith("original")}
    assert shapes(read(write(tmp_path, one)))[0].points == ((20.0, 20.0), (60.0, 40.0))


def test_a_rotated_box_turns_about_its_top_left_corner(tmp_path: Path) -> None:
    (box,) = shapes(read(write(tmp_path, labeled(x=50, rotation=90))))
    assert box.type is ShapeType.POLYGON
    assert box.points == tuple(pytest.approx(point) for point in ((100, 20), (100, 80), (60, 80), (60, 20)))


def test_ellipses_polygons_and_points(tmp_path: Path) -> None:
    index = read(
        write(
            tmp_path,
            result({"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["e"]}, id="1"),
            result({"points": [[1, 1], [2, 1], [2, 3]], "polygonlabels": ["p"]}, id="2"),
            result({"x": 5, "y": 6, "width": 0.3, "keypointlabels": ["k"]}, id="3"),
            result({"vertices": [{"x": 1, "y": 2}, {"x": 3, "y": 4}], "closed": False, "vectorlabels": ["v"]}, id="4"),
        )
    )
    ellipse, polygon, point, line = shapes(index)
    assert max(x for x, _ in ellipse.points) == pytest.approx(120)
    assert polygon.points == ((2.0, 1.0), (4.0, 1.0), (4.0, 3.0))
    assert (point.type, point.points) == (ShapeType.POINTS, ((10, 6),))
    assert (line.type, line.points) == (ShapeType.LINE, ((2, 2), (6, 4)))


def pack(values: list[int]) -> list[int]:
    """The values as rle-pack writes them: one run of single values each, of 8 bits."""
    bits = f"{len(values):032b}{7:05b}" + f"{3:04b}" * 4
    at = 0
    while at < len(values):
        same = 1
        while same < 16 and at + same < len(values) and values[at + same] == values[at]:
            same += 1
        bits += f"100{same - 1:04b}{values[at]:08b}" if same > 1 else f"0000000{values[at]:08b}"
        at += same
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def test_the_alpha_of_a_brush_is_its_mask(tmp_path: Path) -> None:
    alpha = [0, 255, 255, 0, 128, 9]
    rle = pack([value for one in alpha for value in (7 if one == 9 else 0, 0, one and 255, one)])
    value = {"format": "rle", "rle": rle, "brushlabels": ["soil"]}
    (mask,) = shapes(read(write(tmp_path, {**result(value), "original_width": 3, "original_height": 2})))
    assert set(mask.points) == {(1, 0), (3, 0), (3, 2), (1, 2)}


def test_a_bitmask_is_a_png(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 4))
    image.paste((255, 0, 0, 255), (1, 1, 3, 3))
    content = io.BytesIO()
    image.save(content, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    (mask,) = shapes(read(write(tmp_path, result({"imageDataURL": address, "bitmasklabels": ["soil"]}))))
    assert set(mask.points) == {(1, 1), (3, 1), (3, 3), (1, 3)}


def test_results_of_one_id_are_one_region(tmp_path: Path) -> None:
    answers = [
        result({**BOX, "labels": ["house"]}, "labels"),
        result({**BOX, "choices": ["brick", "new"]}, "choices", from_name="material"),
        result({**BOX, "text": ["No. 7"]}, "textarea", from_name="plate"),
        result({**BOX, "rating": 4}, "rating", from_name="quality"),
        result({**BOX, "taxonomy": [["building", "home"]]}, "taxonomy", from_name="kind"),
    ]
    (house,) = shapes(read(write(tmp_path, result(BOX, "rectangle", meta={"text": ["old"]}), *answers)))
    assert house.label == "house"
    assert values(house) == {"material": ["brick", "new"], "plate": ["No. 7"], "kind": ["building/home"]}
    assert house.metadata == {"quality": 4, "description": "old"}


def test_each_label_of_a_region_is_a_shape(tmp_path: Path) -> None:
    found = shapes(read(write(tmp_path, labeled(rectanglelabels=["x", "y"]))))
    assert [one.label for one in found] == ["x", "y"]


def test_what_is_left_out_is_reported(tmp_path: Path) -> None:
    index = read(
        write(
            tmp_path,
            result({"choices": ["sunny"]}, "choices", id="c", from_name="weather"),
            {"type": "relation", "from_id": "r", "to_id": "c"},
            result({"start": 1, "end": 2, "text": "it", "labels": ["noun"]}, "labels", id="t"),
            result(BOX, "rectangle", id="n"),
            drafts=[{}],
            predictions=[{"result": []}],
        )
    )
    assert not shapes(index)
    for part in ("answers are for whole images", "relations", "regions are of texts", "no label", "drafts", "predic"):
        assert part in notes(index)


def annotated(folder: Path, found: dict[str, Any]) -> Path:
    """A task with an annotation for each label. `found`: label → more keys of its annotation."""
    annotations = [{"result": [labeled(rectanglelabels=[label])], **more} for label, more in found.items()]
    (folder / "tasks.json").write_text(json.dumps([{"data": {"image": "a.png"}, "annotations": annotations}]))
    return folder / "tasks.json"


@pytest.mark.parametrize(
    ("found", "label"),
    [
        ({"old": {"updated_at": "2024-01-01"}, "new": {"updated_at": "2024-01-02"}}, "new"),
        ({"new": {"updated_at": "2024-01-02"}, "old": {"updated_at": "2024-01-01"}}, "new"),
        ({"truth": {"ground_truth": True, "updated_at": "2023"}, "other": {"updated_at": "2024"}}, "truth"),
        ({"kept": {"updated_at": "2023"}, "skipped": {"was_cancelled": True, "updated_at": "2024"}}, "kept"),
    ],
    ids=["the last", "the first", "ground truth", "skipped"],
)
def test_one_annotation_of_a_task_counts(tmp_path: Path, found: dict[str, Any], label: str) -> None:
    index = read(annotated(tmp_path, found))
    assert [one.label for one in shapes(index)] == [label]
    assert "another annotator" in notes(index) or "skipped by their annotators" in notes(index)


def test_predictions_are_read_for_a_machine(tmp_path: Path) -> None:
    prediction = {"score": 0.7, "result": [labeled(rectanglelabels=["p"]), {**labeled(), "id": "s", "score": 0.25}]}
    source = write(tmp_path, labeled(rectanglelabels=["a"]), predictions=[prediction])
    index = read(source, kind=AnnotationKind.MACHINE)
    first, second = shapes(index)
    assert (first.label, first.confidence, first.metadata) == ("p", None, {"prediction_score": 0.7})
    assert (second.confidence, second.metadata) == (0.25, {})
    assert "annotations are of a person" in notes(index)
    assert [one.label for one in shapes(read(source))] == ["a"]


def test_json_min_has_an_entry_for_each_annotation(tmp_path: Path) -> None:
    size = {"original_width": 200, "original_height": 100}

    def entry(label: str, changed: str) -> dict[str, Any]:
        box = {**BOX, **size}
        answers = {"kind": [{**box, "choices": ["red"]}], "weather": "sunny"}
        labels = {"box": [box], "label": [{**box, "labels": [label]}]}
        about = {"annotator": 1, "annotation_id": 2, "updated_at": changed, "lead_time": 3}
        return {"image": "/data/upload/1/a.png", "id": 1, **labels, **answers, **about}

    (tmp_path / "min.json").write_text(json.dumps([entry("new", "2024-02"), entry("old", "2024-01")]))
    index = read(tmp_path / "min.json")
    (box,) = shapes(index)
    assert (box.label, box.points) == ("new", ((20, 20), (60, 40)))
    assert values(box) == {"kind": ["red"]}
    assert "another annotator" in notes(index)
    assert "neither the image nor its regions" in notes(index)


def test_a_task_of_several_images_is_an_entry_for_each(tmp_path: Path) -> None:
    data = {"sound": "x.mp3", "left": "a.png", "right": "b.png"}
    results = [{**labeled(), "to_name": "left"}, {**labeled(), "id": "s", "to_name": "right"}]
    index = read(write(tmp_path, *results, data=data), "a.png", "b.png")
    assert [len(shapes(index, name)) for name in ("a.png", "b.png")] == [1, 1]
    pages = write(tmp_path, {**labeled(), "item_index": 1}, data={"pages": ["a.png", "b.png"]})
    index = read(pages, "a.png", "b.png")
    assert [len(shapes(index, name)) for name in ("a.png", "b.png")] == [0, 1]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (7, "results are 7, not objects"),
        ({"id": "w"}, "results have no 'value'"),
        (result({**BOX, "x": "here", "rectanglelabels": ["x"]}, id="w"), "'here' is not a number"),
        (result({"points": [1], "polygonlabels": ["x"]}, id="w"), "1 is not a point"),
        (result({"rle": [1, 2], "brushlabels": ["x"]}, id="w"), "ends too early"),
        (result({"rle": "x", "brushlabels": ["x"]}, id="w"), "not a list of bytes"),
        (result({"rle": pack([0] * 8), "brushlabels": ["x"]}, id="w"), "another size"),
        (result({"rle": [1], "brushlabels": ["x"]}, id="w", original_width=10**9), "too large"),
        (result({"imageDataURL": "data:,x", "bitmasklabels": ["x"]}, id="w"), "does not hold an image"),
        (result({"imageDataURL": "data:;base64,%", "bitmasklabels": ["x"]}, id="w"), "not base64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_region_that_cannot_be_read_is_left_out_with_its_place(tmp_path: Path, wrong: Any, reason: str) -> None:
    index = read(write(tmp_path, wrong, labeled()))
    assert len(shapes(index)) == 1
    assert reason in notes(index)
    assert "tasks[0].result[0]" in notes(index)


def test_a_task_without_an_image_or_an_annotation_is_counted(tmp_path: Path) -> None:
    assert "tasks name no image" in notes(read(write(tmp_path, labeled(), data={"text": "x"})))
    assert "tasks have no annotation" in notes(read(write(tmp_path, annotations=[])))


def test_another_list_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text("[7]")
    assert "element 0 of the file is 7, not a task" in error(tmp_path / "tasks.json", format="label_studio")


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("a b.png", "a b.png"),
        ("/data/upload/3/a%20b.png", "a b.png"),
        ("s3://bucket/x/a.png", "a.png"),
        ("https://host/x/a.png?X-Amz-Date=7&b=c.jpg#z", "a.png"),
        ("/data/local-files/?d=x/a%20b.png", "a b.png"),
        ("C:\\data\\a.png", "a.png"),
        ("a#1?.png", "a#1?.png"),
    ],
)
def test_names_of_images_in_addresses(address: str, plain: str) -> None:
    assert image_names(address).plain == plain
    assert looks_like_image(address)


def test_the_prefix_of_an_upload_is_not_part_of_the_name_where_no_image_has_it(tmp_path: Path) -> None:
    source = write(tmp_path, labeled(), data={"image": "/data/upload/1/0a1b2c3d-a.png"})
    assert list(read(source, "a.png").images()) == ["a.png"]
    assert list(read(source, "a.png", "0a1b2c3d-a.png").images()) == ["0a1b2c3d-a.png"]


def test_written_tasks_are_read_back(tmp_path: Path) -> None:
    shared = {"description": "old", "quality": 4}
    color = {"color": (AttributeValue("red"), AttributeValue("blue"))}
    people = (
        Shape(ShapeType.RECTANGLE, ((20.0, 10.0), (60.0, 40.0)), "box", None, shared, color),
        Shape(ShapeType.POLYGON, ((10.0, 10.0), (50.0, 10.0), (10.0, 50.0)), "area"),
        Shape(ShapeType.LINE, ((10.0, 10.0), (50.0, 20.0)), "rail"),
        Shape(ShapeType.POINTS, ((10.0, 20.0),), "dot"),
    )
    machine = (Shape(ShapeType.RECTANGLE, ((20.0, 10.0), (60.0, 40.0)), "box", 0.5),)
    records = [ImageRecord("a.png", people), ImageRecord("b.png", machine)]
    assert not write_records(records, "label_studio", tmp_path, lambda _: (200, 100)).losses
    read_by_people = shapes(read(tmp_path / "tasks.json", "a.png", "b.png"))
    assert [(one.type, one.label, one.metadata, one.attributes) for one in read_by_people] == [
        (one.type, one.label, one.metadata, one.attributes) for one in people
    ]
    assert [one.points for one in read_by_people] == [tuple(map(pytest.approx, one.points)) for one in people]
    (box,) = shapes(read(tmp_path / "tasks.json", "a.png", "b.png", kind=AnnotationKind.MACHINE), "b.png")
    assert box.confidence == 0.5


def test_what_tasks_cannot_hold_is_counted(tmp_path: Path) -> None:
    points = Shape(ShapeType.POINTS, ((1.0, 2.0), (3.0, 4.0)), "x")
    box = Shape(ShapeType.RECTANGLE, ((1.0, 2.0), (3.0, 4.0)), "x", None, {"occluded": True, "list": [1]})
    report = write_records([ImageRecord("a.png", (points, box))], "label_studio", tmp_path, lambda _: (200, 100))
    assert report.losses == {
        "shapes of several points; they are left out": 1,
        "metadata values that are written as attributes": 1,
        "metadata values that the format can't hold": 1,
    }
    assert values(shapes(read(tmp_path / "tasks.json"))[0]) == {"occluded": ["true"]}
