"""The vendor's client edits an annotation set of a manifest. `on_drift` decides: ask, merge or keep."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.conformance.test_vendor_client import annotation_file, download, rectangle
from tests.conformance.vendor import VendorClient, VendorProcess
from tests.embedded_lake.talk import API_KEY, SECRET
from tests.end_to_end.test_edits_of_others import (
    CROW,
    FIRST,
    GULL,
    MOVED,
    actions,
    apply,
    codes,
    converged,
    manifest,
    moved,
    plan,
    shape_changes,
)
from tests.end_to_end.world import World, boxes

pytestmark = pytest.mark.vendor

OURS = [[2, 1, 8, 8], [20, 10, 6, 6]]
THEIRS = [[1, 1, 8, 8], [20, 12, 6, 6]]
BOTH = [[2, 1, 8, 8], [20, 12, 6, 6]]


@pytest.fixture
def vendor(world: World, vendor_process: VendorProcess) -> VendorClient:
    """The vendor's client, connected to the lake of `world`."""
    folder = world.folder / "vendor"
    folder.mkdir()
    return VendorClient(vendor_process, world.lake.url, API_KEY, SECRET, folder)


@pytest.fixture
def edited(world: World, vendor: VendorClient) -> World:
    """Two images with boxes of ours. The vendor's client moves the second box of the crow, the source its first box."""
    world.images(CROW, GULL)
    first = {name: FIRST[name] for name in ("crow_png", "gull_png")}
    world.write("boxes.json", boxes(**first))
    manifest(world)
    world.good("apply", "manifest.yaml")
    edit = annotation_file(vendor.folder, {CROW: [rectangle("bird", *box) for box in THEIRS]})
    vendor("upload_annotations_for_collection", "birds", "people", edit, False, False)
    assert in_lake(world, vendor) == THEIRS
    world.write("boxes.json", boxes(**{**first, "crow_png": MOVED["crow_png"]}))
    return world


def in_lake(world: World, vendor: VendorClient) -> list[Sequence[float]]:
    """The boxes of the crow as the vendor's client downloads them, sorted."""
    shapes = download(vendor, world.collection_id(), is_media_include=False)[1][CROW]
    assert {shape["label"] for shape in shapes} == {"bird"}
    return sorted(shape["bbox"] for shape in shapes)


def test_ask_shows_both_edits_and_stops(edited: World, vendor: VendorClient) -> None:
    found = shape_changes(edited)
    assert sorted(moved(found)) == [([1, 1, 8, 8], [2, 1, 8, 8]), ([20, 12, 6, 6], [20, 10, 6, 6])]
    assert moved(found["by_others"]) == [([20, 10, 6, 6], [20, 12, 6, 6])]
    assert apply(edited).code == 7
    assert in_lake(edited, vendor) == THEIRS
    assert apply(edited, "--auto-approve").code == 0
    assert in_lake(edited, vendor) == OURS
    assert converged(edited)


def test_merge_ends_with_both_edits(edited: World, vendor: VendorClient) -> None:
    manifest(edited, on_drift="merge")
    assert actions(edited) == [("annotate", CROW, False)]
    assert apply(edited).code == 0
    assert in_lake(edited, vendor) == BOTH
    assert converged(edited)


def test_keep_leaves_their_edit_and_says_so_once(edited: World, vendor: VendorClient) -> None:
    manifest(edited, on_drift="keep")
    (note,) = plan(edited)["warnings"]
    assert (note["code"], CROW in note["message"] + note["where"]) == ("change_kept", True)
    assert actions(edited) == []
    assert apply(edited).code == 0
    assert in_lake(edited, vendor) == THEIRS
    assert codes(edited) == []
    assert converged(edited)
