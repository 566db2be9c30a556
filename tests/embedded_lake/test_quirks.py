"""Quirks of a lake: each differs from the usual lake as far as the evidence allows, and keeps what a user wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.embedded_lake.quirks import Quirk, parse_quirks
from metalake_sync.errors import UsageError
from metalake_sync.protocol.routes import Generation
from tests.embedded_lake.talk import Talk, box, error_of, image_set, lake_at, png, talk_to

ROOT = Path(__file__).parents[2]
FILES = {f"{name}.png": png(salt=name.encode()) for name in "abc"}
METADATA = {"City": "Rome", "size": 3, "Tags": ["Night"], "deep": {"count": 1, "message": ""}}
OBJECT_ID = re.compile(r"[0-9a-f]{24}")


def quirky(folder: Path, *quirks: Quirk, **changes: Any) -> Any:
    return lake_at(folder, quirks=frozenset(quirks), **changes)


def stock(talk: Talk) -> str:
    """Upload three files with metadata, one of them with a box of each operation. Returns the collection's id."""
    birds = talk.upload(FILES, metadata=METADATA).collection_id
    ref = talk.label("bird")["ref"]
    drawn = box("bird", 1, 2, 3, 4)
    drawn["label"] |= {"label": ref, "key": ref}
    talk.annotate("people", [image_set("birds_a.png", drawn)])
    talk.annotate("yolo", [image_set("birds_a.png", drawn)], mode=2)
    return birds


FORMS = (
    Quirk.UNKNOWN_FIELDS,
    Quirk.NULLS,
    Quirk.OPAQUE_IDS,
    Quirk.DETAILS_MINIMAL,
    Quirk.DATES_AS_OBJECTS,
    Quirk.NO_CONTENT,
)


@pytest.mark.parametrize("quirk", FORMS)
def test_no_quirk_changes_what_a_user_wrote(tmp_path: Path, quirk: Quirk) -> None:
    with quirky(tmp_path, quirk) as talk:
        birds = stock(talk)
        details = talk.details("birds_a.png", *METADATA)
        assert {name: details[name] for name in METADATA} == METADATA
        assert [shape["bbox"] for shape in talk.annotations(birds)["a.png"]] == [[1, 2, 3, 4]] * 2
        assert {name: talk.read(f"birds_{name}") for name in FILES} == FILES


def test_opaque_ids_are_case_sensitive_texts(tmp_path: Path) -> None:
    with quirky(tmp_path, Quirk.OPAQUE_IDS) as talk:
        session = talk.upload(FILES)
        ids = [session.upload_id, session.collection_id, session.job_id, talk.label("bird")["ref"]]
        ids += [item["id"] for item in talk.items()]
        assert not any(OBJECT_ID.fullmatch(each) for each in ids)
        assert len({*ids}) == 7
        assert talk.got(f"/api/client/{session.collection_id}/getObjectTypeById") == {"objectType": 5}


def test_unique_names_can_be_storage_paths(tmp_path: Path) -> None:
    with quirky(tmp_path, Quirk.UNIQUE_NAMES_ARE_PATHS) as talk:
        talk.upload(FILES, prefix="raw")
        assert sorted(item["uniqueName"] for item in talk.items()) == [f"raw/birds/{name}" for name in sorted(FILES)]
        assert talk.read("raw/birds/a.png") == FILES["a.png"]


@pytest.mark.parametrize("quirk", [Quirk.TRASHED_NAMES_TAKEN, Quirk.TRASHED_NAMES_REFUSED])
def test_the_trash_can_keep_names_of_files_and_collections(tmp_path: Path, quirk: Quirk) -> None:
    with quirky(tmp_path, quirk) as talk:
        talk.upload(FILES)
        item = next(item for item in talk.items() if item["name"] == "a.png")
        talk.trash(contentType=2, objectIdList=[item["id"]])
        session = talk.open(names=["a.png"])
        body = {"fileName": "a.png", "collectionName": "birds", "uploadId": session.upload_id}
        answer = talk.post("/api/client/fileUpload/initializeMultipartUpload", body)
        if quirk is Quirk.TRASHED_NAMES_TAKEN:
            assert (answer.json()["isExisting"], answer.json()["fileId"]) == (True, item["id"])
        else:
            assert error_of(answer) == (409, "A file in the trash has the name 'a.png'")
        talk.trash(contentType=5, objectIdList=[session.collection_id])
        opening = {"collectionType": 5, "collectionName": "birds", "metaDataObject": {}, "objectKeyList": []}
        refused = talk.post("/api/client/uploadMetadataInCollection", opening)
        assert error_of(refused) == (409, "A collection in the trash has the name 'birds'")
        assert talk.open("birds", ["a.mp4"], kind=4).collection_id != session.collection_id


