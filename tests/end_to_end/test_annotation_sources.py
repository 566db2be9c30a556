"""Annotation sources: every format has the same result in the lake, and only changes are sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.errors import ExitCode
from tests.end_to_end.world import BIRDS, World

IMAGES = ("crow.png", "gull.png", "jay.png")
BOXES: dict[str, list[tuple[str, list[float]]]] = {
    "crow.png": [("crow", [1, 2, 30, 4]), ("beak", [10, 10, 0, 5])],
    "gull.png": [("gull", [5, 5, 10, 10]), ("beak", [8, 6, 2, 2])],
}
"""Boxes of pictures of 40 x 20 pixels; one of them has no width."""


def write_metalake(folder: Path) -> str:
    images = [
        {"image": image, "annotations": [{"type": "rectangle", "bbox": box, "label": label} for label, box in boxes]}
        for image, boxes in BOXES.items()
    ]
    (folder / "boxes.json").write_text(json.dumps({"images": images}))
    return "boxes.json"


def write_coco(folder: Path) -> str:
    labels = ["beak", "crow", "gull"]
    document: dict[str, Any] = {
        "images": [{"id": number, "file_name": image} for number, image in enumerate(BOXES)],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels)],
        "annotations": [
            {"id": number * 10 + at, "image_id": number, "category_id": labels.index(label), "bbox": box}
            for number, boxes in enumerate(BOXES.values())
            for at, (label, box) in enumerate(boxes)
        ],
    }
    (folder / "coco.json").write_text(json.dumps(document))
    return "coco.json"


def write_yolo(folder: Path) -> str:
    labels = ["beak", "crow", "gull"]
    (folder / "yolo").mkdir()
    (folder / "yolo" / "classes.txt").write_text("\n".join(labels))
    for image, boxes in BOXES.items():
        lines = [
            f"{labels.index(label)} {(x + w / 2) / 40} {(y + h / 2) / 20} {w / 40} {h / 20}"
            for label, (x, y, w, h) in boxes
        ]
        (folder / "yolo" / f"{Path(image).stem}.txt").write_text("\n".join(lines))
    return "yolo"


def write_voc(folder: Path) -> str:
    (folder / "voc").mkdir()
    for image, boxes in BOXES.items():
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
            f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for label, (x, y, w, h) in boxes
        )
        text = f"<annotation><filename>{image}</filename>{objects}</annotation>"
        (folder / "voc" / f"{Path(image).stem}.xml").write_text(text)
    return "voc"


WRITERS = {"metalake": write_metalake, "coco": write_coco, "yolo": write_yolo, "voc": write_voc}


def manifest(world: World, source: str, **more: Any) -> None:
    block = {"operation": "op", "kind": "human", "source": source, **more}
    world.manifest({"name": "birds", "type": "image", "folders": [{"path": "images"}], "annotations": [block]})


def in_lake(world: World) -> dict[str, list[Any]]:
    sets = world.talk.annotations(world.collection_id())
    return {
        image: sorted((one["label"], [round(part, 6) for part in one["bbox"]]) for one in shapes)
        for image, shapes in sets.items()
    }


@pytest.fixture
def aviary(world: World) -> World:
    world.images(*IMAGES)
    return world


@pytest.mark.parametrize("format_name", WRITERS)
def test_every_format_has_the_same_result_and_a_box_without_size_is_reported(aviary: World, format_name: str) -> None:
    manifest(aviary, WRITERS[format_name](aviary.folder))
    applied = aviary.good("apply", "manifest.yaml", "--json")
    assert in_lake(aviary) == {
        "crow.png": [("crow", [1, 2, 30, 4])],
        "gull.png": [("beak", [8, 6, 2, 2]), ("gull", [5, 5, 10, 10])],
        "jay.png": [],
    }
    (skipped,) = [one for one in applied.events[0]["plan"]["warnings"] if one["code"] == "shape_skipped"]
    assert (skipped["where"], "'beak' has no size" in skipped["message"]) == ("crow.png", True)
    assert aviary.good("apply", "manifest.yaml", "--json").summary["writes"] == 0


def test_one_moved_box_sends_one_image(aviary: World) -> None:
    manifest(aviary, write_coco(aviary.folder))
    aviary.good("apply", "manifest.yaml")
    document = json.loads((aviary.folder / "coco.json").read_text())
    document["annotations"][2]["bbox"][0] += 1
    aviary.write("coco.json", document)
    (action,) = aviary.good("plan", "manifest.yaml", "--json").document["actions"]
    assert (action["action"], action["file"], action["reason"]) == ("annotate", "gull.png", "annotations_changed")
    assert aviary.good("apply", "manifest.yaml", "--json").summary["done"]["annotate"] == 1
    assert in_lake(aviary)["gull.png"] == [("beak", [8, 6, 2, 2]), ("gull", [6, 5, 10, 10])]


def test_an_operation_removed_from_the_manifest_is_cleared_only_after_approval(aviary: World) -> None:
    manifest(aviary, write_voc(aviary.folder))
    aviary.good("apply", "manifest.yaml")
    aviary.manifest({"name": "birds", "type": "image", "folders": [{"path": "images"}]})
    assert aviary.good("plan", "manifest.yaml", "--json").document["summary"]["remove_annotations"] == 2
    assert aviary.run("apply", "manifest.yaml").code not in (0, ExitCode.SOME_FAILED)
    assert sum(map(len, in_lake(aviary).values())) == 3
    aviary.good("apply", "manifest.yaml", "--auto-approve")
    assert sum(map(len, in_lake(aviary).values())) == 0


def test_invalid_entries_can_be_errors_and_are_reported_with_their_location(aviary: World) -> None:
    manifest(aviary, write_coco(aviary.folder), invalid={"zero_size": "fail"})
    done = aviary.run("plan", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert "coco.json: annotations[1]: crow.png: rectangle 'beak' has no size" in done.err


def test_the_same_image_in_two_blocks_is_an_error_that_names_both(aviary: World) -> None:
    blocks = [
        {"operation": "op", "kind": "human", "source": source}
        for source in (write_metalake(aviary.folder), write_voc(aviary.folder))
    ]
    aviary.manifest({**BIRDS, "annotations": blocks})
    done = aviary.run("plan", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert "'crow.png' has two entries for 'op': boxes.json: images[0] and voc/crow.xml" in done.err


@pytest.mark.parametrize("typo", ["gul", "GULL"])
def test_a_label_that_is_new_in_the_lake_is_in_the_plan(aviary: World, typo: str) -> None:
    manifest(aviary, write_metalake(aviary.folder))
    aviary.good("apply", "manifest.yaml")
    document = json.loads((aviary.folder / "boxes.json").read_text())
    document["images"][1]["annotations"][0]["label"] = typo
    aviary.write("boxes.json", document)
    notes = aviary.good("plan", "manifest.yaml", "--json").document["warnings"]
    (new,) = [note["message"] for note in notes if note["code"] == "new_label"]
    assert f"'{typo}'" in new
    assert "did you mean 'gull'" in new
    manifest(aviary, "boxes.json", labels={"map": {typo: "gull"}})
    codes = [note["code"] for note in aviary.good("plan", "manifest.yaml", "--json").document["warnings"]]
    assert "new_label" not in codes


def test_with_strict_entries_without_a_file_are_errors(aviary: World) -> None:
    source = write_metalake(aviary.folder)
    (aviary.folder / "images" / "gull.png").unlink()
    manifest(aviary, source)
    notes = aviary.good("plan", "manifest.yaml", "--json").document["warnings"]
    assert [note for note in notes if note["code"] == "annotation_without_file" and "gull.png" in note["message"]]
    manifest(aviary, source, strict=True)
    done = aviary.run("plan", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert "gull.png" in done.err


def test_two_operations_on_one_collection_are_independent(aviary: World) -> None:
    blocks = [
        {"operation": "people", "kind": "human", "source": write_metalake(aviary.folder)},
        {"operation": "model", "kind": "machine", "source": write_yolo(aviary.folder)},
    ]
    aviary.manifest({"name": "birds", "type": "image", "folders": [{"path": "images"}], "annotations": blocks})
    assert aviary.good("apply", "manifest.yaml", "--json").summary["done"]["annotate"] == 4
    (aviary.folder / "yolo" / "gull.txt").write_text("2 0.5 0.5 0.25 0.5\n")
    (action,) = aviary.good("plan", "manifest.yaml", "--json").document["actions"]
    assert (action["file"], action["operation"]) == ("gull.png", "model")


def test_a_source_that_lost_all_its_shapes_stops_the_run(aviary: World) -> None:
    source = write_metalake(aviary.folder)
    manifest(aviary, source)
    aviary.good("apply", "manifest.yaml")
    manifest(aviary, source, labels={"allow": ["birdd"]})
    done = aviary.run("apply", "manifest.yaml", "--auto-approve")
    assert (done.code, "does not have an entry with a shape any more" in done.err) == (7, True)
    manifest(aviary, source)
    aviary.write(source, {"images": [{"image": image, "annotations": []} for image in BOXES]})
    assert aviary.run("apply", "manifest.yaml").code == 7
    assert sum(map(len, in_lake(aviary).values())) == 3


def test_five_files_without_an_entry_are_named_and_all_with_verbose(aviary: World) -> None:
    more = [f"more{number}.png" for number in range(6)]
    aviary.images(*more)
    source = write_metalake(aviary.folder)
    manifest(aviary, source)
    (brief,) = [
        note["message"]
        for note in aviary.good("plan", "manifest.yaml", "--json").document["warnings"]
        if note["code"] == "file_without_annotation"
    ]
    assert brief == (
        "7 files of the collection have no entry in the source: jay.png, more0.png, more1.png, more2.png, more3.png, …"
    )
    assert brief in aviary.good("plan", "manifest.yaml").out
    assert ", ".join(["jay.png", *more]) in aviary.good("plan", "manifest.yaml", "-v").out
    manifest(aviary, source, strict=True)
    assert brief in aviary.run("plan", "manifest.yaml").err


def test_entries_without_a_file_are_all_named_with_verbose(aviary: World) -> None:
    gone = [f"gone{number}.png" for number in range(7)]
    images = [{"image": image, "annotations": []} for image in [*BOXES, *gone]]
    aviary.write("boxes.json", {"images": images})
    manifest(aviary, "boxes.json")
    assert ", ".join(gone[:5]) + ", …" in aviary.good("validate", "manifest.yaml").out
    assert ", ".join(gone) in aviary.good("validate", "manifest.yaml", "-v").out
