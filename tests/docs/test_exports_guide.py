"""The guide to exports: its manifests run, and write what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.embedded_lake.talk import png
from tests.end_to_end.world import World

PAGE = (Path(__file__).parents[2] / "docs/guides/exports.md").read_text()
MANIFESTS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
LABELS = ("RBC", "WBC", "Platelets")


@pytest.fixture
def cells(world: World) -> World:
    names = [f"{number}.png" for number in range(20)]
    session = world.talk.upload({name: png(salt=name.encode()) for name in names}, "cells")
    described = [
        {
            "file": name,
            "metadata": {
                "Part": "train" if number % 4 else "validation",
                "Stain": "Giemsa",
                "Tags": ["night" if number % 2 else "day"],
            },
        }
        for number, name in enumerate(names)
    ]
    world.talk.asked(
        "/api/client/metadata/uploadMetadataByJson", {"metadata": described, "collectionId": session.collection_id}
    )
    images = [
        {"image": name, "annotations": [{"type": "rectangle", "bbox": [1, 2, 3, 4], "label": LABELS[number % 3]}]}
        for number, name in enumerate(names)
    ]
    world.write("drawn.json", {"images": images})
    command = ("annotations", "upload", "drawn.json", "--operation", "op", "--kind", "human", "--collection", "cells")
    world.good(*command)
    return world


def apply(world: World, text: str) -> Path:
    """Apply a manifest of the page to the lake of the test, twice."""
    document = yaml.safe_load(text)
    world.manifest(downloads=document["downloads"])
    world.good("apply", "manifest.yaml")
    assert "Nothing to do" in world.good("plan", "manifest.yaml").out
    return world.folder


def test_the_page_has_three_manifests() -> None:
    assert len(MANIFESTS) == 3


def test_yolo_with_splits_is_as_the_page_shows_it(cells: World) -> None:
    folder = apply(cells, MANIFESTS[0]) / "data"
    assert sorted(path.name for path in folder.iterdir()) == ["data.yaml", "test", "train", "val"]
    data = yaml.safe_load((folder / "data.yaml").read_text())
    shown = re.search(r"data\.yaml +(.*)\n", PAGE)
    assert shown is not None
    assert data == yaml.safe_load(f"{{{shown[1]}}}")
    for split in ("train", "val", "test"):
        images = {path.stem for path in (folder / split).glob("*.png")}
        assert images == {path.stem for path in (folder / split).glob("*.txt")} - {"classes"}


def test_coco_by_a_field_has_metadata_that_can_be_sent_again(cells: World) -> None:
    folder = apply(cells, MANIFESTS[1]) / "coco"
    for split, value in (("train", "train"), ("val", "validation")):
        names = {path.name for path in (folder / split).iterdir()}
        assert {"annotations.json", "metadata.json"} < names
        entries = json.loads((folder / split / "metadata.json").read_text())["files"]
        assert {entry["metadata"]["Part"] for entry in entries} == {value}
        assert {entry["metadata"]["Stain"] for entry in entries} == {"Giemsa"}
        categories = json.loads((folder / split / "annotations.json").read_text())["categories"]
        assert {one["name"]: one["id"] for one in categories} == {"Platelets": 1, "RBC": 2, "WBC": 3}


def test_folders_of_queries_have_equal_class_ids(cells: World) -> None:
    folder = apply(cells, MANIFESTS[2])
    lists = {(folder / name / "classes.txt").read_text() for name in ("night/yolo", "day/yolo")}
    assert lists == {"Platelets\nRBC\nWBC\n"}
    assert len(list((folder / "day/coco").glob("*.png"))) == 10
