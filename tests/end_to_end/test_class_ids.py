"""The class ids of downloads: one order for every download, format and run of a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from metalake_sync.errors import ExitCode
from tests.embedded_lake.talk import png
from tests.end_to_end.world import World

CELLS: Mapping[str, Sequence[str]] = {
    "smear1.png": ["WBC", "RBC"],
    "smear2.png": ["Platelets"],
    "smear3.png": ["RBC", "RBC"],
    "smear4.png": ["WBC"],
}
PARTS = {"train": "smear3.png", "val": "smear2.png", "test": "smear4.png"}


def draw(world: World, labels: Mapping[str, Sequence[str]], operation: str = "experts") -> None:
    """Send one box for each label, as the annotations of another client."""
    images = [
        {
            "image": image,
            "annotations": [
                {"type": "rectangle", "bbox": [2 * number, 3, 8, 6], "label": label}
                for number, label in enumerate(names)
            ],
        }
        for image, names in labels.items()
    ]
    world.write("drawn.json", {"images": images})
    world.good(
        *("annotations", "upload", "drawn.json", "--operation", operation, "--kind", "human", "--collection", "blood")
    )


@pytest.fixture
def blood(world: World) -> World:
    """A lake with four images, each of which has another set of labels. Their metadata names a part."""
    session = world.talk.upload({name: png(salt=name.encode()) for name in CELLS}, "blood")
    parts = [{"file": image, "metadata": {"part": part}} for part, image in PARTS.items()]
    world.talk.asked(
        "/api/client/metadata/uploadMetadataByJson", {"metadata": parts, "collectionId": session.collection_id}
    )
    draw(world, CELLS)
    return world


def block(part: str, form: str, **annotations: Any) -> dict[str, Any]:
    return {
        "collection": "blood",
        "to": f"{form}/{part}",
        "naming": "name",
        "query": f"metadata.part={part}",
        "annotations": {"format": form, **annotations},
    }


def ids_in(folder: Path) -> dict[str, int]:
    """The class id of each label, counted from 0."""
    if (folder / "data.yaml").exists():
        names = yaml.safe_load((folder / "data.yaml").read_text())["names"]
        assert (folder / "classes.txt").read_text().splitlines() == names
        return {name: number for number, name in enumerate(names)}
    categories = json.loads((folder / "annotations.json").read_text())["categories"]
    return {category["name"]: category["id"] - 1 for category in categories}


FOLDERS = [f"{form}/{part}" for form in ("yolo", "coco") for part in PARTS]


def all_ids(world: World, folders: Sequence[str] = FOLDERS) -> list[dict[str, int]]:
    found = [ids_in(world.folder / folder) for folder in folders]
    return [one for number, one in enumerate(found) if one not in found[:number]]


def blocks(**annotations: Any) -> list[dict[str, Any]]:
    return [block(part, form, **annotations) for form in ("yolo", "coco") for part in PARTS]


def warnings(world: World) -> list[tuple[str, str]]:
    document = world.good("plan", "manifest.yaml", "--json").document
    return [(warning["code"], warning["message"]) for warning in document["warnings"]]


def test_three_downloads_in_two_formats_and_two_runs_have_one_class_order(blood: World) -> None:
    order = {"Platelets": 0, "RBC": 1, "WBC": 2}
    blood.manifest(downloads=blocks())
    blood.good("apply", "manifest.yaml")
    assert all_ids(blood) == [order]
    assert (blood.folder / "yolo/val/smear2.txt").read_text().split()[0] == "0"
    # Another manifest with one of the blocks, and a changed query, still have the same ids.
    only = {**block("val", "coco"), "to": "alone", "query": "annotation.label=WBC"}
    blood.manifest(downloads=[only])
    blood.good("apply", "manifest.yaml")
    blood.manifest(downloads=[*blocks()[1:], {**blocks()[0], "query": "annotation.label=Platelets"}])
    assert [code for code, _ in warnings(blood)] == ["stale_downloads"]
    blood.good("apply", "manifest.yaml")
    assert all_ids(blood, [*FOLDERS, "alone"]) == [order]


def test_a_new_label_that_moves_ids_is_named_once_and_the_files_of_all_downloads_are_rewritten(blood: World) -> None:
    blood.manifest(downloads=blocks())
    blood.good("apply", "manifest.yaml")
    assert warnings(blood) == []
    draw(blood, {"smear1.png": ["Eosinophil"]}, "more")
    ((code, message),) = warnings(blood)
    assert code == "class_ids_changed"
    assert message.startswith("in 'yolo/train', 'yolo/val', 'yolo/test', 'coco/train', 'coco/val', … ")
    assert "3 classes get other ids (new: 'Eosinophil'): 'Platelets' 0 → 1, 'RBC' 1 → 2, 'WBC' 2 → 3." in message
    blood.good("apply", "manifest.yaml")
    assert all_ids(blood) == [{"Eosinophil": 0, "Platelets": 1, "RBC": 2, "WBC": 3}]
    assert (blood.folder / "yolo/val/smear2.txt").read_text().split()[0] == "1"
    assert warnings(blood) == []


def test_a_new_label_at_the_end_moves_no_id(blood: World) -> None:
    blood.manifest(downloads=blocks())
    blood.good("apply", "manifest.yaml")
    draw(blood, {"smear1.png": ["Yeast"]}, "more")
    assert warnings(blood) == []
    blood.good("apply", "manifest.yaml")
    assert all_ids(blood) == [{"Platelets": 0, "RBC": 1, "WBC": 2, "Yeast": 3}]


def test_listed_classes_fix_the_ids_of_all_downloads(blood: World) -> None:
    listed = ["RBC", "WBC", "Platelets", "Parasite"]
    first, *others = blocks()
    first["annotations"]["classes"] = listed
    blood.manifest(downloads=[first, *others])
    blood.good("apply", "manifest.yaml")
    assert all_ids(blood) == [{"RBC": 0, "WBC": 1, "Platelets": 2, "Parasite": 3}]
    draw(blood, {"smear1.png": ["Parasite"]}, "more")
    assert warnings(blood) == []


def test_a_label_that_is_not_listed_stops_its_download_alone(blood: World) -> None:
    blood.manifest(downloads=blocks(classes=["RBC", "Platelets"]))
    ((code, message), other) = [
        (one["code"], one["message"]) for one in blood.run("plan", "manifest.yaml", "--json").document["warnings"]
    ]
    assert (code, other[1]) == ("labels_not_in_classes", message)
    assert message.startswith("nothing is downloaded: 1 label is not among 'classes': 'WBC'. Add them to 'classes'")
    done = blood.run("apply", "manifest.yaml")
    assert done.code == ExitCode.SOME_FAILED
    assert not (blood.folder / "yolo" / "test").exists()
    assert all_ids(blood, ["yolo/train", "coco/train", "yolo/val", "coco/val"]) == [{"RBC": 0, "Platelets": 1}]
    assert blood.run("pull", "manifest.yaml").code == ExitCode.SOME_FAILED
    blood.manifest(downloads=blocks(classes=["RBC", "Platelets", "WBC"]))
    blood.good("pull", "manifest.yaml")
    assert all_ids(blood) == [{"RBC": 0, "Platelets": 1, "WBC": 2}]


def test_a_label_that_arrives_after_the_plan_fails_its_download_in_the_run(world: World) -> None:
    world.images("smear9.png")
    shapes = [{"type": "rectangle", "bbox": [1, 1, 5, 5], "label": "Yeast"}]
    world.write("own.json", {"images": [{"image": "smear9.png", "annotations": shapes}]})
    source = {"operation": "own", "kind": "human", "source": "own.json"}
    collection = {"name": "blood", "type": "image", "folders": [{"path": "images"}], "annotations": [source]}
    world.manifest(
        collection,
        downloads=[{"collection": "blood", "to": "out", "annotations": {"format": "coco", "classes": ["RBC"]}}],
    )
    done = world.run("apply", "manifest.yaml")
    assert done.code == ExitCode.SOME_FAILED
    assert "1 label is not among 'classes': 'Yeast'" in done.err + done.out
    assert not (world.folder / "out" / "annotations.json").exists()


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_different_lists_leave_the_ids_of_a_download_without_a_list_unknown(blood: World, command: str) -> None:
    first, second, third, *_ = blocks()
    first["annotations"]["classes"] = ["RBC", "WBC", "Platelets"]
    second["annotations"]["classes"] = ["WBC", "RBC", "Platelets"]
    blood.manifest(downloads=[first, second, third])
    done = blood.run(command, "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert "other downloads list different 'classes'" in done.err
    blood.manifest(downloads=[first, second])
    blood.good("apply", "manifest.yaml")
    assert ids_in(blood.folder / "yolo/val") == {"WBC": 0, "RBC": 1, "Platelets": 2}


def test_a_label_that_is_listed_twice_is_an_error_with_its_line(blood: World) -> None:
    blood.manifest(downloads=blocks(classes=["RBC", "WBC", "RBC"])[:1])
    done = blood.run("validate", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert "'classes' names 'RBC' twice. Keep one of them" in done.err
