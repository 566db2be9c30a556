"""Collections, items, metadata, annotations, trash and jobs through the Python API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from metalake_sync import AnnotationSource, ItemFilter, ItemSort, MetaLake, SomeFailed
from metalake_sync.api import UploadResult, WriteResult
from metalake_sync.api.matching import Written
from metalake_sync.api.results import label_groups, system_counts, upload_status
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.errors import ManifestErrors, SyncError, UsageError
from metalake_sync.remote.annotation_objects import ImageAddress
from tests.api.conftest import IMAGES
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, png

Writer = Callable[..., Path]


@pytest.fixture
def birds(lake: MetaLake, images: Path) -> UploadResult:
    return lake.upload_files_to_collection(images, "image", "birds", storage_prefix="dir_1/sub")


def test_collections_are_created_found_listed_and_described(lake: MetaLake) -> None:
    created = lake.create_or_update_collection("birds", "image", {"City": "Rome"})
    assert lake.find_collection("birds") == lake.find_collection("birds", "image") == created
    assert [(one.id, one.name) for one in lake.list_collections("image")] == [(created.id, "birds")]
    assert lake.get_collection_details(created.id, ["City"]).details["City"] == "Rome"
    with pytest.raises(UsageError, match="no collection 'birds' of type video"):
        lake.find_collection("birds", "video")


def test_a_name_of_several_collections_needs_a_type(lake: MetaLake) -> None:
    lake.create_or_update_collection("birds", "image")
    lake.create_or_update_collection("birds", "video")
    with pytest.raises(UsageError, match="image and video"):
        lake.find_collection("birds")


def test_items_are_listed_counted_and_described(lake: MetaLake, birds: UploadResult) -> None:
    by_name = ItemSort("name", "asc")
    listed = list(lake.get_item_list_from_collection(birds.collection_id, sort=by_name))
    assert [item.name for item in listed] == sorted(IMAGES)
    assert list(lake.get_item_list_from_datalake("image", sort=by_name)) == listed
    assert lake.get_item_count_from_collection(birds.collection_id) == 3
    assert lake.get_item_count_from_metalake("image", filter=ItemFilter(("human",))) == 0
    details = lake.get_file_details("birds_jay.png", ["fileSize", "resolution"])
    assert details["fileSize"] == len(IMAGES["jay.png"])
    with pytest.raises(UsageError, match="missing.png"):
        lake.get_file_details("missing.png")


def test_jobs_labels_and_counts_of_the_lake_are_read(lake: MetaLake, birds: UploadResult, boxes: Writer) -> None:
    assert lake.get_job_status(birds.job_ids[0]).status == "completed"
    assert lake.get_upload_status("birds").progress == 100.0
    assert lake.get_upload_status("unknown").progress is None
    lake.upload_annotations_for_collection("birds", "op", boxes({"jay.png": [(1, 1, 1, 1)]}), kind="human")
    assert [label.text for label in lake.get_all_labels()] == ["bird"]
    assert lake.get_all_label_groups() == []
    counts = lake.get_system_stat_count()
    assert (counts.images, counts.videos, counts.others) == (3, 0, 0)


def test_a_field_that_the_lake_rejects_is_an_error_before_anything_is_written(
    lake: MetaLake, talk: Talk, birds: UploadResult, metadata_file: Writer
) -> None:
    source = metadata_file({"jay.png": {"good": 1}, "crow.png": {"": 2}})
    with pytest.raises(SyncError):
        lake.upload_metadata_for_files("birds", "image", source)
    assert "good" not in talk.details("birds_jay.png", "good")


def test_a_value_that_cannot_be_sent_is_an_error_before_anything_is_written(
    lake: MetaLake, talk: Talk, birds: UploadResult, tmp_path: Path
) -> None:
    for value in (float("inf"), 10**400, [{"deep": float("nan")}], object(), {1, 2}):
        with pytest.raises(SyncError, match="'Depth' (is|can't)"):
            lake.upload_metadata_for_collection("birds", "image", {"Depth": value})
        with pytest.raises(SyncError, match="'Depth' is"):
            lake.upload_files_to_collection(tmp_path / "pictures", "image", "birds", metadata={"Depth": value})
    assert "Depth" not in talk.details("birds_jay.png", "Depth")


def test_an_unusable_entry_of_a_source_fails_alone(
    lake: MetaLake, talk: Talk, birds: UploadResult, tmp_path: Path
) -> None:
    shape = {"type": "rectangle", "bbox": [1, 1, 2, 2], "label": "bird"}
    entries = [("jay.png", {**shape, "type": "cube"}), ("crow.png", shape)]
    images = [{"image": name, "annotations": [one]} for name, one in entries]
    (tmp_path / "half.json").write_text(json.dumps({"images": images}))
    with pytest.raises(SomeFailed, match="the type is 'cube'") as failed:
        lake.upload_annotations_for_collection("birds", "op", tmp_path / "half.json", kind="human")
    assert isinstance(failed.value.result, WriteResult)
    assert failed.value.result.written == 1
    drawn = talk.annotations(birds.collection_id)
    assert [len(drawn.get(name, ())) for name, _ in entries] == [0, 1]

    (tmp_path / "more").mkdir()
    for name in ("owl.png", "kite.png"):
        (tmp_path / "more" / name).write_bytes(png(salt=name.encode()))
    entry_list = [{"file": "owl.png", "metadata": {"Depth": None}}, {"file": "kite.png", "metadata": {"Depth": 1}}]
    (tmp_path / "meta.json").write_text(json.dumps({"files": entry_list}))
    with pytest.raises(SomeFailed, match="'Depth' is null") as failed:
        lake.upload_files_to_collection(tmp_path / "more", "image", "birds", file_metadata=tmp_path / "meta.json")
    assert [item.retryable for item in failed.value.failed] == [False]
    assert "owl.png" not in talk.names(birds.collection_id)
    assert "kite.png" in talk.names(birds.collection_id)


def test_unmatched_entries_are_reported_and_a_broken_source_is_an_error(
    lake: MetaLake, birds: UploadResult, boxes: Writer, tmp_path: Path
) -> None:
    source = boxes({"jay.png": [(1, 1, 1, 1)], "dodo.png": [(1, 1, 1, 1)]})
    result = lake.upload_annotations_for_collection("birds", "op", source, kind="human")
    assert (result.written, result.unmatched) == (1, ("dodo.png",))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ManifestErrors, match="broken JSON"):
        lake.upload_annotations_for_collection("birds", "op", tmp_path / "broken.json", kind="human")


def test_images_whose_annotation_set_the_lake_rejects_fail_alone(
    lake: MetaLake, talk: Talk, birds: UploadResult, boxes: Writer, tmp_path: Path
) -> None:
    # Fractions cannot be converted to pixels without the size of the image.
    (tmp_path / "pictures" / "broken.png").write_bytes(b"not an image")
    lake.upload_files_to_collection(tmp_path / "pictures", "image", "birds")
    source = boxes({"broken.png": [(0, 0, 0.5, 0.5)], "jay.png": [(0, 0, 0.5, 0.5)]})
    with pytest.raises(SomeFailed, match="broken.png") as failed:
        lake.upload_annotations_for_collection("birds", "op", source, kind="human", normalized=True)
    assert [item.name for item in failed.value.failed] == ["broken.png"]
    assert talk.annotations(birds.collection_id)["jay.png"][0]["bbox"] == [0, 0, 20, 10]


def test_a_whole_collection_can_be_trashed_and_a_whole_lake_cannot(
    lake: MetaLake, talk: Talk, birds: UploadResult
) -> None:
    with pytest.raises(UsageError, match="everything"):
        lake.trash_objects_from_datalake()
    result = lake.trash_objects_from_collection(birds.collection_id)
    assert (result.trashed, result.failed) == (1, 0)
    assert talk.count(contentType=2) == 0


ADDRESSED: list[tuple[str, Callable[[MetaLake, UploadResult, Path], WriteResult], tuple[str, ...]]] = [
    ("jay.png", lambda lake, birds, source: lake.upload_metadata_for_files("birds", "image", source), ("dodo.png",)),
    ("birds_jay.png", lambda lake, birds, source: lake.upload_metadata_by_unique_name(source), ("dodo.png",)),
    ("dir_1/sub/birds/jay.png", lambda lake, birds, source: lake.upload_metadata_by_storage_path(source), ()),
    ("jay.png", lambda lake, birds, source: lake.upload_metadata_by_job_id(birds.job_ids[0], source), ()),
]


@pytest.mark.parametrize(("there", "write", "unmatched"), ADDRESSED)
def test_metadata_of_a_missing_file_does_not_count_as_written(
    lake: MetaLake,
    birds: UploadResult,
    metadata_file: Writer,
    there: str,
    write: Callable[[MetaLake, UploadResult, Path], WriteResult],
    unmatched: tuple[str, ...],
) -> None:
    result = write(lake, birds, metadata_file({there: {"City": "Rome"}, "dodo.png": {"City": "Rome"}}))
    assert (result.written, result.unmatched, result.unconfirmed) == (1, unmatched, 1 - len(unmatched))
    everything = write(lake, birds, metadata_file({there: {"City": "Rome"}}))
    assert (everything.written, everything.unmatched, everything.unconfirmed) == (1, (), 0)


def test_annotations_of_a_missing_image_do_not_count_as_written(
    lake: MetaLake, birds: UploadResult, boxes: Writer
) -> None:
    source = boxes({"birds_jay.png": [(1, 1, 1, 1)], "dodo.png": [(1, 1, 1, 1)]})
    by_name = lake.upload_annotations_by_unique_name("op", source, kind="human")
    assert (by_name.written, by_name.unmatched, by_name.unconfirmed) == (1, ("dodo.png",), 0)
    source = boxes({"/dir_1/sub/birds/jay.png": [(1, 1, 1, 1)], "/dodo.png": [(1, 1, 1, 1)]})
    by_path = lake.upload_annotations_by_storage_path("op", source, kind="human")
    assert (by_path.written, by_path.unmatched, by_path.unconfirmed) == (1, (), 1)
    assert ImageAddress.at_path("dir_1/jay.png", None) == ImageAddress.at_path("/dir_1/jay.png", "")
    assert ImageAddress.at_path("jay.png", "b").storage_path == "/jay.png"
    source = boxes({"jay.png": [(1, 1, 1, 1)], "dodo.png": [(1, 1, 1, 1)]})
    by_job = lake.upload_annotations_by_job_id(birds.job_ids[0], "op", source, kind="human")
    assert (by_job.written, by_job.unmatched, by_job.unconfirmed) == (1, (), 1)


def test_without_counts_of_the_lake_names_are_searched_or_entries_stay_unconfirmed() -> None:
    searchable = Written(there=lambda names: {"a"})
    unsearchable = Written(there=None)
    for written in (searchable, unsearchable):
        written.page(["a", "b"], None)
    assert (searchable.result([]).written, searchable.result([]).unmatched) == (1, ("b",))
    assert (unsearchable.result([]).written, unsearchable.result([]).unconfirmed) == (0, 2)


Wrong = Callable[[MetaLake, str], object]

WRONG: list[tuple[Wrong, str]] = [
    (lambda lake, birds: lake.get_item_count_from_metalake(filter=ItemFilter(("humans",))), "'raw', 'human'"),  # type: ignore[arg-type]
    (lambda lake, birds: lake.get_item_count_from_metalake(filter=ItemFilter("human")), "tuple of 'raw'"),  # type: ignore[arg-type]
    (lambda lake, birds: lake.trash_objects_from_datalake(filter={"annotationTypes": ["human"]}), "annotation_types"),
    (lambda lake, birds: lake.trash_objects_from_datalake(filter="human"), "ItemFilter"),  # type: ignore[arg-type]
    (lambda lake, birds: lake.get_item_count_from_metalake(filter=ItemFilter(from_date="yesterday")), "2026-01-31"),
    (
        lambda lake, birds: lake.trash_objects_from_datalake(
            filter={"from_date": "2026-02-01", "to_date": "2026-01-01"}
        ),
        "dates are reversed",
    ),
    (lambda lake, birds: ItemSort("fileName", "asc"), "'video_index'"),  # type: ignore[arg-type]
    (lambda lake, birds: lake.get_item_list_from_collection(birds, sort="name"), "ItemSort"),  # type: ignore[arg-type]
    (lambda lake, birds: lake.get_file_details("birds_jay.png", "fileSize"), r"fields=\['fileSize'\]"),
    (lambda lake, birds: lake.get_collection_details(birds, "fileSize"), r"fields=\['fileSize'\]"),
    (lambda lake, birds: lake.download_collection(birds, "out", operations="yolo"), r"operations=\['yolo'\]"),
    (lambda lake, birds: lake.find_collection("birds", "picture"), "'image', 'video', 'other'"),  # type: ignore[arg-type]
    (lambda lake, birds: lake.upload_files_to_collection(".", "picture", "birds"), "'image', 'video'"),  # type: ignore[arg-type]
    (
        lambda lake, birds: lake.upload_files_to_collection(".", "image", "birds", existing="override"),  # type: ignore[arg-type]
        "'keep', 'replace'",
    ),
    (
        lambda lake, birds: lake.upload_annotations_by_unique_name("op", "a.json", kind="model"),  # type: ignore[arg-type]
        "'human', 'machine'",
    ),
    (lambda lake, birds: AnnotationSource("a.json", "op", "model"), "'human', 'machine'"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_wrong_argument_is_an_error_that_names_the_allowed_values(
    lake: MetaLake, birds: UploadResult, call: Wrong, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        call(lake, birds.collection_id)


def test_filters_and_sorts_may_have_the_form_of_the_vendors_client(lake: MetaLake, birds: UploadResult) -> None:
    raw = {"annotation_types": ["raw"], "from_date": "2022-08-02", "to_date": ""}
    assert lake.get_item_count_from_collection(birds.collection_id, filter=raw) == 3
    by_name = {"sort_by_field": "name", "sort_order": "DESC"}
    listed = [item.name for item in lake.get_item_list_from_collection(birds.collection_id, filter=raw, sort=by_name)]
    assert listed == sorted(IMAGES, reverse=True)


def test_a_call_after_close_is_an_error(served: EmbeddedLake, tmp_path: Path) -> None:
    lake = MetaLake(served.url, API_KEY, SECRET)
    lake.close()
    lake.close()
    for call in (lake.get_all_labels, lambda: lake.download_files_from_metalake("image", tmp_path)):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_undocumented_answers_of_several_forms_are_read() -> None:
    assert upload_status(40).progress == 40
    assert upload_status(None).progress is None
    assert system_counts({"images": 3, "videoCount": 2}).images == 3
    assert system_counts({"images": 3, "videoCount": 2}).videos == 2
    assert system_counts(None).others is None
    (group,) = label_groups({"groups": [{"_id": 7, "groupName": "birds", "labels": [{"labelText": "jay"}, "gull"]}]})
    assert (group.id, group.name, group.labels) == ("7", "birds", ("jay", "gull"))
