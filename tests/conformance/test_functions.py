"""The functions of the vendor's page, sections 2.1 to 2.20, with each client and each store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.key_stores.addresses import BucketAddress
from tests.conformance.conftest import PAIRINGS, Contender, storage_named
from tests.conformance.driver import (
    Address,
    AnnotationSource,
    Downloaded,
    Driver,
    DriverRefused,
    Kind,
    Selection,
    Sort,
    Uploaded,
    UploadOptions,
    Way,
)
from tests.conformance.folders import IMAGES, write_folder
from tests.embedded_lake.talk import png, settings

BY_NAME = Sort("name")


@pytest.fixture(params=PAIRINGS)
def pairing(request: pytest.FixtureRequest) -> tuple[Contender, str]:
    """A client and the storage of its lake."""
    pairing: tuple[Contender, str] = request.param
    return pairing


@pytest.fixture
def storage(pairing: tuple[Contender, str], request: pytest.FixtureRequest) -> BucketAddress | None:
    return storage_named(pairing[1], request)


@pytest.fixture
def lake(tmp_path: Path, pairing: tuple[Contender, str], storage: BucketAddress | None) -> Iterator[EmbeddedLake]:
    """A new, empty lake that serves only the client's generation."""
    alone = frozenset({pairing[0].generation})
    with EmbeddedLake(settings(tmp_path / "lake", storage=storage, generations=alone)) as lake:
        yield lake


@pytest.fixture
def driver(pairing: tuple[Contender, str], lake: EmbeddedLake, request: pytest.FixtureRequest) -> Driver:
    return pairing[0].make(request.getfixturevalue(pairing[0].fixture))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", IMAGES)


