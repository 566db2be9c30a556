"""The vendor's own client against the embedded lake: what its user sees, function by function."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from metalake_sync.lake import EmbeddedLake
from tests.conformance.vendor import VendorClient, VendorRaised
from tests.lake.talk import png

pytestmark = pytest.mark.vendor

PICTURES = {f"{name}.png": png(40, 20, name.encode()) for name in ("crow", "gull", "jay")}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", PICTURES)


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


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
    """What `download_collection` leaves: files by unique name, annotations by file name."""
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


def test_wrong_credentials_are_said_to_be_wrong(vendor: VendorClient) -> None:
    with pytest.raises(VendorRaised, match="Authentication failed, please check your credentials"):
        dataclasses.replace(vendor, secret="wrong")("get_system_stat_count")


def test_a_folder_with_metadata_for_all_for_each_and_with_annotations(
    vendor: VendorClient, pictures: Path, tmp_path: Path
) -> None:
    metadata = write_json(
        tmp_path / "metadata.json",
        {"files": [{"file": "crow.png", "metadata": {"Camera Id": "CAM_2", "Tags": ["night", "#x"]}}]},
    )
    shapes = {
        "crow.png": [
            rectangle(
                "bird", 1, 2.5, 10, 7, confidence=0.53, metadata={"by": "me"},
                attributes={"size": [{"value": "small", "confidence": 0.3, "metadata": {"m": "n"}}]},
            ),
            {"type": "polygon", "polygon": [[1, 1], [5, 1], [3, 4.5]], "label": "nest", "metadata": {}},
        ],
        "gull.png": [
            {"type": "line", "line": [[0, 0], [9, 9]], "label": "wire", "metadata": {}},
            {"type": "points", "points": [[3, 3]], "label": "eye", "metadata": {}},
        ],
    }  # fmt: skip
    result = upload(
        vendor,
        pictures,
        meta_data_object={"Captured Location": "Winnipeg", "Camera Id": "CAM_1", "Tags": ["#retail"]},
        metadata_file_path=metadata,
        annotation_data={
            "json_data_file_path": annotation_file(tmp_path, shapes),
            "operation_unique_id": "people",
            "is_normalized": False,
            "is_model_run": False,
        },
    )
    wanted = {"Captured Location": True, "Camera Id": True, "Tags": True, "fileSize": True, "resolution": True}
    crow = vendor("get_file_details", "birds_crow.png", wanted)
    assert (crow["Captured Location"], crow["Camera Id"], crow["Tags"]) == ("Winnipeg", "CAM_2", ["night", "#x"])
    assert (crow["fileSize"], crow["resolution"]) == (len(PICTURES["crow.png"]), {"width": 40, "height": 20})
    assert vendor("get_file_details", "birds_jay.png", wanted)["Tags"] == ["#retail"]
    files, annotations = download(vendor, result["collection_id"])
    assert files == {f"birds_{name}": content for name, content in PICTURES.items()}
    # People are sure: the client makes their confidence 1.
    shapes["crow.png"][0]["attributes"]["size"][0]["confidence"] = 1
    expected = {image: [{"attributes": {}, **shape} for shape in drawn] for image, drawn in shapes.items()}
    assert annotations == {**expected, "jay.png": []}


def test_a_single_file_gives_its_unique_name(vendor: VendorClient, pictures: Path) -> None:
    result = upload(vendor, pictures / "crow.png")
    assert result["unique_name"] == "birds_crow.png"
    again = upload(vendor, pictures / "crow.png")
    assert (again["unique_name"], again["collection_id"]) == ("birds_crow.png", result["collection_id"])


def test_videos_and_other_files_and_empty_ones(vendor: VendorClient, tmp_path: Path) -> None:
    films = write_folder(tmp_path / "films", {"a.mp4": b"film" * 1000, "ignored.txt": b"x"})
    notes = write_folder(tmp_path / "notes", {"a b.txt": b"note", "empty.bin": b""})
    film = vendor("upload_files_to_collection", str(films), "video", "films")
    note = vendor("upload_files_to_collection", str(notes), "other", "notes")
    assert names(vendor("get_item_list_from_collection", film["collection_id"])) == ["a.mp4"]
    files, _ = download(vendor, note["collection_id"])
    assert files == {"notes_a b.txt": b"note", "notes_empty.bin": b""}
    stats = vendor("get_system_stat_count")
    assert (stats["images"]["count"], stats["videos"]["count"], stats["others"]["count"]) == (0, 1, 2)


def test_the_same_folder_again_sends_nothing_and_metadata_comes_only_with_override(
    vendor: VendorClient, lake: EmbeddedLake, pictures: Path
) -> None:
    first = upload(vendor, pictures, meta_data_object={"City": "Rome"})
    lake.requests.clear()
    again = upload(vendor, pictures, meta_data_object={"City": "Paris"})
    assert again["collection_id"] == first["collection_id"]
    assert lake.requests.of("finalize_file") == 0
    assert lake.requests.of("begin_file") == len(PICTURES)
    assert vendor("get_file_details", "birds_jay.png", {"City": True})["City"] == "Rome"
    upload(vendor, pictures, meta_data_object={"City": "Paris"}, meta_data_override=True)
    assert vendor("get_file_details", "birds_jay.png", {"City": True})["City"] == "Paris"


def test_a_folder_that_grew_sends_the_new_file_alone(vendor: VendorClient, lake: EmbeddedLake, pictures: Path) -> None:
    first = upload(vendor, pictures)
    (pictures / "wren.png").write_bytes(png(salt=b"wren"))
    lake.requests.clear()
    upload(vendor, pictures)
    assert lake.requests.of("finalize_file") == 1
    assert vendor("get_item_count_from_collection", first["collection_id"]) == {"count": 4}


def test_the_deprecated_uploads_still_work(vendor: VendorClient, pictures: Path, tmp_path: Path) -> None:
    result = vendor("file_upload", str(pictures), 5, "birds", {"City": "Rome"})
    assert result["is_success"]
    boxes = annotation_file(tmp_path, {"jay.png": [rectangle("bird", 1, 2, 3, 4)]})
    vendor("upload_annoations_for_folder", "birds", "op", boxes, "rectangle", False, False)
    assert download(vendor, result["collection_id"])[1]["jay.png"][0]["bbox"] == [1, 2, 3, 4]
    data = vendor("upload_data", "beasts", str(pictures), {"City": "Oslo"}, "op", boxes, False, True)
    target = vendor.folder / "old"
    target.mkdir()
    vendor("download_annotations", data["collection_id"], "op", str(target))
    (document,) = target.glob("*/beasts.json")
    found = {image["image"]: image["annotations"] for image in json.loads(document.read_text())["images"]}
    assert [shape["bbox"] for shape in found["jay.png"]] == [[1, 2, 3, 4]]


def test_collections_are_made_found_and_described(vendor: VendorClient, pictures: Path) -> None:
    made = vendor("create_or_update_collection", "birds", "image", {"City": "Rome", "Tags": ["x"]})
    assert vendor("get_collection_id_by_name", "birds", "image") == made["collectionId"]
    with pytest.raises(VendorRaised):
        vendor("get_collection_id_by_name", "birds", "video")
    assert upload(vendor, pictures)["collection_id"] == made["collectionId"]
    wanted = {"City": True, "Tags": True, "storagePath": True, "frameCount": True, "name": False}
    head = vendor("get_collection_details", made["collectionId"], wanted)
    assert head == {
        "id": made["collectionId"], "contentType": 5, "City": "Rome", "Tags": ["x"], "storagePath": "birds",
        "frameCount": 3,
    }  # fmt: skip
    assert vendor("get_item_list_from_datalake", "image_collection") == [{"id": made["collectionId"], "name": "birds"}]
    assert vendor("get_item_count_from_metalake", "image_collection") == {"count": 1}


def test_lists_and_counts_with_queries_filters_sorting_and_paging(
    vendor: VendorClient, pictures: Path, tmp_path: Path
) -> None:
    birds = upload(vendor, pictures)["collection_id"]
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


def test_a_downloadable_url_reads_the_file(vendor: VendorClient, pictures: Path) -> None:
    upload(vendor, pictures, "my birds!")
    answer = vendor("get_downloadable_url", "my birds__jay.png")
    assert requests.get(answer["url"], timeout=30).content == PICTURES["jay.png"]
    assert vendor("get_downloadable_url", "nobody")["isSuccess"] is False


@pytest.mark.parametrize("method", ["download_files_from_collection", "download_files_from_metalake"])
def test_files_are_downloaded_page_by_page(vendor: VendorClient, pictures: Path, method: str) -> None:
    birds = upload(vendor, pictures)["collection_id"]
    place = birds if method == "download_files_from_collection" else "image"
    target = vendor.folder / "files"
    for page in range(2):
        answer = vendor(method, place, str(target), page, 2, "", {}, {"sort_by_field": "name", "sort_order": "ASC"})
        assert answer["is_success"] is True
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        f"birds_{name}": content for name, content in PICTURES.items()
    }
    assert vendor(method, place, str(target), 2, 2)["is_success"] is False


@pytest.mark.parametrize("way", ["files", "unique_name", "storage_path", "job_id"])
def test_metadata_of_files_is_written_in_each_way(
    vendor: VendorClient, in_bucket: Callable[[str], str], pictures: Path, tmp_path: Path, way: str
) -> None:
    job_id = upload(vendor, pictures, storage_prefix_path="dir_1/sub")["job_id"]
    file = {"unique_name": "birds_jay.png", "storage_path": in_bucket("dir_1/sub/birds/jay.png")}.get(way, "jay.png")
    entry = {"file": file, "metadata": {"way": way, "Tags": ["x"], "fileSize": 30}}
    document = write_json(tmp_path / "metadata.json", {"files": [entry]})
    before = {"files": ("birds", "image"), "job_id": (job_id,)}.get(way, ())
    vendor(f"upload_metadata_{'for' if way == 'files' else 'by'}_{way}", *before, document)
    details = vendor("get_file_details", "birds_jay.png", {"way": True, "Tags": True, "fileSize": True})
    assert (details["way"], details["Tags"], details["fileSize"]) == (way, ["x"], len(PICTURES["jay.png"]))


def test_wrong_tags_are_refused_before_anything_is_written(
    vendor: VendorClient, pictures: Path, tmp_path: Path
) -> None:
    upload(vendor, pictures)
    entries = [{"file": "jay.png", "metadata": {"x": 1}}, {"file": "crow.png", "metadata": {"Tags": [""]}}]
    document = write_json(tmp_path / "metadata.json", {"files": entries})
    with pytest.raises(VendorRaised, match="Invalid tag: ''"):
        vendor("upload_metadata_for_files", "birds", "image", document)
    assert "x" not in vendor("get_file_details", "birds_jay.png", {"x": True})


@pytest.mark.parametrize("to_files", [True, False])
def test_metadata_of_a_collection(vendor: VendorClient, pictures: Path, to_files: bool) -> None:
    birds = upload(vendor, pictures)["collection_id"]
    vendor("upload_metadata_for_collection", "birds", "image", {"City": "Rome"}, to_files)
    assert vendor("get_collection_details", birds, {"City": True})["City"] == "Rome"
    assert vendor("get_file_details", "birds_jay.png", {"City": True}).get("City") == ("Rome" if to_files else None)


@pytest.mark.parametrize("way", ["for_collection", "by_unique_name", "by_storage_path", "by_job_id"])
@pytest.mark.parametrize("normalized", [False, True])
def test_annotations_are_uploaded_in_each_way(
    vendor: VendorClient,
    in_bucket: Callable[[str], str],
    pictures: Path,
    tmp_path: Path,
    way: str,
    normalized: bool,
) -> None:
    result = upload(vendor, pictures)
    image = {"by_unique_name": "birds_jay.png", "by_storage_path": f"/{in_bucket('birds/jay.png')}"}.get(way, "jay.png")
    bbox = (0.25, 0.5, 0.5, 0.25) if normalized else (10, 10, 20, 5)
    document = annotation_file(tmp_path, {image: [rectangle("bird", *bbox)]})
    before = {"for_collection": ("birds",), "by_job_id": (result["job_id"],)}.get(way, ())
    vendor(f"upload_annotations_{way}", *before, "op", document, normalized, True)
    (found,) = download(vendor, result["collection_id"], annotation_type="machine")[1]["jay.png"]
    assert (found["bbox"], found["label"]) == ([10, 10, 20, 5], "bird")


def test_operations_are_kept_apart_replaced_and_removed(vendor: VendorClient, pictures: Path, tmp_path: Path) -> None:
    birds = upload(vendor, pictures)["collection_id"]

    def draw(operation: str, machine: bool, *boxes: int) -> None:
        shapes = [rectangle("bird", side, side, side, side) for side in boxes]
        document = annotation_file(tmp_path, {"jay.png": shapes})
        vendor("upload_annotations_for_collection", "birds", operation, document, False, machine)

    def boxes(**options: Any) -> list[int]:
        _, annotations = download(vendor, birds, is_media_include=False, **options)
        return sorted(shape["bbox"][0] for shape in annotations["jay.png"])

    draw("people", False, 1, 2)
    draw("yolo", True, 3)
    assert boxes() == [1, 2, 3]
    assert boxes(annotation_type="human") == [1, 2]
    assert boxes(operation_id_list=["yolo"]) == [3]
    draw("people", False, 4)
    assert boxes() == [3, 4]
    assert vendor("remove_annotations", birds, "yolo")["isSuccess"] is True
    assert boxes() == [4]


def test_more_images_than_a_page_of_downloads_holds(vendor: VendorClient, tmp_path: Path) -> None:
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


def test_labels_are_listed_once_they_are_used(vendor: VendorClient, pictures: Path, tmp_path: Path) -> None:
    upload(vendor, pictures)
    assert vendor("get_all_labels") == []
    document = annotation_file(tmp_path, {"jay.png": [rectangle("bird", 1, 1, 1, 1)]})
    vendor("upload_annotations_for_collection", "birds", "op", document, False, False)
    assert [label["labelText"] for label in vendor("get_all_labels")] == ["bird"]
    assert vendor("get_all_label_groups") == []


def test_a_whole_collection_is_trashed(vendor: VendorClient, pictures: Path) -> None:
    birds = upload(vendor, pictures)["collection_id"]
    answer = vendor("trash_objects_from_collection", birds)
    assert answer == {"isSuccess": True, "message": "1 objects successfully trashed, 0 objects failed to trash"}
    assert vendor("get_item_count_from_metalake", "image") == {"count": 0}
    with pytest.raises(VendorRaised):
        vendor("get_collection_id_by_name", "birds", "image")
    assert upload(vendor, pictures)["collection_id"] != birds


def test_a_query_is_trashed_in_a_collection_and_in_the_lake(
    vendor: VendorClient, pictures: Path, tmp_path: Path
) -> None:
    birds = upload(vendor, pictures)["collection_id"]
    entries = [{"file": name, "metadata": {"Tags": [name[0]]}} for name in PICTURES]
    vendor("upload_metadata_for_files", "birds", "image", write_json(tmp_path / "m.json", {"files": entries}))
    trashed = {"isSuccess": True, "message": "1 objects successfully trashed, 0 objects failed to trash"}
    assert vendor("trash_objects_from_collection", birds, "metadata.Tags=j") == trashed
    assert vendor("trash_objects_from_datalake", "metadata.Tags=g") == trashed
    assert names(vendor("get_item_list_from_collection", birds)) == ["crow.png"]
    nothing = vendor("trash_objects_from_datalake", "metadata.Tags=g")
    assert nothing == {"isSuccess": False, "message": "No objects match the selection"}
    assert download(vendor, birds)[0] == {"birds_crow.png": PICTURES["crow.png"]}


def test_progress_of_an_upload(vendor: VendorClient, pictures: Path) -> None:
    upload(vendor, pictures)
    assert vendor("get_upload_status", "birds") == {"isSuccess": True, "progress": 100.0}