def test_a_trashed_collection_can_keep_its_storage_path(tmp_path: Path) -> None:
    with quirky(tmp_path, Quirk.TRASHED_NAMES_TAKEN) as talk:
        first = talk.upload(FILES).collection_id
        talk.trash(contentType=5, objectIdList=[first])
        other = talk.upload({"a.txt": b"x"}, kind=7).collection_id
        assert talk.head(other, "storagePath")["storagePath"] == "birds_1"


def test_the_lake_can_have_its_own_spellings(tmp_path: Path) -> None:
    tags, fields = "/api/client/metadata/validateTags", "/api/client/metadata/validateMetaFields"
    with quirky(tmp_path / "told", Quirk.VALIDATE_RENAMES) as talk:
        assert talk.asked(tags, {"tags": ["Night", "day"]}) == [{"newTag": "Night", "oldTag": "night"}]
        assert talk.asked(fields, {"fields": ["Camera Id"]}) == [{"newField": "Camera Id", "oldField": "camera_id"}]
        assert talk.asked(fields, {"fields": ["camera_id"]}) == []
        talk.upload(FILES, metadata={"Camera Id": 1})
        assert talk.details("birds_a.png", "Camera Id")["Camera Id"] == 1
    with quirky(tmp_path / "silent", Quirk.RENAMES_BY_ITSELF) as talk:
        assert talk.asked(fields, {"fields": ["Camera Id"]}) == {"isSuccess": True}
        birds = talk.upload(FILES, metadata={"Camera Id": 1, "Tags": ["Night"]}).collection_id
        page = [{"file": "a.png", "metadata": {"CAMERA-ID": 2, "Tags": ["NIGHT"]}}]
        talk.asked("/api/client/metadata/uploadMetadataByJson", {"metadata": page, "collectionId": birds})
        details = talk.details("birds_a.png", "Camera Id", "CAMERA-ID", "camera_id", "Tags")
        assert not {"Camera Id", "CAMERA-ID"} & set(details)
        assert (details["camera_id"], details["Tags"]) == (2, ["night"])


ROWS: dict[Quirk, Callable[[str], Any]] = {
    Quirk.LABEL_ROWS_KEY: lambda ref: [{"label": "bird", "key": ref}],
    Quirk.LABEL_ROWS_TEXT: lambda ref: [{"label": ref, "labelText": "bird"}],
    Quirk.LABEL_ROWS_ID_NAME: lambda ref: [{"id": ref, "name": "bird"}],
    Quirk.LABEL_ROWS_EMPTY: lambda ref: {},
}


@pytest.mark.parametrize("quirk", ROWS)
def test_label_rows_have_each_form(tmp_path: Path, quirk: Quirk) -> None:
    with quirky(tmp_path, quirk) as talk:
        ref = talk.label("bird")["ref"]
        assert talk.got("/api/client/labels/list") == ROWS[quirk](ref)


def test_annotation_sets_can_remain_after_being_cleared(tmp_path: Path) -> None:
    with quirky(tmp_path, Quirk.EMPTY_SETS_IGNORED, Quirk.KEEPS_HUMAN_SETS) as talk:
        birds = stock(talk)
        for operation in ("people", "yolo"):
            talk.annotate(operation, [image_set("birds_a.png")])
            assert len(talk.annotations(birds)["a.png"]) == 2
        for operation, left in (("people", 2), ("yolo", 1)):
            talk.got("/api/client/collection/deleteAnnotation", collectionId=birds, operationId=operation)
            assert len(talk.annotations(birds)["a.png"]) == left


def test_answers_can_have_unknown_fields_and_another_key_order(tmp_path: Path) -> None:
    with quirky(tmp_path, Quirk.UNKNOWN_FIELDS) as talk:
        stock(talk)
        (first, *_) = talk.items()
        assert (first["__v"], list(first)[-4:]) == (0, ["url", "uniqueName", "name", "id"])
        references = talk.asked("/api/client/system/label/references", {"labels": {"bird": {"size": ["big"]}}})
        assert (set(references), "__v" in references["bird"]) == ({"bird"}, True)
        assert set(references["bird"]["texts"]) == {"size"}


