"""What only the vendor's own clients do: their messages, pages and deprecated names."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from pathlib import Path
from typing import Any, Literal

import pytest

from metalake_sync import MetaLake
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.key_stores.addresses import BucketAddress
from tests.conformance.conftest import storage_named
from tests.conformance.folders import IMAGES, write_folder
from tests.conformance.vendor import RELEASE_2, RELEASE_3, VendorClient, VendorProcess, VendorRaised
from tests.embedded_lake.talk import API_KEY, SECRET, png, talk_to

pytestmark = pytest.mark.vendor


@pytest.fixture(params=["file", *(pytest.param(name, marks=pytest.mark.long) for name in ("s3", "azure", "gcs"))])
def storage(request: pytest.FixtureRequest) -> BucketAddress | None:
    """Messages and pages hardly depend on the store. The long run uses the other stores."""
    return storage_named(request.param, request)


PROCESSES = {RELEASE_2.package: "vendor_process", RELEASE_3.package: "vendor_3_process"}


@pytest.fixture(params=PROCESSES)
def vendor(request: pytest.FixtureRequest, lake: EmbeddedLake, tmp_path: Path) -> VendorClient:
    """A client of the vendor, connected to a new, empty lake."""
    folder = tmp_path / "work"
    folder.mkdir()
    process: VendorProcess = request.getfixturevalue(PROCESSES[request.param])
    return VendorClient(process, lake.url, API_KEY, SECRET, folder)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", IMAGES)


def write_json(path: Path, document: Any) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def rectangle(label: str, *bbox: float, **more: Any) -> dict[str, Any]:
    return {"type": "rectangle", "bbox": list(bbox), "label": label, "metadata": {}, **more}


def annotation_file(folder: Path, images: dict[str, list[dict[str, Any]]], name: str = "annotations.json") -> str:
    document = {"images": [{"image": image, "annotations": shapes} for image, shapes in images.items()]}
    return write_json(folder / name, document)


def upload(vendor: VendorClient, folder: Path, collection: str = "birds", **options: Any) -> Any:
    result = vendor("upload_files_to_collection", str(folder), "image", collection, **options)
    assert result["is_success"] is True
    assert vendor("wait_for_job_complete", result["job_id"])["is_success"] is True
    return result


def download(vendor: VendorClient, collection_id: str, **options: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return what `download_collection` wrote: files by unique name, annotations by file name."""
    target = vendor.folder / f"download{len(list(vendor.folder.iterdir()))}"
    target.mkdir()
    vendor("download_collection", collection_id, custom_download_path=str(target), **options)
    (folder,) = target.iterdir()
    (document,) = folder.glob("*.json")
    images = json.loads(document.read_text())["images"]
    data = folder / "data"
    files = {path.name: path.read_bytes() for path in data.iterdir()} if data.exists() else {}
    return files, {image["image"]: image["annotations"] for image in images}


def names(items: list[dict[str, str]]) -> list[str]:
    return sorted(item["name"] for item in items)


def test_wrong_credentials_are_reported(vendor: VendorClient) -> None:
    words = "Authentication failed, please check your credentials"
    if vendor.process.release is RELEASE_3:
        # The newer client does not make the compatibility call, from which the older one learns the reason.
        words = "KeyError: 'message'"
    with pytest.raises(VendorRaised, match=words):
        dataclasses.replace(vendor, secret="wrong")("get_system_stat_count")


def test_the_deprecated_uploads_still_work(vendor: VendorClient, images: Path, tmp_path: Path) -> None:
    result = vendor("file_upload", str(images), 5, "birds", {"City": "Rome"})
    assert result["is_success"]
    boxes = annotation_file(tmp_path, {"jay.png": [rectangle("bird", 1, 2, 3, 4)]})
    vendor("upload_annoations_for_folder", "birds", "op", boxes, "rectangle", False, False)
    assert download(vendor, result["collection_id"])[1]["jay.png"][0]["bbox"] == [1, 2, 3, 4]
    data = vendor("upload_data", "beasts", str(images), {"City": "Oslo"}, "op", boxes, False, True)
    target = vendor.folder / "old"
    target.mkdir()
    vendor("download_annotations", data["collection_id"], "op", str(target))
    (document,) = target.glob("*/beasts.json")
    found = {image["image"]: image["annotations"] for image in json.loads(document.read_text())["images"]}
    assert [shape["bbox"] for shape in found["jay.png"]] == [[1, 2, 3, 4]]


@pytest.mark.parametrize("is_model_run", [True, False])
def test_the_deprecated_form_stores_the_same_sets_from_each_client(
    vendor: VendorClient, lake: EmbeddedLake, images: Path, tmp_path: Path, is_model_run: bool
) -> None:
    collection = upload(vendor, images)["collection_id"]
    shapes = [
        {"bbox": [1, 2, 3, 4], "label": "bird", "metadata": {"pose": "flying", "sex": "f"}, "confidence": 0.5},
        {"bbox": [5, 5, 3, 4], "label": "bird", "metadata": {"pose": "perched"}, "confidence": 0.25},
        {"bbox": [6, 6, 2, 2], "label": "nest", "confidence": 1},
    ]
    source = annotation_file(tmp_path, {"jay.png": shapes, "crow.png": shapes[1:]})
    project = "p1" if is_model_run else None
    vendor("upload_annoations_for_folder", "birds", "theirs", source, "rectangle", False, is_model_run, project)
    with MetaLake(lake.url, API_KEY, SECRET) as ours:
        kind: Literal["human", "machine"] = "machine" if is_model_run else "human"
        ours.upload_annotations_for_collection("birds", "ours", source, kind=kind, destination_project_id=project)
    with talk_to(lake.url) as talk:
        theirs = talk.annotations(collection, operationIdList='["theirs"]')
        assert [set(shape["attributes"]) for shape in theirs["jay.png"]] == [{"pose", "sex"}, {"pose"}, set()]
        assert talk.annotations(collection, operationIdList='["ours"]') == theirs
    (database,) = (tmp_path / "lake").glob("*.db")
    with sqlite3.connect(database) as db:
        attached = db.execute("SELECT project, operation FROM attached_runs ORDER BY operation").fetchall()
    assert attached == ([("p1", "ours"), ("p1", "theirs")] if is_model_run else [])


