"""Uploads and downloads through the Python API, checked by raw HTTP requests to the lake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from metalake_sync import AnnotationSource, MetaLake, Progress, SomeFailed
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.errors import CredentialsRejected, GuardStopped, ManifestError, UsageError
from tests.api.conftest import IMAGES
from tests.embedded_lake.talk import API_KEY, Talk, png

Writer = Callable[..., Path]


def test_a_folder_is_uploaded_with_shared_metadata_file_metadata_and_annotations(
    lake: MetaLake, talk: Talk, images: Path, boxes: Writer, metadata_file: Writer
) -> None:
    events: list[Progress] = []
    result = lake.upload_files_to_collection(
        images,
        "image",
        "birds",
        metadata={"City": "Winnipeg", "Tags": ["#retail"]},
        file_metadata=metadata_file({"crow.png": {"City": "Toronto"}}),
        annotations=AnnotationSource(boxes({"jay.png": [(1, 2, 3, 4)]}), "people", "human"),
        progress=events.append,
    )
    assert result.uploaded == {name: f"birds_{name}" for name in IMAGES}
    assert (result.already_there, result.annotated) == ({}, 1)
    assert result.bytes_sent == sum(map(len, IMAGES.values()))
    assert events[-1].files_done == len(IMAGES)
    assert {name: talk.read(f"birds_{name}") for name in IMAGES} == IMAGES
    assert talk.details("birds_crow.png", "City", "Tags")["City"] == "Toronto"
    assert talk.details("birds_jay.png", "City")["City"] == "Winnipeg"
    assert talk.annotations(result.collection_id)["jay.png"][0]["bbox"] == [1, 2, 3, 4]
    assert [lake.wait_for_job_complete(job).status for job in result.job_ids] == ["completed"]


def test_the_upload_of_a_single_file_returns_its_unique_name(lake: MetaLake, images: Path) -> None:
    assert lake.upload_files_to_collection(images / "jay.png", "image", "birds").unique_name == "birds_jay.png"
    again = lake.upload_files_to_collection(images / "jay.png", "image", "birds")
    assert (again.unique_name, again.uploaded, again.job_ids) == ("birds_jay.png", {}, ())


def test_another_file_of_the_same_name_is_kept_or_replaced(lake: MetaLake, talk: Talk, images: Path) -> None:
    lake.upload_files_to_collection(images, "image", "birds")
    (images / "jay.png").write_bytes(other := png(80, 60, b"other"))
    kept = lake.upload_files_to_collection(images, "image", "birds")
    assert talk.read("birds_jay.png") == IMAGES["jay.png"]
    assert any("jay.png" in note for note in kept.notes)
    replaced = lake.upload_files_to_collection(images, "image", "birds", existing="replace")
    assert talk.read("birds_jay.png") == other
    assert list(replaced.uploaded) == ["jay.png"]


def test_subfolders_are_uploaded_only_with_recursive(lake: MetaLake, images: Path) -> None:
    (images / "more").mkdir()
    (images / "more" / "wren.png").write_bytes(png(salt=b"wren"))
    assert "wren.png" not in lake.upload_files_to_collection(images, "image", "birds").uploaded
    assert "wren.png" in lake.upload_files_to_collection(images, "image", "birds", recursive=True).uploaded


def test_a_missing_path_and_wrong_credentials_are_errors(served: EmbeddedLake, lake: MetaLake) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        lake.upload_files_to_collection("/no/such/folder", "image", "birds")
    with pytest.raises(CredentialsRejected):
        MetaLake(served.url, API_KEY, "wrong")
    with pytest.raises(UsageError, match="API key"):
        MetaLake(served.url)


def test_an_embedded_lake_needs_no_credentials_and_keeps_its_data(tmp_path: Path, images: Path) -> None:
    url = f"embedded:{tmp_path / 'own'}"
    with MetaLake(url) as lake:
        lake.upload_files_to_collection(images, "image", "birds")
    with MetaLake(url) as lake:
        assert lake.get_item_count_from_metalake("image") == 3


def test_a_collection_is_downloaded_with_its_annotations(
    lake: MetaLake, images: Path, boxes: Writer, tmp_path: Path
) -> None:
    source = AnnotationSource(boxes({"jay.png": [(1, 2, 3, 4)]}), "people", "human")
    birds = lake.upload_files_to_collection(images, "image", "birds", annotations=source).collection_id
    result = lake.download_collection(birds, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in result.fetched.values()} == {
        f"birds_{name}": content for name, content in IMAGES.items()
    }
    (document,) = result.annotations
    by_image = {entry["image"]: entry["annotations"] for entry in json.loads(document.read_text())["images"]}
    assert by_image.keys() == {f"birds_{name}" for name in IMAGES}
    assert by_image["birds_jay.png"][0]["bbox"] == [1, 2, 3, 4]
    machine = lake.download_collection(birds, tmp_path / "none", annotation_type="machine", media=False)
    assert machine.fetched == {}
    assert "bbox" not in machine.annotations[0].read_text()


def test_a_download_by_name_can_be_uploaded_again_with_its_annotations(
    lake: MetaLake, talk: Talk, images: Path, boxes: Writer, tmp_path: Path
) -> None:
    source = AnnotationSource(boxes({"jay.png": [(1, 2, 3, 4)]}), "people", "human")
    birds = lake.upload_files_to_collection(images, "image", "birds", annotations=source).collection_id
    down = lake.download_collection(birds, tmp_path / "out", naming="name")
    copy = AnnotationSource(down.annotations[0], "copied", "human")
    again = lake.upload_files_to_collection(down.folder, "image", "copies", annotations=copy)
    assert {name: talk.read(f"copies_{name}") for name in IMAGES} == IMAGES
    assert talk.annotations(again.collection_id)["jay.png"][0]["bbox"] == [1, 2, 3, 4]


def test_unchanged_files_are_not_downloaded_again(
    lake: MetaLake, served: EmbeddedLake, images: Path, tmp_path: Path
) -> None:
    birds = lake.upload_files_to_collection(images, "image", "birds").collection_id
    lake.download_files_from_collection(birds, tmp_path / "out")
    (tmp_path / "out" / "birds_jay.png").write_bytes(b"cut off")
    (tmp_path / "out" / "birds_crow.png").unlink()
    served.requests.clear()
    again = lake.download_files_from_collection(birds, tmp_path / "out")
    assert (set(again.fetched), again.unchanged) == ({"birds_jay.png", "birds_crow.png"}, 1)
    # Two files, and one byte of the unchanged file, which proves its bytes once.
    assert served.requests.of("get_object") == 3
    assert (tmp_path / "out" / "birds_jay.png").read_bytes() == IMAGES["jay.png"]


def test_a_file_that_cannot_be_written_fails_alone(lake: MetaLake, images: Path, tmp_path: Path) -> None:
    birds = lake.upload_files_to_collection(images, "image", "birds").collection_id
    (tmp_path / "out" / "birds_jay.png").mkdir(parents=True)
    with pytest.raises(SomeFailed, match="jay") as failed:
        lake.download_files_from_collection(birds, tmp_path / "out")
    assert [item.name for item in failed.value.failed] == ["jay.png"]
    assert (tmp_path / "out" / "birds_crow.png").read_bytes() == IMAGES["crow.png"]


def test_annotations_are_downloaded_in_the_requested_format(lake: MetaLake, images: Path, tmp_path: Path) -> None:
    birds = lake.upload_files_to_collection(images, "image", "birds").collection_id
    lake.download_collection(birds, tmp_path / "out", annotation_format="voc")
    assert len(list((tmp_path / "out").glob("*.xml"))) == len(IMAGES)


def test_an_unknown_format_is_an_error(lake: MetaLake, images: Path, tmp_path: Path) -> None:
    birds = lake.upload_files_to_collection(images, "image", "birds").collection_id
    with pytest.raises(ManifestError, match="'format' is 'paint'"):
        lake.download_collection(birds, tmp_path / "out", annotation_format="paint")


def test_an_upload_with_a_state_file_is_not_repeated(
    lake: MetaLake, served: EmbeddedLake, images: Path, boxes: Writer, tmp_path: Path
) -> None:
    source = AnnotationSource(boxes({"jay.png": [(1, 2, 3, 4)]}), "people", "human")
    state = tmp_path / "upload.db"
    lake.upload_files_to_collection(images, "image", "birds", annotations=source, state=state)
    served.requests.clear()
    again = lake.upload_files_to_collection(images, "image", "birds", annotations=source, state=state)
    assert again.annotated == 0
    assert served.requests.of("item_details") == 0
    with pytest.raises(GuardStopped):
        lake.upload_files_to_collection(images, "image", "birds", state=state)


def test_replace_replaces_a_file_of_equal_size_and_other_bytes(lake: MetaLake, talk: Talk, images: Path) -> None:
    lake.upload_files_to_collection(images, "image", "birds")
    other = IMAGES["jay.png"][:-1] + b"?"
    (images / "jay.png").write_bytes(other)
    replaced = lake.upload_files_to_collection(images, "image", "birds", existing="replace")
    assert talk.read("birds_jay.png") == other
    assert list(replaced.uploaded) == ["jay.png"]
    # Files whose bytes the store proves to be the same are not sent.
    assert sorted(replaced.already_there) == ["crow.png", "gull.png"]


def test_a_local_file_with_the_lakes_size_and_other_bytes_is_downloaded_again(
    lake: MetaLake, images: Path, tmp_path: Path
) -> None:
    collection = lake.upload_files_to_collection(images, "image", "birds").collection_id
    out = tmp_path / "out"
    lake.download_collection(collection, out)
    (out / "birds_jay.png").write_bytes(IMAGES["jay.png"][:-1] + b"?")
    again = lake.download_collection(collection, out)
    assert (list(again.fetched), again.unchanged) == (["birds_jay.png"], 2)
    assert (out / "birds_jay.png").read_bytes() == IMAGES["jay.png"]


def test_a_file_that_differs_and_is_kept_is_reported_by_name(lake: MetaLake, images: Path) -> None:
    lake.upload_files_to_collection(images, "image", "birds")
    (images / "jay.png").write_bytes(png(80, 60, b"other"))
    kept = lake.upload_files_to_collection(images, "image", "birds")
    assert not any("adopt" in note for note in kept.notes)
    assert (kept.differing, sorted(kept.already_there)) == (("jay.png",), ["crow.png", "gull.png"])
    alone = lake.upload_files_to_collection(images / "jay.png", "image", "birds")
    with pytest.raises(UsageError, match="another file named 'jay.png'"):
        _ = alone.unique_name
    with pytest.raises(UsageError, match="has 2 files, not one"):
        _ = kept.unique_name


def test_shapes_that_a_format_cannot_hold_are_reported(
    lake: MetaLake, images: Path, tmp_path: Path, boxes: Writer
) -> None:
    line = {"type": "line", "line": [[1, 1], [5, 5]], "label": "bird"}
    (source := tmp_path / "lines.json").write_text(
        json.dumps({"images": [{"image": "jay.png", "annotations": [line]}]})
    )
    birds = lake.upload_files_to_collection(
        images, "image", "birds", annotations=AnnotationSource(source, "op", "human")
    ).collection_id
    (note,) = lake.download_collection(birds, tmp_path / "out", annotation_format="yolo").notes
    assert "line" in note
    assert lake.download_collection(birds, tmp_path / "all").notes == ()


def test_files_of_another_type_are_not_uploaded_and_create_no_collection(
    lake: MetaLake, talk: Talk, tmp_path: Path, boxes: Writer
) -> None:
    with pytest.raises(UsageError, match=r"'boxes.json' does not have the extension of a file of type 'image'"):
        lake.upload_files_to_collection(boxes({}), "image", "birds")
    with pytest.raises(UsageError, match="nothing to upload"):
        lake.upload_files_to_collection(tmp_path, "image", "birds")
    assert list(lake.list_collections("image")) == []
    lake.upload_files_to_collection(boxes({}), "other", "papers")


def test_the_last_progress_event_of_a_download_counts_everything(lake: MetaLake, images: Path, tmp_path: Path) -> None:
    birds = lake.upload_files_to_collection(images, "image", "birds").collection_id
    events: list[Progress] = []
    result = lake.download_collection(birds, tmp_path / "out", progress=events.append)
    size = sum(map(len, IMAGES.values()))
    # Three images and their annotation file.
    assert (events[-1].files_done, events[-1].files_total) == (4, 4)
    assert (events[-1].bytes_sent, events[-1].bytes_total, result.bytes_received) == (size, size, size)


def test_a_failure_advises_another_call_only_if_it_may_succeed(lake: MetaLake, images: Path, tmp_path: Path) -> None:
    birds = lake.upload_files_to_collection(images, "image", "birds").collection_id
    (tmp_path / "out" / "birds_jay.png").mkdir(parents=True)
    with pytest.raises(SomeFailed) as failed:
        lake.download_files_from_collection(birds, tmp_path / "out")
    assert "call it again" not in str(failed.value.remedy)


def test_a_tilde_is_the_home_folder_and_an_empty_path_is_an_error(
    lake: MetaLake, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    birds = lake.upload_files_to_collection("~/pictures", "image", "birds").collection_id
    assert lake.download_files_from_collection(birds, "~/out").folder == tmp_path / "out"
    with pytest.raises(UsageError, match="is not the path of a file or folder"):
        lake.download_files_from_collection(birds, "")


def test_operations_without_annotations_are_reported(lake: MetaLake, images: Path, tmp_path: Path) -> None:
    birds = lake.upload_files_to_collection(images, "image", "birds").collection_id
    (note,) = lake.download_collection(birds, tmp_path / "out", operations=["nope"]).notes
    assert "'nope'" in note
    assert lake.download_collection(birds, tmp_path / "all").notes == ()
