"""What only the vendor's client of generation 3 does: renames, virtual collections, filters, and its defects."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.protocol.routes import Generation
from tests.conformance.folders import IMAGES, write_folder
from tests.conformance.test_vendor_client import annotation_file, download, rectangle, upload, write_json
from tests.conformance.vendor import VendorClient, VendorProcess, VendorRaised
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, png, settings, talk_to

pytestmark = pytest.mark.vendor

ALONE = frozenset({Generation.THREE})


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[EmbeddedLake]:
    """A lake that serves only generation 3."""
    with EmbeddedLake(settings(tmp_path / "lake", generations=ALONE)) as lake:
        yield lake


@pytest.fixture
def storage() -> BucketAddress | None:
    return None


@pytest.fixture
def talk(lake: EmbeddedLake) -> Iterator[Talk]:
    with talk_to(lake.url, Generation.THREE) as talk:
        yield talk


@pytest.fixture
def birds(vendor_3: VendorClient, tmp_path: Path) -> str:
    """The id of a collection of three images with metadata."""
    images = write_folder(tmp_path / "pictures", IMAGES)
    metadata = {"Camera Id": "CAM_1", "Tags": ["#Night"]}
    collection: str = upload(vendor_3, images, meta_data_object=metadata)["collection_id"]
    return collection


def metadata_file(folder: Path, files: dict[str, dict[str, Any]]) -> str:
    return write_json(folder / "m.json", {"files": [{"file": name, "metadata": own} for name, own in files.items()]})


def test_fields_and_tags_are_renamed_to_the_lakes_spelling(
    vendor_3: VendorClient, talk: Talk, birds: str, tmp_path: Path
) -> None:
    source = metadata_file(tmp_path, {"jay.png": {"camera-id": "CAM_2", "Tags": ["night", "new"]}})
    vendor_3("upload_metadata_for_files", "birds", "image", source)
    details = talk.details("birds_jay.png", "Camera Id", "camera-id", "Tags")
    assert (details["Camera Id"], details["Tags"]) == ("CAM_2", ["#Night", "new"])
    assert "camera-id" not in details


def test_an_entry_without_tags_fails_in_the_client_if_a_tag_is_renamed(
    vendor_3: VendorClient, talk: Talk, birds: str, tmp_path: Path
) -> None:
    # A defect of the client: it looks for the tag in every entry.
    source = metadata_file(tmp_path, {"jay.png": {"Tags": ["night"]}, "crow.png": {"City": "Rome"}})
    with pytest.raises(VendorRaised, match="KeyError: 'Tags'"):
        vendor_3("upload_metadata_for_files", "birds", "image", source)
    assert talk.details("birds_jay.png", "Tags")["Tags"] == ["#Night"]


def test_the_client_ignores_its_bucket_argument_for_metadata(
    vendor_3: VendorClient, talk: Talk, birds: str, tmp_path: Path
) -> None:
    # A defect of the client: it always sends the default bucket, so a missing bucket is not an error.
    source = metadata_file(tmp_path, {"birds/jay.png": {"City": "Rome", "Tags": ["x"]}})
    vendor_3("upload_metadata_by_storage_path", source, "no-such-bucket")
    assert talk.details("birds_jay.png", "City")["City"] == "Rome"


def test_a_virtual_collection_is_created_and_extended(vendor_3: VendorClient, birds: str) -> None:
    made = vendor_3("update_virtual_collection", "best of", None, birds, "metadata.Camera Id=CAM_1")
    best = made["collectionId"]
    assert sorted(item["name"] for item in vendor_3("get_item_list_from_collection", best)) == sorted(IMAGES)
    assert vendor_3("update_virtual_collection", None, best, birds)["collectionId"] == best
    assert vendor_3("get_item_count_from_collection", best) == {"count": 3}
    files, _ = download(vendor_3, best)
    assert files == {f"birds_{name}": content for name, content in IMAGES.items()}


def test_items_of_a_virtual_collection_can_be_annotated_by_unique_name(
    vendor_3: VendorClient, birds: str, tmp_path: Path
) -> None:
    best = vendor_3("update_virtual_collection", "best of", None, birds)["collectionId"]
    boxes = annotation_file(tmp_path, {"birds_jay.png": [rectangle("bird", 1, 2, 3, 4)]})
    vendor_3("upload_annotations_by_unique_name", "op", boxes, False, True)
    assert download(vendor_3, best)[1]["jay.png"][0]["bbox"] == [1, 2, 3, 4]


def test_unsupported_filters_are_rejected(vendor_3: VendorClient, birds: str) -> None:
    for name in ("keywords", "categories"):
        answer = vendor_3("get_item_list_from_collection", birds, filter={name: ["bill"]})
        assert answer["message"] == f"Invalid filter: this lake cannot filter by {name}"


def test_the_client_can_sort_by_text_score(vendor_3: VendorClient, birds: str) -> None:
    by_score = {"sort_by_field": "text_score", "sort_order": "DESC"}
    found = vendor_3("get_item_list_from_datalake", "image", sort_order=by_score)
    assert sorted(item["name"] for item in found) == sorted(IMAGES)


@pytest.mark.long
def test_the_client_downloads_unrequested_files_from_the_second_page_on(vendor_3: VendorClient, tmp_path: Path) -> None:
    # A defect of the client. A page has 250 files.
    files = {f"{number:03}.png": png(salt=str(number).encode()) for number in range(260)}
    many = upload(vendor_3, write_folder(tmp_path / "many", files), "many")["collection_id"]
    downloaded, _ = download(vendor_3, many, is_media_include=False)
    assert len(downloaded) == 10


def test_the_clients_annotation_downloads_fail_behind_the_present_nginx(
    vendor_3_process: VendorProcess, tmp_path: Path
) -> None:
    # The client requests a path under /datalake, which the gateway of its own generation does not route.
    quirks = frozenset({Quirk.ONE_BASE})
    with EmbeddedLake(settings(tmp_path / "lake", generations=ALONE, quirks=quirks)) as lake:
        folder = tmp_path / "work"
        folder.mkdir()
        client = VendorClient(vendor_3_process, lake.url, API_KEY, SECRET, folder)
        birds = upload(client, write_folder(tmp_path / "pictures", IMAGES))["collection_id"]
        lake.requests.clear()
        target = folder / "out"
        target.mkdir()
        with contextlib.suppress(VendorRaised):
            client("download_collection", birds, custom_download_path=str(target))
        assert lake.requests.of("unknown") > 0
        assert not [path for path in target.rglob("*") if path.suffix == ".png"]
        assert not [path for path in target.rglob("*.json") if json.loads(path.read_text()).get("images")]