def test_lists_and_counts_support_queries_filters_sorting_and_paging(
    vendor: VendorClient, images: Path, tmp_path: Path
) -> None:
    birds = upload(vendor, images)["collection_id"]
    boxes = annotation_file(tmp_path, {"jay.png": [rectangle("Bird", 1, 2, 3, 4)]})
    vendor("upload_annotations_for_collection", "birds", "op", boxes, False, True)
    by_name = {"sort_by_field": "name", "sort_order": "DESC"}
    for method, count, place in (
        ("get_item_list_from_collection", "get_item_count_from_collection", birds),
        ("get_item_list_from_datalake", "get_item_count_from_metalake", "image"),
    ):
        assert [item["name"] for item in vendor(method, place, sort_order=by_name, page_size=2)] == [
            "jay.png", "gull.png",
        ]  # fmt: skip
        assert names(vendor(method, place, sort_order=by_name, page_size=2, page_index=1)) == ["crow.png"]
        assert vendor(method, place, page_index=9)["isSuccess"] is False
        assert names(vendor(method, place, "annotation.label=Bird")) == ["jay.png"]
        assert vendor(count, place, "annotation.label=Bird") == {"count": 1}
        assert vendor(count, place, filter={"annotation_types": ["machine"]}) == {"count": 1}
        assert vendor(count, place, filter={"annotation_types": ["raw", "human"]}) == {"count": 2}
        assert vendor(count, place, filter={"from_date": "2022-08-02", "to_date": "2023-01-19"}) == {"count": 0}
        assert vendor(method, place, "nonsense")["message"] == "Invalid query: 'nonsense'"


def test_a_download_of_more_images_than_a_page_is_complete(vendor: VendorClient, tmp_path: Path) -> None:
    files = {f"{number:03}.png": png(salt=str(number).encode()) for number in range(260)}
    result = upload(vendor, write_folder(tmp_path / "many", files), "many")
    boxes = {name: [rectangle("bird", number, 0, 1, 1)] for number, name in enumerate(files)}
    document = annotation_file(tmp_path, boxes)
    vendor("upload_annotations_for_collection", "many", "op", document, False, False)
    downloaded, annotations = download(vendor, result["collection_id"])
    assert downloaded == {f"many_{name}": content for name, content in files.items()}
    assert {name: shapes[0]["bbox"][0] for name, shapes in annotations.items()} == {
        name: number for number, name in enumerate(files)
    }


def test_used_labels_are_listed(vendor: VendorClient, images: Path, tmp_path: Path) -> None:
    upload(vendor, images)
    assert vendor("get_all_labels") == []
    document = annotation_file(tmp_path, {"jay.png": [rectangle("bird", 1, 1, 1, 1)]})
    vendor("upload_annotations_for_collection", "birds", "op", document, False, False)
    assert [label["labelText"] for label in vendor("get_all_labels")] == ["bird"]
    assert vendor("get_all_label_groups") == []


def test_items_of_a_query_are_trashed_in_a_collection_and_in_the_lake(
    vendor: VendorClient, images: Path, tmp_path: Path
) -> None:
    birds = upload(vendor, images)["collection_id"]
    entries = [{"file": name, "metadata": {"Tags": [name[0]]}} for name in IMAGES]
    vendor("upload_metadata_for_files", "birds", "image", write_json(tmp_path / "m.json", {"files": entries}))
    trashed = {"isSuccess": True, "message": "1 objects successfully trashed, 0 objects failed to trash"}
    assert vendor("trash_objects_from_collection", birds, "metadata.Tags=j") == trashed
    assert vendor("trash_objects_from_datalake", "metadata.Tags=g") == trashed
    assert names(vendor("get_item_list_from_collection", birds)) == ["crow.png"]
    nothing = vendor("trash_objects_from_datalake", "metadata.Tags=g")
    assert nothing == {"isSuccess": False, "message": "No objects match the selection"}
    assert download(vendor, birds)[0] == {"birds_crow.png": IMAGES["crow.png"]}


def test_progress_of_an_upload_is_reported(vendor: VendorClient, images: Path) -> None:
    upload(vendor, images)
    assert vendor("get_upload_status", "birds") == {"isSuccess": True, "progress": 100.0}


def test_a_client_can_report_its_own_long_running_job(vendor: VendorClient, lake: EmbeddedLake) -> None:
    assert vendor("create_or_update_job", "session_1", "embeddings", 15, 50, 1, {"files": 3}) is not None
    assert lake.requests.of("update_job") == 1
