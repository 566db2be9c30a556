"""Collections, items, metadata, annotations, trash and jobs through the Python API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from metalake_sync import ItemFilter, ItemSort, MetaLake, SomeFailed
from metalake_sync.api import UploadResult
from metalake_sync.errors import LakeRefused, ManifestErrors, SyncError, UsageError
from tests.api.conftest import PICTURES
from tests.lake.talk import Talk

Writer = Callable[..., Path]


@pytest.fixture
def birds(lake: MetaLake, pictures: Path) -> UploadResult:
    return lake.upload_files_to_collection(pictures, "image", "birds", storage_prefix="dir_1/sub")


def test_collections_are_made_found_listed_and_described(lake: MetaLake) -> None:
    made = lake.create_or_update_collection("birds", "image", {"City": "Rome"})
    assert lake.find_collection("birds") == lake.find_collection("birds", "image") == made
    assert [(one.id, one.name) for one in lake.list_collections("image")] == [(made.id, "birds")]
    assert lake.get_collection_details(made.id, ["City"]).details["City"] == "Rome"
    with pytest.raises(UsageError, match="no collection 'birds' of type video"):
        lake.find_collection("birds", "video")


def test_a_name_that_stands_for_several_collections_wants_a_type(lake: MetaLake) -> None:
    lake.create_or_update_collection("birds", "image")
    lake.create_or_update_collection("birds", "video")
    with pytest.raises(UsageError, match="image and video"):
        lake.find_collection("birds")


def test_items_are_listed_counted_and_described(lake: MetaLake, birds: UploadResult) -> None:
    by_name = ItemSort("name", "asc")
    listed = list(lake.get_item_list_from_collection(birds.collection_id, sort=by_name))
    assert [item.name for item in listed] == sorted(PICTURES)
    assert list(lake.get_item_list_from_datalake("image", sort=by_name)) == listed
    assert lake.get_item_count_from_collection(birds.collection_id) == 3
    assert lake.get_item_count_from_metalake("image", filter=ItemFilter(("human",))) == 0
    details = lake.get_file_details("birds_jay.png", ["fileSize", "resolution"])
    assert details["fileSize"] == len(PICTURES["jay.png"])
    with pytest.raises(UsageError, match="nobody"):
        lake.get_file_details("nobody")


def test_a_url_reads_the_file(lake: MetaLake, birds: UploadResult) -> None:
    url = lake.get_downloadable_url("birds_jay.png")
    assert requests.get(url, timeout=10).content == PICTURES["jay.png"]
    with pytest.raises(LakeRefused):
        lake.get_downloadable_url("nobody")


def test_jobs_labels_and_the_lake_itself_are_asked_about(lake: MetaLake, birds: UploadResult, boxes: Writer) -> None:
    assert lake.get_job_status(birds.job_ids[0]).status == "completed"
    assert lake.get_upload_status("birds") == {"isSuccess": True, "progress": 100.0}
    lake.upload_annotations_for_collection("birds", "op", boxes({"jay.png": [(1, 1, 1, 1)]}), kind="human")
    assert [label.text for label in lake.get_all_labels()] == ["bird"]
    assert lake.get_all_label_groups() == []
    assert isinstance(lake.get_system_stat_count(), dict)


@pytest.mark.parametrize("way", ["files", "unique_name", "storage_path", "job_id"])
def test_metadata_of_files_is_written_in_each_way(
    lake: MetaLake, talk: Talk, birds: UploadResult, metadata_file: Writer, way: str
) -> None:
    file = {"unique_name": "birds_jay.png", "storage_path": "dir_1/sub/birds/jay.png"}.get(way, "jay.png")
    source = metadata_file({file: {"way": way, "Tags": ["x"]}})
    result = {
        "files": lambda: lake.upload_metadata_for_files("birds", "image", source),
        "unique_name": lambda: lake.upload_metadata_by_unique_name(source),
        "storage_path": lambda: lake.upload_metadata_by_storage_path(source),
        "job_id": lambda: lake.upload_metadata_by_job_id(birds.job_ids[0], source),
    }[way]()
    assert result.written == 1
    details = talk.details("birds_jay.png", "way", "Tags")
    assert (details["way"], details["Tags"]) == (way, ["x"])


@pytest.mark.parametrize("to_files", [True, False])
def test_metadata_of_a_collection_reaches_its_files_or_not(
    lake: MetaLake, talk: Talk, birds: UploadResult, to_files: bool
) -> None:
    lake.upload_metadata_for_collection("birds", "image", {"City": "Rome"}, apply_to_all_files=to_files)
    assert talk.head(birds.collection_id, "City")["City"] == "Rome"
    assert talk.details("birds_jay.png", "City").get("City") == ("Rome" if to_files else None)


def test_a_field_that_the_lake_does_not_take_is_refused_before_anything_is_written(
    lake: MetaLake, talk: Talk, birds: UploadResult, metadata_file: Writer
) -> None:
    source = metadata_file({"jay.png": {"good": 1}, "crow.png": {"": 2}})
    with pytest.raises(SyncError):
        lake.upload_metadata_for_files("birds", "image", source)
    assert "good" not in talk.details("birds_jay.png", "good")


@pytest.mark.parametrize("way", ["for_collection", "by_unique_name", "by_storage_path", "by_job_id"])
@pytest.mark.parametrize("normalized", [False, True])
def test_annotations_are_written_in_each_way(
    lake: MetaLake, talk: Talk, birds: UploadResult, boxes: Writer, way: str, normalized: bool
) -> None:
    image = {"by_unique_name": "birds_jay.png", "by_storage_path": "/dir_1/sub/birds/jay.png"}.get(way, "jay.png")
    source = boxes({image: [(0.25, 0.5, 0.5, 0.25) if normalized else (10, 10, 20, 5)]})
    result = {
        "for_collection": lambda: lake.upload_annotations_for_collection(
            "birds", "op", source, kind="machine", normalized=normalized
        ),
        "by_unique_name": lambda: lake.upload_annotations_by_unique_name(
            "op", source, kind="machine", normalized=normalized
        ),
        "by_storage_path": lambda: lake.upload_annotations_by_storage_path(
            "op", source, kind="machine", normalized=normalized
        ),
        "by_job_id": lambda: lake.upload_annotations_by_job_id(
            birds.job_ids[0], "op", source, kind="machine", normalized=normalized
        ),
    }[way]()
    assert (result.written, result.unmatched) == (1, ())
    (found,) = talk.annotations(birds.collection_id, annotationType="machine")["jay.png"]
    assert (found["bbox"], found["label"]) == ([10, 10, 20, 5], "bird")


def test_entries_that_meet_no_image_are_named_and_a_broken_source_is_an_error(
    lake: MetaLake, birds: UploadResult, boxes: Writer, tmp_path: Path
) -> None:
    source = boxes({"jay.png": [(1, 1, 1, 1)], "dodo.png": [(1, 1, 1, 1)]})
    result = lake.upload_annotations_for_collection("birds", "op", source, kind="human")
    assert (result.written, result.unmatched) == (1, ("dodo.png",))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ManifestErrors, match="broken JSON"):
        lake.upload_annotations_for_collection("birds", "op", tmp_path / "broken.json", kind="human")


def test_images_whose_set_the_lake_refuses_fail_alone(
    lake: MetaLake, talk: Talk, birds: UploadResult, boxes: Writer, tmp_path: Path
) -> None:
    # Fractions of a file whose size can't be read can't be turned into pixels.
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    lake.upload_files_to_collection(tmp_path / "pictures", "image", "birds")
    source = boxes({"broken.png": [(0, 0, 0.5, 0.5)], "jay.png": [(0, 0, 0.5, 0.5)]})
    with pytest.raises(SomeFailed, match="broken.png") as failed:
        lake.upload_annotations_for_collection("birds", "op", source, kind="human", normalized=True)
    assert [item.name for item in failed.value.failed] == ["broken.png"]
    assert talk.annotations(birds.collection_id)["jay.png"][0]["bbox"] == [0, 0, 20, 10]


def test_an_operation_is_removed_from_a_collection(
    lake: MetaLake, talk: Talk, birds: UploadResult, boxes: Writer
) -> None:
    lake.upload_annotations_for_collection("birds", "op", boxes({"jay.png": [(1, 1, 1, 1)]}), kind="machine")
    lake.remove_annotations(birds.collection_id, "op")
    assert talk.annotations(birds.collection_id)["jay.png"] == []


def test_what_matches_a_query_is_trashed_in_a_collection_and_in_the_lake(
    lake: MetaLake, talk: Talk, birds: UploadResult, metadata_file: Writer
) -> None:
    source = metadata_file({name: {"Tags": [name[0]]} for name in PICTURES})
    lake.upload_metadata_for_files("birds", "image", source)
    assert lake.trash_objects_from_collection(birds.collection_id, query="metadata.Tags=j").trashed == 1
    assert lake.trash_objects_from_datalake(query="metadata.Tags=g").trashed == 1
    assert lake.trash_objects_from_datalake(query="metadata.Tags=g").trashed == 0
    assert talk.names(birds.collection_id) == ["crow.png"]


def test_a_whole_collection_is_trashed_and_never_a_whole_lake(lake: MetaLake, talk: Talk, birds: UploadResult) -> None:
    with pytest.raises(UsageError, match="everything"):
        lake.trash_objects_from_datalake()
    result = lake.trash_objects_from_collection(birds.collection_id)
    assert (result.trashed, result.failed) == (1, 0)
    assert talk.count(contentType=2) == 0
