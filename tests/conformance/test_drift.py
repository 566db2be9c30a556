"""The vendor's client causes drift in a lake that a manifest manages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metalake_sync.embedded_lake import EmbeddedLake
from tests.conformance.test_vendor_client import annotation_file, rectangle, write_json
from tests.conformance.vendor import VendorClient
from tests.embedded_lake.talk import png, talk_to
from tests.end_to_end.world import BIRDS, World, boxes

# Where the lake keeps its objects makes no difference to drift.
pytestmark = [pytest.mark.vendor, pytest.mark.parametrize("storage", [None], ids=["file"])]

KEPT: dict[str, Any] = {
    **BIRDS,
    "prune": True,
    "metadata": {"City": "Rome", "Tags": ["ours"]},
    "annotations": [{"operation": "people", "kind": "human", "source": "people.json"}],
}


@pytest.fixture
def kept(lake: EmbeddedLake, tmp_path: Path) -> Any:
    """An applied manifest with `prune` and four images."""
    folder = tmp_path / "project"
    folder.mkdir()
    with talk_to(lake.url) as talk:
        world = World(folder, lake, talk)
        world.images("crow.png", "gull.png", "jay.png", "wren.png")
        world.write("people.json", boxes(crow_png=[[1, 1, 5, 5]], gull_png=[[2, 2, 4, 4]]))
        world.manifest(KEPT)
        world.good("apply", "manifest.yaml")
        yield world


def test_drift_by_another_client_is_found_and_corrected(kept: World, vendor: VendorClient, tmp_path: Path) -> None:
    collection = vendor("get_collection_id_by_name", "birds", "image")
    # The other client uploads its own images, edits tags, and replaces our boxes.
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "owl.png").write_bytes(png(salt=b"owl"))
    his = vendor("upload_files_to_collection", str(theirs), "image", "birds")
    assert vendor("wait_for_job_complete", his["job_id"])["is_success"] is True
    edits = [
        {"file": "crow.png", "metadata": {"Tags": ["his"], "City": "Paris"}},
        {"file": "gull.png", "metadata": {"Tags": ["ours", "his"]}},
    ]
    document = write_json(tmp_path / "edits.json", {"files": edits})
    vendor("upload_metadata_for_files", "birds", "image", document)
    drawn = annotation_file(tmp_path, {"gull.png": [rectangle("cat", 9, 9, 3, 3)]})
    vendor("upload_annotations_for_collection", "birds", "people", drawn, False, False)
    other = annotation_file(tmp_path, {"jay.png": [rectangle("cat", 1, 1, 2, 2)]}, "his.json")
    vendor("upload_annotations_for_collection", "birds", "his_own", other, False, False)
    vendor("trash_objects_from_collection", collection, "metadata.City=Rome", {"annotation_types": ["raw"]})
    trashed = {"jay.png", "wren.png"} - set(kept.names())
    assert trashed, "the other client trashed one of our files"

    drift = kept.run("drift", "--json", "--detailed-exitcode", "manifest.yaml")
    assert drift.code == 2
    found = {(action["action"], action["file"]) for action in drift.document["actions"]}
    assert found >= {("update_metadata", "crow.png"), ("annotate", "gull.png"), *(("upload", x) for x in trashed)}
    # A list shows missing files. Only a full refresh shows edited metadata and annotations.
    listed = kept.good("plan", "--json", "manifest.yaml").document["actions"]
    assert {action["reason"] for action in listed} == {"missing_in_lake"}

    kept.good("apply", "--refresh", "full", "--auto-approve", "manifest.yaml")
    assert kept.names() == ["crow.png", "gull.png", "jay.png", "owl.png", "wren.png"]
    wanted = {"Tags": True, "City": True}
    crow = vendor("get_file_details", "birds_crow.png", wanted)
    assert (set(crow["Tags"]), crow["City"]) == ({"his", "ours"}, "Rome")
    assert set(vendor("get_file_details", "birds_gull.png", wanted)["Tags"]) == {"ours", "his"}
    (gull,) = kept.talk.annotations(collection, operationIdList='["people"]')["gull.png"]
    assert (gull["label"], gull["bbox"]) == ("bird", [2, 2, 4, 4])
    assert kept.good("plan", "--json", "--refresh", "full", "manifest.yaml").document["actions"] == []


def test_pruning_keeps_files_of_another_client(kept: World, vendor: VendorClient, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "owl.png").write_bytes(png(salt=b"owl"))
    his = vendor("upload_files_to_collection", str(theirs), "image", "birds")
    assert vendor("wait_for_job_complete", his["job_id"])["is_success"] is True
    (kept.folder / "images/wren.png").unlink()
    kept.good("apply", "--auto-approve", "manifest.yaml")
    assert kept.names() == ["crow.png", "gull.png", "jay.png", "owl.png"]