def test_numbers_can_be_texts(tmp_path: Path) -> None:
    with quirky(tmp_path, Quirk.NUMBERS_AS_TEXT) as talk:
        session = talk.upload(FILES)
        assert (talk.job(session)["status"], talk.job(session)["progress"]) == ("2", "100.0")
        assert talk.asked("/api/client/explorer/objects/count", {"contentType": 2}) == {"count": "3"}
        assert talk.details("birds_a.png", "fileSize")["fileSize"] == str(len(FILES["a.png"]))


def test_empty_fields_can_be_null(tmp_path: Path) -> None:
    with quirky(tmp_path, Quirk.NULLS) as talk:
        birds = stock(talk)
        assert talk.details("birds_b.png", "Ort")["Ort"] is None
        begun = talk.begin(talk.open(names=["z.png"]), "z.png")
        assert (begun["isExisting"], begun["uploadRemovedFile"]) == (None, None)
        data = talk.got(f"/api/client/getAnnotations/{birds}/collection")["data"]
        assert data["nextPage"] is None
        assert [image["rawAnnotations"] is None for image in data["resourceArray"]] == [False, True, True]


def test_acknowledgements_can_be_empty(tmp_path: Path) -> None:
    head = {"collectionName": "birds", "objectType": 5, "metadata": {"City": "Rome"}}
    nowhere = {"collectionName": "none", "objectType": 5}
    with quirky(tmp_path / "empty", Quirk.EMPTY_ACKNOWLEDGEMENTS) as talk:
        session = talk.upload(FILES)
        assert talk.asked("/api/client/metadata/uploadMetadataByMetaObject", head) == {}
        assert talk.asked("/api/client/metadata/getCollectionIdByName", nowhere) == {}
        assert talk.asked("/api/client/metadata/validateTags", {"tags": []}) == {}
        path = f"/api/client/collectionUploadingStatus/{session.upload_id}/complete"
        assert talk.got(path, isReturnedUniqueName="False") == {}
        assert len(talk.got(path, isReturnedUniqueName="True")["uploadedFileList"]) == 3
    with quirky(tmp_path / "none", Quirk.NO_CONTENT) as talk:
        session = talk.upload(FILES)
        path = f"/api/client/collectionUploadingStatus/{session.upload_id}/complete"
        assert talk.get(path, isReturnedUniqueName="False").status_code == 204
        assert talk.post("/api/client/metadata/validateTags", {"tags": []}).status_code == 204
        assert talk.asked("/api/client/metadata/uploadMetadataByMetaObject", head)["isSuccess"] is True
        with talk_to(talk.url, Generation.THREE) as talk3:
            assert talk3.asked("/api/client/metadata/validateTags", {"tags": []}) == []


def test_errors_have_each_form(tmp_path: Path) -> None:
    nowhere = {"collectionName": "none", "objectType": 5}
    with quirky(tmp_path / "406", Quirk.REFUSED_WHEN_EMPTY) as talk:
        assert error_of(talk.post("/api/client/metadata/getCollectionIdByName", nowhere)) == (406, "No content found")
    with quirky(tmp_path / "bare", Quirk.BARE_MESSAGES) as talk:
        answer = talk.post("/api/client/metadata/validateTags", {"tags": [""]})
        assert (answer.status_code, answer.json()) == (406, {"message": "Invalid tag: ''"})
    with quirky(tmp_path / "html", Quirk.HTML_ERRORS) as talk:
        answer = talk.post("/api/client/metadata/validateTags", {"tags": [""]})
        assert (answer.status_code, answer.headers["Content-Type"][:9]) == (406, "text/html")


DATES = {
    Quirk.DATES_AS_OBJECTS: r"\{'\$date': '2\d{3}-\d\d-\d\dT.*'\}",
    Quirk.DATES_AS_MILLISECONDS: r"\d{13}",
    Quirk.DATES_WITHOUT_ZONE: r"2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?",
    Quirk.DATES_UNREADABLE: r"on day \d{3} of 2\d{3}",
}