def write_json(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def metadata_file(folder: Path, files: dict[str, dict[str, Any]]) -> Path:
    entries = [{"file": file, "metadata": metadata} for file, metadata in files.items()]
    return write_json(folder / "metadata.json", {"files": entries})


def annotation_file(folder: Path, images: dict[str, list[dict[str, Any]]]) -> Path:
    entries = [{"image": image, "annotations": shapes} for image, shapes in images.items()]
    return write_json(folder / "annotations.json", {"images": entries})


def rectangle(label: str, *bbox: float, **more: Any) -> dict[str, Any]:
    return {"type": "rectangle", "bbox": list(bbox), "label": label, "metadata": {}, **more}


def upload(driver: Driver, path: Path, collection: str = "birds", kind: Kind = "image", **options: Any) -> Uploaded:
    return driver.upload(path, collection, kind, UploadOptions(**options))


def download(driver: Driver, collection_id: str, operations: Sequence[str] = (), kind: Any = "all") -> Downloaded:
    return driver.download_collection(collection_id, kind=kind, operations=operations, media=True)


def draw(driver: Driver, folder: Path, operation: str, *shapes: dict[str, Any], machine: bool = False) -> None:
    """Write these shapes to the image of the jay."""
    source = annotation_file(folder, {"jay.png": list(shapes)})
    driver.annotate(Address("collection", "birds"), AnnotationSource(source, operation, machine))


def said(drawings: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return shapes without empty metadata and attributes, which a lake may write or leave out."""
    return {
        image: [{key: value for key, value in shape.items() if value != {}} for shape in shapes]
        for image, shapes in drawings.items()
    }


def in_collection(collection_id: str, **selection: Any) -> Selection:
    return Selection(collection_id=collection_id, **selection)


def test_2_1_a_folder_with_common_and_single_metadata_and_annotations(
    driver: Driver, images: Path, tmp_path: Path
) -> None:
    attributes = {"size": [{"value": "small", "confidence": 1, "metadata": {"m": "n"}}]}
    shapes = {
        "crow.png": [
            rectangle("bird", 1, 2.5, 10, 7, confidence=0.53, metadata={"by": "me"}, attributes=attributes),
            {"type": "polygon", "polygon": [[1, 1], [5, 1], [3, 4.5]], "label": "nest", "metadata": {}},
        ],
        "gull.png": [
            {"type": "line", "line": [[0, 0], [9, 9]], "label": "wire", "metadata": {}},
            {"type": "points", "points": [[3, 3]], "label": "eye", "metadata": {}},
        ],
    }
    done = upload(
        driver,
        images,
        metadata={"Captured Location": "Winnipeg", "Camera Id": "CAM_1", "Tags": ["#retail"]},
        file_metadata=metadata_file(tmp_path, {"crow.png": {"Camera Id": "CAM_2", "Tags": ["night", "#x"]}}),
        annotations=AnnotationSource(annotation_file(tmp_path, shapes), "people"),
    )
    tags = ["#retail", "night", "#x"] if driver.unites_tags else ["night", "#x"]
    crow = driver.item_details("birds_crow.png", ["Captured Location", "Camera Id", "Tags", "fileSize", "resolution"])
    assert (crow["Captured Location"], crow["Camera Id"], crow["Tags"]) == ("Winnipeg", "CAM_2", tags)
    assert (crow["fileSize"], crow["resolution"]) == (len(IMAGES["crow.png"]), {"width": 40, "height": 20})
    assert driver.item_details("birds_jay.png", ["Tags"])["Tags"] == ["#retail"]
    found = download(driver, done.collection_id)
    assert found.files == {f"birds_{name}": content for name, content in IMAGES.items()}
    assert said({image: drawn for image, drawn in found.annotations.items() if drawn}) == said(shapes)


def test_2_1_a_single_file_returns_its_unique_name_also_if_it_exists(driver: Driver, images: Path) -> None:
    for _ in range(2):
        assert upload(driver, images / "crow.png").unique_name == "birds_crow.png"


def test_2_1_a_storage_prefix_is_the_start_of_storage_paths(
    driver: Driver, in_bucket: Callable[[str], str], images: Path
) -> None:
    upload(driver, images, storage_prefix="dir_1/sub_dir_1")
    details = driver.item_details("birds_jay.png", ["storagePath", "bucketName"])
    assert details["storagePath"] == in_bucket("dir_1/sub_dir_1/birds/jay.png")


def test_2_1_metadata_is_written_to_existing_files_only_with_override(driver: Driver, images: Path) -> None:
    upload(driver, images, metadata={"City": "Rome"})
    upload(driver, images, metadata={"City": "Paris"})
    assert driver.item_details("birds_jay.png", ["City"])["City"] == "Rome"
    upload(driver, images, metadata={"City": "Paris"}, override=True)
    assert driver.item_details("birds_jay.png", ["City"])["City"] == "Paris"


def test_2_1_uploaded_files_are_not_sent_again(driver: Driver, lake: EmbeddedLake, images: Path) -> None:
    upload(driver, images)
    (images / "wren.png").write_bytes(png(salt=b"wren"))
    lake.requests.clear()
    done = upload(driver, images)
    assert lake.requests.of("finalize_file") == 1
    assert driver.count(in_collection(done.collection_id)) == 4


def test_2_1_videos_other_files_and_empty_files_are_uploaded(driver: Driver, tmp_path: Path) -> None:
    films = upload(driver, write_folder(tmp_path / "films", {"a.mp4": b"film" * 1000}), "films", "video")
    others = {"a b.txt": b"note", "empty.bin": b""}
    notes = upload(driver, write_folder(tmp_path / "notes", others), "notes", "other")
    assert download(driver, films.collection_id).files == {"films_a.mp4": b"film" * 1000}
    assert download(driver, notes.collection_id).files == {"notes_a b.txt": b"note", "notes_empty.bin": b""}
    assert dict(driver.system_counts()) == {"image": 0, "video": 1, "other": 2}


@pytest.mark.parametrize("way", ["collection", "unique_name", "storage_path", "job"])
@pytest.mark.parametrize("normalized", [False, True])
def test_2_2_to_2_5_annotations_with_each_kind_of_address(
    driver: Driver, in_bucket: Callable[[str], str], images: Path, tmp_path: Path, way: Way, normalized: bool
) -> None:
    done = upload(driver, images)
    path = f"/{in_bucket('birds/jay.png')}"
    image = {"unique_name": "birds_jay.png", "storage_path": path}.get(way, "jay.png")
    bbox = (0.25, 0.5, 0.5, 0.25) if normalized else (10, 10, 20, 5)
    source = annotation_file(tmp_path, {image: [rectangle("bird", *bbox)]})
    value = {"collection": "birds", "job": done.job_id}.get(way)
    driver.annotate(Address(way, value), AnnotationSource(source, "yolo", machine=True, normalized=normalized))
    (found,) = download(driver, done.collection_id, kind="machine").annotations["jay.png"]
    assert (found["bbox"], found["label"]) == ([10, 10, 20, 5], "bird")


def test_2_2_operations_are_separate_and_can_be_replaced_and_removed(
    driver: Driver, images: Path, tmp_path: Path
) -> None:
    birds = upload(driver, images).collection_id

    def boxes(*operations: str, kind: str = "all") -> list[float]:
        return sorted(shape["bbox"][0] for shape in download(driver, birds, operations, kind).annotations["jay.png"])

    draw(driver, tmp_path, "people", rectangle("bird", 1, 1, 1, 1), rectangle("bird", 2, 2, 2, 2))
    draw(driver, tmp_path, "yolo", rectangle("bird", 3, 3, 3, 3), machine=True)
    assert (boxes(), boxes(kind="human"), boxes(kind="machine")) == ([1, 2, 3], [1, 2], [3])
    assert (boxes("yolo"), boxes("people", "yolo")) == ([3], [1, 2, 3])
    draw(driver, tmp_path, "people", rectangle("bird", 4, 4, 4, 4))
    assert boxes() == [3, 4]
    driver.remove_annotations(birds, "yolo")
    assert boxes() == [4]
    assert driver.labels() == ["bird"]


def test_2_7_annotations_are_downloaded_without_the_files(driver: Driver, images: Path, tmp_path: Path) -> None:
    birds = upload(driver, images).collection_id
    draw(driver, tmp_path, "people", rectangle("bird", 1, 2, 3, 4))
    found = driver.download_collection(birds, kind="all", operations=[], media=False)
    assert found.files == {}
    assert found.annotations["jay.png"][0]["bbox"] == [1, 2, 3, 4]


def test_2_9_a_url_reads_the_file_without_credentials(driver: Driver, images: Path) -> None:
    upload(driver, images, "my birds!")
    assert requests.get(driver.download_url("my birds__jay.png"), timeout=30).content == IMAGES["jay.png"]
    with pytest.raises(DriverRefused):
        driver.download_url("missing")


def test_2_10_a_whole_collection_is_trashed(driver: Driver, images: Path) -> None:
    birds = upload(driver, images).collection_id
    assert driver.trash(in_collection(birds)) == 1
    assert driver.count(Selection()) == 0
    assert driver.find_collection("birds", "image") is None
    assert upload(driver, images).collection_id != birds
    assert download_names(driver, Selection()) == ["birds_crow.png", "birds_gull.png", "birds_jay.png"]


def test_2_10_and_2_11_files_that_a_query_or_a_filter_finds_are_trashed(
    driver: Driver, images: Path, tmp_path: Path
) -> None:
    birds = upload(driver, images).collection_id
    tags = {name: {"Tags": [name[0]], "City": "Rome"} for name in IMAGES}
    driver.write_metadata(Address("collection", "birds"), metadata_file(tmp_path, tags))
    draw(driver, tmp_path, "yolo", rectangle("bird", 1, 2, 3, 4), machine=True)
    assert driver.trash(in_collection(birds, query="metadata.Tags=c and metadata.City=Oslo")) == 0
    assert driver.trash(in_collection(birds, query="metadata.Tags=c and metadata.City=Rome")) == 1
    assert driver.trash(Selection(annotation_types=["machine"], from_date="2020-01-01")) == 1
    assert driver.list_names(in_collection(birds), BY_NAME) == ["gull.png"]
    assert driver.trash(Selection(query="metadata.Tags=g", to_date="2020-01-01")) == 0
    assert driver.trash(Selection(query="metadata.Tags=g")) == 1
    assert driver.count(in_collection(birds)) == 0


@pytest.mark.parametrize("to_files", [True, False])
def test_2_13_metadata_of_a_collection_is_written(driver: Driver, images: Path, to_files: bool) -> None:
    birds = upload(driver, images).collection_id
    driver.write_collection_metadata("birds", "image", {"City": "Rome", "Tags": ["#retail"]}, to_files=to_files)
    assert driver.collection_details(birds, ["City", "Tags"])["City"] == "Rome"
    assert driver.item_details("birds_jay.png", ["City"]).get("City") == ("Rome" if to_files else None)


@pytest.mark.parametrize("way", ["collection", "unique_name", "storage_path", "job"])
def test_2_14_to_2_17_metadata_of_files_with_each_kind_of_address(
    driver: Driver, in_bucket: Callable[[str], str], images: Path, tmp_path: Path, way: Way
) -> None:
    done = upload(driver, images, metadata={"City": "Rome", "Tags": ["old"]})
    file = {"unique_name": "birds_jay.png", "storage_path": in_bucket("birds/jay.png")}.get(way, "jay.png")
    source = metadata_file(tmp_path, {file: {"way": way, "Tags": ["x"], "fileSize": 30}})
    driver.write_metadata(Address(way, {"collection": "birds", "job": done.job_id}.get(way)), source)
    details = driver.item_details("birds_jay.png", ["way", "Tags", "City", "fileSize"])
    assert (details["way"], details["Tags"], details["City"]) == (way, ["x"], "Rome")
    assert details["fileSize"] == len(IMAGES["jay.png"])
    assert driver.item_details("birds_crow.png", ["Tags"])["Tags"] == ["old"]


def test_2_14_invalid_tags_are_rejected_before_anything_is_written(
    driver: Driver, images: Path, tmp_path: Path
) -> None:
    upload(driver, images)
    source = metadata_file(tmp_path, {"jay.png": {"x": 1}, "crow.png": {"Tags": [""]}})
    words = "a tag in 'Tags' is empty|Invalid tag" if driver.shows_refusals else "TypeError"
    with pytest.raises(DriverRefused, match=words):
        driver.write_metadata(Address("collection", "birds"), source)
    assert "x" not in driver.item_details("birds_jay.png", ["x"])


@pytest.mark.parametrize("in_the_lake", [False, True])
def test_2_19_and_2_20_files_of_a_query_or_filter_are_downloaded_to_the_last_page(
    driver: Driver, images: Path, tmp_path: Path, in_the_lake: bool
) -> None:
    birds = upload(driver, images).collection_id
    place: dict[str, Any] = {} if in_the_lake else {"collection_id": birds}
    draw(driver, tmp_path, "yolo", rectangle("Bird", 1, 2, 3, 4), machine=True)
    files = driver.download_files(Selection(**place), BY_NAME)
    assert files == {f"birds_{name}": content for name, content in IMAGES.items()}
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    for selection in (
        Selection(**place, query="annotation.label=Bird"),
        Selection(**place, annotation_types=["machine", "human"], from_date="2022-08-02", to_date=tomorrow),
    ):
        assert list(driver.download_files(selection, BY_NAME)) == ["birds_jay.png"]
        assert driver.count(selection) == 1
    raw = Selection(**place, annotation_types=["raw"])
    assert driver.list_names(raw, Sort("name", descending=True)) == ["gull.png", "crow.png"]
    assert driver.list_names(Selection(**place, to_date="2022-01-01"), BY_NAME) == []


def test_lists_are_sorted_by_every_field(driver: Driver, tmp_path: Path) -> None:
    files = {"b.png": png(salt=b"x" * 9), "c.png": png(salt=b"x"), "a.png": png(salt=b"x" * 90)}
    for name, content in files.items():
        folder = write_folder(tmp_path / name, {name: content})
        birds = upload(driver, folder / name).collection_id
    draw_on = annotation_file(tmp_path, {"b.png": [rectangle("bird", 1, 1, 1, 1)]})
    driver.annotate(Address("collection", "birds"), AnnotationSource(draw_on, "op"))
    expected: dict[Any, str] = {
        "name": "abc", "size": "cba", "date_created": "bca", "video_index": "bca", "date_modified": "cab",
    }  # fmt: skip
    if not driver.sorts_by_video_index:
        del expected["video_index"]
    expected["size"] = "".join(sorted("abc", key=lambda name: len(files[f"{name}.png"])))
    for by, order in expected.items():
        for descending in (False, True):
            names = driver.list_names(in_collection(birds), Sort(by, descending))
            assert [name[0] for name in names] == list(reversed(order) if descending else order), by


def test_collections_are_created_found_and_described(driver: Driver, images: Path) -> None:
    made = driver.create_collection("birds", "image", {"City": "Rome", "Tags": ["x"]})
    assert driver.find_collection("birds", "image") == made
    assert driver.find_collection("birds", "video") is None
    assert upload(driver, images).collection_id == made
    head = driver.collection_details(made, ["City", "Tags", "storagePath", "frameCount"])
    assert (head["City"], head["Tags"], head["storagePath"], head["frameCount"]) == ("Rome", ["x"], "birds", 3)


def download_names(driver: Driver, selection: Selection) -> list[str]:
    return sorted(driver.download_files(selection, BY_NAME))
