"""Annotations and metadata as Python objects: lists, dictionaries, numpy values and DataFrames."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from metalake_sync import AnnotationSource, MetaLake, SomeFailed
from metalake_sync.api import UploadResult
from metalake_sync.errors import SyncError, UsageError
from tests.embedded_lake.talk import Talk

BOX = {"type": "rectangle", "bbox": [1, 2, 3, 4], "label": "bird"}
IN_VENDORS_FORM = [{"image": "jay.png", "annotations": [BOX]}]


@pytest.fixture
def birds(lake: MetaLake, images: Path) -> UploadResult:
    return lake.upload_files_to_collection(images, "image", "birds")


@pytest.fixture
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def boxes_of(talk: Talk, birds: UploadResult, image: str) -> list[Any]:
    return [shape["bbox"] for shape in talk.annotations(birds.collection_id)[image]]


@pytest.mark.parametrize("form", [list, tuple, lambda images: {"images": images}], ids=["list", "tuple", "document"])
def test_annotations_may_be_objects_in_the_vendors_form(
    lake: MetaLake, talk: Talk, birds: UploadResult, temporary_files: Path, form: Callable[[list[Any]], Any]
) -> None:
    written = lake.upload_annotations_for_collection("birds", "people", form(IN_VENDORS_FORM), kind="human")
    assert (written.written, written.unmatched) == (1, ())
    assert boxes_of(talk, birds, "jay.png") == [[1, 2, 3, 4]]
    assert list(temporary_files.iterdir()) == []


def test_annotations_by_unique_name_and_by_job_may_be_objects(lake: MetaLake, talk: Talk, birds: UploadResult) -> None:
    by_name = [{"image": "birds_jay.png", "annotations": [BOX]}]
    assert lake.upload_annotations_by_unique_name("people", by_name, kind="human").written == 1
    by_job = [{"image": "crow.png", "annotations": [BOX]}]
    assert lake.upload_annotations_by_job_id(birds.job_ids[0], "people", by_job, kind="human")
    assert boxes_of(talk, birds, "crow.png") == boxes_of(talk, birds, "jay.png") == [[1, 2, 3, 4]]


def test_files_are_uploaded_with_objects(lake: MetaLake, talk: Talk, images: Path) -> None:
    result = lake.upload_files_to_collection(
        images,
        "image",
        "birds",
        file_metadata={"jay.png": {"City": "Rome"}},
        annotations=AnnotationSource(IN_VENDORS_FORM, "people", "human"),
    )
    assert result.annotated == 1
    assert any(note.startswith("people: 2 files") for note in result.notes)
    assert talk.details("birds_jay.png", "City")["City"] == "Rome"


def test_values_of_numpy_and_dates_are_written_as_json_has_them(
    lake: MetaLake, talk: Talk, birds: UploadResult
) -> None:
    numpy = pytest.importorskip("numpy")
    box = {**BOX, "bbox": numpy.array([1.5, 2, 3, 4]), "confidence": numpy.float32(0.5)}
    lake.upload_annotations_for_collection(
        "birds", "model", [{"image": "jay.png", "annotations": [box]}], kind="machine"
    )
    assert boxes_of(talk, birds, "jay.png") == [[1.5, 2, 3, 4]]
    metadata = {
        "jay.png": {"Day": date(2026, 1, 31), "Moment": datetime(2026, 1, 31, 8, tzinfo=UTC), "N": numpy.int64(3)}
    }
    lake.upload_metadata_for_files("birds", "image", metadata)
    found = talk.details("birds_jay.png", "Day", "Moment", "N")
    assert (found["Day"], found["Moment"], found["N"]) == ("2026-01-31", "2026-01-31T08:00:00+00:00", 3)


@pytest.mark.parametrize(
    "form",
    [
        {"jay.png": {"City": "Rome"}},
        [{"file": "jay.png", "metadata": {"City": "Rome"}}],
        {"files": [{"file": "jay.png", "metadata": {"City": "Rome"}}]},
    ],
    ids=["mapping", "list", "document"],
)
@pytest.mark.usefixtures("birds")
def test_metadata_may_be_objects(lake: MetaLake, talk: Talk, form: Any) -> None:
    assert lake.upload_metadata_for_files("birds", "image", form).written == 1
    assert talk.details("birds_jay.png", "City")["City"] == "Rome"


def test_a_file_named_files_has_metadata_like_any_other(lake: MetaLake, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/files").write_bytes(b"x")
    lake.upload_files_to_collection(tmp_path / "data", "other", "notes")
    assert lake.upload_metadata_for_files("notes", "other", {"files": {"City": "Rome"}}).written == 1


def test_a_data_frame_is_a_table_of_rectangles(lake: MetaLake, talk: Talk, birds: UploadResult) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "image": ["jay.png", "crow.png", "jay.png"],
            "label": ["bird", "bird", "wing"],
            "x": [1, 2, 3],
            "y": [1, 2, 3],
            "width": [4.5, 4, 4],
            "height": [5, 5, 5],
            "confidence": [0.9, None, 0.5],
            "side": ["left", None, None],
        }
    )
    lake.upload_annotations_for_collection("birds", "model", frame, kind="machine")
    shapes = talk.annotations(birds.collection_id)
    assert [shape["bbox"] for shape in shapes["jay.png"]] == [[1, 1, 4.5, 5], [3, 3, 4, 5]]
    assert [shape.get("confidence") for shape in shapes["jay.png"]] == [0.9, 0.5]
    assert [value["value"] for value in shapes["jay.png"][0]["attributes"]["side"]] == ["left"]
    assert shapes["crow.png"][0].get("attributes", {}) == {}


@pytest.mark.usefixtures("birds")
def test_a_data_frame_is_a_table_of_metadata(lake: MetaLake, talk: Talk) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"file": ["jay.png", "crow.png"], "City": ["Rome", None], "Day": pandas.to_datetime(["2026-01-31", None])}
    )
    assert lake.upload_metadata_for_files("birds", "image", frame).written == 2
    assert talk.details("birds_jay.png", "City", "Day")["Day"] == "2026-01-31T00:00:00"
    assert "City" not in talk.details("birds_crow.png", "City", "Day")


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        (7, "is not a set of annotations"),
        ([1, 2], "is not a set of annotations"),
        ({"image": "jay.png"}, "is not a set of annotations"),
        ([{"image": "jay.png", "annotations": [{**BOX, "label": {1, 2}}]}], r"images\[0\]\.annotations\[0\]\.label is"),
        ([{"image": "jay.png", "annotations": [{**BOX, "bbox": b"1234"}]}], r"bbox is a value of type bytes"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("birds")
def test_other_objects_are_errors(lake: MetaLake, annotations: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lake.upload_annotations_for_collection("birds", "people", annotations, kind="human")


@pytest.mark.usefixtures("birds")
def test_other_metadata_is_an_error(lake: MetaLake) -> None:
    for wrong in (7, {"jay.png": "Rome"}, ["jay.png"]):
        with pytest.raises(UsageError, match="is not metadata of files"):
            lake.upload_metadata_for_files("birds", "image", wrong)


@pytest.mark.usefixtures("birds")
def test_a_data_frame_without_a_column_or_a_value_is_an_error(lake: MetaLake) -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(UsageError, match="'width', 'height'"):
        frame = pandas.DataFrame({"image": ["jay.png"], "label": ["bird"], "x": [1], "y": [1]})
        lake.upload_annotations_for_collection("birds", "people", frame, kind="human")
    with pytest.raises(UsageError, match="row 1 .* 'file'"):
        lake.upload_metadata_for_files("birds", "image", pandas.DataFrame({"file": ["jay.png", None], "City": "Rome"}))


@pytest.mark.usefixtures("birds")
def test_errors_and_notes_name_the_argument_and_no_temporary_file(
    lake: MetaLake, temporary_files: Path, images: Path
) -> None:
    broken = [{"image": "jay.png", "annotations": [{**BOX, "attributes": {"side": "left"}}]}]
    told = []
    for call in (
        lambda: lake.upload_annotations_for_collection("birds", "people", broken, kind="human"),
        lambda: lake.upload_metadata_for_files("birds", "image", [{"file": 7}]),
        lambda: lake.upload_files_to_collection(
            images, "image", "more", annotations=AnnotationSource(broken, "people", "human")
        ),
    ):
        try:
            told.append(str(call()))
        except SomeFailed as error:
            told.append(f"{error} {error.failed} {error.result}")
        except SyncError as error:
            told.append(str(error))
    assert "annotations" in told[0]
    assert "metadata" in told[1]
    assert not [text for text in told if os.fspath(temporary_files) in text or "metalake-sync-" in text], told


def test_a_download_may_be_limited_by_a_query(lake: MetaLake, birds: UploadResult, tmp_path: Path) -> None:
    lake.upload_annotations_for_collection("birds", "people", IN_VENDORS_FORM, kind="human")
    got = lake.download_collection(birds.collection_id, tmp_path / "out", query="annotation.label=bird")
    assert list(got.fetched) == ["birds_jay.png"]