@pytest.mark.parametrize("quirk", DATES)
def test_dates_have_each_form(tmp_path: Path, quirk: Quirk) -> None:
    with quirky(tmp_path, quirk) as talk:
        birds = talk.upload(FILES).collection_id
        for details in (talk.details("birds_a.png", "createdAt"), talk.head(birds, "createdAt")):
            assert re.fullmatch(DATES[quirk], str(details["createdAt"]))


def test_details_can_lack_what_the_lake_computes(tmp_path: Path) -> None:
    with quirky(tmp_path, Quirk.DETAILS_MINIMAL) as talk:
        birds = talk.upload(FILES, metadata={"City": "Rome"}).collection_id
        asked = ("City", "fileSize", "createdAt", "storagePath", "resolution")
        assert set(talk.details("birds_a.png", *asked)) == {"id", "name", "uniqueName", "City"}
        assert set(talk.head(birds, *asked)) == {"id", "name", "contentType"}


COUNTS = {
    Quirk.COUNTS_BARE: 3,
    Quirk.COUNTS_AS_TEXT: "3",
    Quirk.COUNTS_NESTED: {"images": {"count": 3, "size": 0}, "videos": {"count": 0, "size": 0}},
}


@pytest.mark.parametrize("quirk", COUNTS)
def test_counts_have_each_form(tmp_path: Path, quirk: Quirk) -> None:
    with quirky(tmp_path, quirk) as talk:
        talk.upload(FILES)
        assert talk.asked("/api/client/explorer/objects/count", {"contentType": 2}) == COUNTS[quirk]
        assert "http://" in json.dumps(talk.got("/api/client/downloadUrl", file_key="birds_a.png"))


def test_the_compatibility_call_can_be_missing_or_negative(tmp_path: Path) -> None:
    path = "/api/client/sdk/compatibility/2.3.4"
    with quirky(tmp_path / "none", Quirk.NO_COMPATIBILITY) as talk:
        assert talk.get(path).status_code == 404
    with quirky(tmp_path / "other", Quirk.INCOMPATIBLE) as talk:
        assert (talk.got(path)["isCompatible"], bool(talk.got(path)["message"])) == (False, True)


def test_sort_orders_can_differ(tmp_path: Path) -> None:
    names = [f"{letter}{number}.png" for letter in "abAB" for number in range(5)]
    files = {name: png(salt=name.encode()) for name in names}
    with quirky(tmp_path, Quirk.NAMES_IGNORE_CASE, Quirk.ARBITRARY_TIES) as talk:
        birds = talk.upload(files).collection_id
        listed = talk.names(birds, sortBy={"sortByField": 3, "sortOrder": "ASC"})
        assert [name.lower() for name in listed] == sorted(name.lower() for name in names)
        newest = {"sortByField": 2, "sortOrder": "DESC"}
        pages = [name for page in range(4) for name in talk.names(birds, sortBy=newest, pageSize=5, pageIndex=page)]
        assert sorted(pages) == sorted(names)
        assert pages not in (sorted(names), sorted(names, reverse=True))


def test_the_storage_can_be_a_kind_that_no_client_supports(tmp_path: Path) -> None:
    with quirky(tmp_path, Quirk.LOCAL_DISK) as talk:
        opening = {"collectionType": 5, "collectionName": "birds", "metaDataObject": {}, "objectKeyList": []}
        assert talk.asked("/api/client/uploadMetadataInCollection", opening)["storageType"] == "lds"


def test_an_unknown_quirk_is_rejected_with_a_list_of_the_known_ones() -> None:
    assert parse_quirks(["nulls", " opaque_ids", ""]) == {Quirk.NULLS, Quirk.OPAQUE_IDS}
    with pytest.raises(UsageError, match="unknown quirk 'nonsense'") as wrong:
        parse_quirks(["nulls", "nonsense"])
    assert all(quirk.value in str(wrong.value.remedy) for quirk in Quirk)


def test_every_quirk_is_documented() -> None:
    program = [str(Path(sys.executable).with_name("metalake-sync")), "lake", "serve", "--help"]
    shown = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60).stdout
    page = (ROOT / "docs/fidelity.md").read_text()
    for quirk in Quirk:
        assert quirk.value in shown
        assert f"| `{quirk.value}` | {quirk.effect[0].upper()}{quirk.effect[1:]}. | {quirk.evidence[0].upper()}" in page
