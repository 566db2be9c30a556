"""The vendor's client reads what `apply` uploaded, and `plan` finds what the vendor's client uploaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.test_vendor_client import download, upload
from tests.conformance.vendor import VendorClient, VendorProcess
from tests.embedded_lake.talk import API_KEY, SECRET
from tests.end_to_end.world import BIRDS, World

pytestmark = pytest.mark.vendor

QUICKSTART = Path(__file__).parents[2] / "examples/quickstart"


@pytest.fixture
def other_client(world: World, vendor_process: VendorProcess, tmp_path: Path) -> VendorClient:
    """The vendor's client, connected to the lake of `world`."""
    folder = tmp_path / "other_client"
    folder.mkdir()
    return VendorClient(vendor_process, world.lake.url, API_KEY, SECRET, folder)


@pytest.fixture
def images(world: World) -> World:
    """The quickstart's images with their metadata and annotations, and a manifest for a served lake."""
    shutil.copytree(QUICKSTART / "pictures", world.folder / "images")
    for name in ("metadata.json", "annotations.json"):
        shutil.copy(QUICKSTART / name, world.folder)
    world.manifest(
        {
            **BIRDS,
            "metadata": {"City": "Rome", "Tags": ["#shapes"]},
            "file_metadata": ["metadata.json"],
            "annotations": [{"operation": "people", "kind": "human", "source": "annotations.json"}],
        }
    )
    return world


def by_image(document: dict[str, Any]) -> dict[str, list[Any]]:
    """Return image → type, numbers and label of each shape."""
    keys = {"rectangle": "bbox", "polygon": "polygon", "line": "line", "points": "points"}
    return {
        image["image"]: [(shape["type"], shape[keys[shape["type"]]], shape["label"]) for shape in image["annotations"]]
        for image in document["images"]
    }


def test_the_vendors_client_downloads_what_apply_uploaded(images: World, other_client: VendorClient) -> None:
    images.good("apply", "manifest.yaml")
    files, annotations = download(other_client, images.collection_id())
    local = {f"birds_{path.name}": path.read_bytes() for path in (images.folder / "images").rglob("*.*g")}
    assert len(local) == 24
    assert files == local
    drawn = by_image(json.loads((images.folder / "annotations.json").read_text()))
    read_back = [{"image": image, "annotations": shapes} for image, shapes in annotations.items()]
    assert by_image({"images": read_back}) == drawn
    entries = json.loads((images.folder / "metadata.json").read_text())["files"]
    for entry in entries:
        wanted = {**entry["metadata"], "City": "Rome", "Tags": ["#shapes", *entry["metadata"].get("Tags", [])]}
        details = other_client("get_file_details", f"birds_{entry['file']}", dict.fromkeys(wanted, True))
        assert {name: details[name] for name in wanted} == wanted


def test_files_that_the_vendors_client_uploaded_are_adopted(images: World, other_client: VendorClient) -> None:
    flat = other_client.folder / "flat"
    flat.mkdir()
    for path in (images.folder / "images").rglob("*.*g"):
        shutil.copy(path, flat)
    upload(other_client, flat)
    images.manifest(BIRDS)
    summary = images.good("plan", "--json", "manifest.yaml").document["summary"]
    assert (summary["adopt"], summary["upload"], summary["bytes_to_send"]) == (24, 0, 0)
    images.lake.requests.clear()
    images.good("apply", "manifest.yaml")
    assert images.lake.requests.writes == 0
    assert "Nothing to do: 24 unchanged." in images.good("plan", "manifest.yaml").out
