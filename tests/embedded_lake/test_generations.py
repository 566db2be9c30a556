"""The lake in both generations of the protocol: base paths, spellings, and calls of only one generation."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from metalake_sync.embedded_lake import schema
from metalake_sync.embedded_lake.names import normal_form
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.protocol.routes import Generation
from tests.embedded_lake.talk import API_KEY, SECRET, VIDEO, Talk, box, error_of, image_set, lake_at, png, talk_to
from tests.end_to_end.world import PROGRAM

FILES = {f"{name}.png": png(salt=name.encode()) for name in "abc"}
TAGS, FIELDS = "/api/client/metadata/validateTags", "/api/client/metadata/validateMetaFields"
CREDENTIALS = {"LAYERNEXT_API_KEY": API_KEY, "LAYERNEXT_SECRET": SECRET}
VIRTUAL = "/api/client/vCollection/create"


@pytest.fixture
def talk3(talk: Talk) -> Iterator[Talk]:
    """A connection in generation 3 to the lake of `talk`, which uses generation 2."""
    with talk_to(talk.url, Generation.THREE) as talk3:
        yield talk3


def select(talk: Talk, **selection: Any) -> str:
    tag: str = talk.asked("/api/client/query/getSelectionId", {"isAllSelected": False, **selection})["selectionTag"]
    return tag


def test_one_lake_serves_both_base_paths_on_one_port(talk: Talk, talk3: Talk) -> None:
    birds = talk.upload(FILES).collection_id
    assert talk3.names(birds) == talk.names(birds) == sorted(FILES, reverse=True)
    assert talk3.upload({"d.png": png(salt=b"d")}).collection_id == birds
    assert talk.count(birds) == 4


@pytest.mark.parametrize("generation", Generation)
def test_a_lake_of_one_generation_answers_the_other_base_path_as_nginx_does(
    tmp_path: Path, generation: Generation
) -> None:
    with lake_at(tmp_path, generation=generation, generations=frozenset({generation})) as talk:
        birds = talk.upload(FILES).collection_id
        other = Talk(talk.url, generation.other)
        for answer in (other.get("/api/client/getDetails/system"), other.post(TAGS, {"tags": []})):
            assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (404, "text/html")
            assert "404 Not Found" in answer.text
        # The vendor's client of generation 3 requests annotations under the base path of generation 2.
        assert other.get(f"/api/client/getAnnotations/{birds}/collection").status_code == 200
        other.close()


@pytest.mark.parametrize("generation", Generation)
def test_the_quirk_one_base_removes_annotations_from_the_other_base_path(
    tmp_path: Path, generation: Generation
) -> None:
    quirks, alone = frozenset({Quirk.ONE_BASE}), frozenset({generation})
    with lake_at(tmp_path, generation=generation, generations=alone, quirks=quirks) as talk:
        birds = talk.upload(FILES).collection_id
        path = f"/api/client/getAnnotations/{birds}/collection"
        assert talk.get(path).status_code == 200
        other = Talk(talk.url, generation.other)
        assert (other.get(path).status_code, "<html>" in other.get(path).text) == (404, True)
        other.close()


def test_wrong_credentials_are_rejected_under_both_base_paths(talk: Talk) -> None:
    for base in ("", "/datalake"):
        answer = requests.get(f"{talk.url}{base}/api/client/getDetails/system", auth=("no", "body"), timeout=30)
        assert answer.status_code == 401


def test_only_generation_2_has_the_compatibility_call(talk: Talk, talk3: Talk) -> None:
    path = "/api/client/sdk/compatibility/2.3.4"
    assert talk.got(path) == {"isCompatible": True}
    assert talk3.get(path).status_code == 404


def test_generation_3_suggests_the_spellings_of_the_lake(talk: Talk, talk3: Talk) -> None:
    assert talk3.asked(TAGS, {"tags": ["Night"]}) == talk3.asked(FIELDS, {"fields": ["City"]}) == []
    talk.upload(FILES, metadata={"Camera Id": 7, "Tags": ["#Night"]})
    assert talk3.asked(TAGS, {"tags": ["night", "#Night", "day"]}) == [{"newTag": "night", "oldTag": "#Night"}]
    assert talk3.asked(FIELDS, {"fields": ["camera-id", "Camera Id", "Ort"]}) == [
        {"newField": "camera-id", "oldField": "Camera Id"}
    ]
    for path, body in ((TAGS, {"tags": ["night"]}), (FIELDS, {"fields": ["camera-id"]})):
        assert talk.asked(path, body) == {"isSuccess": True}
    for each in (talk, talk3):
        assert error_of(each.post(TAGS, {"tags": [""]})) == (406, "Invalid tag: ''")


def test_every_way_to_write_metadata_records_spellings_and_a_restart_keeps_them(tmp_path: Path) -> None:
    with lake_at(tmp_path) as talk:
        session = talk.upload(FILES, metadata={"From Session": 1})
        page = [{"file": "a.png", "metadata": {"From Page": 1}}]
        body = {"metadata": page, "collectionId": session.collection_id}
        talk.asked("/api/client/metadata/uploadMetadataByJson", body)
        head = {"collectionName": "birds", "objectType": 5, "metadata": {"From Object": 1}}
        talk.asked("/api/client/metadata/uploadMetadataByMetaObject", head)
        head = {"collectionName": "birds", "objectType": 5, "customMetaObject": {"From Head": 1}}
        talk.asked("/api/client/metadata/collection/create", head)
    with lake_at(tmp_path, generation=Generation.THREE) as talk:
        fields = ["from_session", "from_page", "from_object", "from_head"]
        renames = {each["newField"]: each["oldField"] for each in talk.asked(FIELDS, {"fields": fields})}
    assert renames == {field: field.title().replace("_", " ") for field in fields}


@pytest.mark.parametrize(
    ("name", "normal"),
    [("Camera Id", "cameraid"), (" #retail ", "retail"), ("2-B", "2b"), ("Ünicode", "nicode"), ("город", "")],
)
def test_spellings_of_a_name_have_one_normal_form(name: str, normal: str) -> None:
    assert normal_form(name) == normal


def test_names_without_ascii_letters_and_digits_are_never_renamed(talk: Talk, talk3: Talk) -> None:
    talk.upload(FILES, metadata={"город": "Рим", "Tags": ["ночь"]})
    assert talk3.asked(FIELDS, {"fields": ["улица"]}) == talk3.asked(TAGS, {"tags": ["день"]}) == []


@pytest.mark.parametrize("name", ["keywords", "categories"])
def test_unsupported_filters_are_rejected(talk3: Talk, name: str) -> None:
    birds = talk3.upload(FILES).collection_id
    nothing: dict[str, list[str]] = {"keywords": [], "categories": []}
    assert talk3.count(birds, filterData=nothing) == 3
    wanted = {**nothing, name: ["bill"]}
    body = {"pageIndex": 0, "pageSize": 9, "query": "", "filterData": wanted, "contentType": 2, "sortBy": {}}
    refusal = (406, f"Invalid filter: this lake cannot filter by {name}")
    for path in ("objects/list", "objects/count", f"{birds}/objects/list", f"{birds}/objects/count"):
        assert error_of(talk3.post(f"/api/client/explorer/{path}", body)) == refusal
    chosen = {"isAllSelected": True, "contentType": 2, "filterData": wanted}
    assert error_of(talk3.post("/api/client/query/getSelectionId", chosen)) == refusal


def test_only_generation_3_sorts_by_text_score(talk: Talk, talk3: Talk) -> None:
    birds = talk.upload(FILES).collection_id
    by_score = {"sortByField": 7, "sortOrder": "DESC"}
    assert sorted(talk3.names(birds, sortBy=by_score)) == sorted(FILES)
    pages = [talk3.names(birds, sortBy=by_score, pageSize=1, pageIndex=page)[0] for page in range(3)]
    assert pages == talk3.names(birds, sortBy=by_score)
    body = {"pageIndex": 0, "pageSize": 9, "query": "", "filterData": {}, "contentType": 2, "sortBy": by_score}
    assert error_of(talk.post("/api/client/explorer/objects/list", body)) == (406, "Invalid sort field: 7")


def test_generation_3_accepts_a_conversation_in_requests_for_details(talk3: Talk) -> None:
    talk3.upload(FILES)
    body = {"uniqueFileName": "birds_a.png", "requiredMetaObj": {"fileSize": True}, "conversationId": ""}
    details = talk3.asked("/api/client/metadata/getItemDetails", body)["itemDetails"]
    assert details["fileSize"] == len(FILES["a.png"])


def test_collections_of_videos_may_share_a_name(tmp_path: Path) -> None:
    with lake_at(tmp_path, quirks=frozenset({Quirk.VIDEO_TWINS})) as talk:
        films = talk.upload({"a.mp4": b"film"}, "films", kind=VIDEO).collection_id
        listed = talk.items(contentType=4)
        assert [each["name"] for each in listed] == ["films", "films"]
        (twin,) = {each["id"] for each in listed} - {films}
        assert (talk.count(films, contentType=1), talk.count(twin, contentType=1)) == (1, 0)
        assert talk.upload({"b.mp4": b"more"}, "films", kind=VIDEO).collection_id == films
        birds = talk.upload(FILES).collection_id
        assert [each["id"] for each in talk.items(contentType=5)] == [birds]


def test_a_virtual_collection_consists_of_references(talk: Talk, talk3: Talk) -> None:
    birds = talk.upload(FILES).collection_id
    beasts = talk.upload({"d.png": png(salt=b"d")}, "beasts").collection_id
    talk.annotate("op", [image_set("birds_a.png", box("bird", 1, 2, 3, 4))])
    ids = {item["name"]: item["id"] for item in talk.items()}
    some = select(talk3, contentType=2, objectIdList=[ids["a.png"], ids["b.png"]])
    best = talk3.asked(VIRTUAL, {"selectionId": some, "vCollectionName": "best of"})["collectionId"]
    more = select(talk3, contentType=5, objectIdList=[beasts])
    assert talk3.asked(VIRTUAL, {"selectionId": more, "vCollectionId": best})["collectionId"] == best
    assert sorted(talk3.names(best, contentType=2)) == ["a.png", "b.png", "d.png"]
    assert talk3.count(best) == 3
    assert sorted(each["name"] for each in talk3.items(contentType=5)) == ["beasts", "best of", "birds"]
    head = talk3.head(best, "storagePath", "frameCount", "fileSize")
    assert (head["frameCount"], "storagePath" in head) == (3, False)
    assert {name for name, drawn in talk3.annotations(best).items() if drawn} == {"a.png"}
    assert talk3.items(best, query="annotation.label=bird")[0]["id"] == ids["a.png"]
    # Its files cannot be addressed by file name, because they belong to other collections.
    page = [{"file": "a.png", "metadata": {"City": "Rome"}}]
    answer = talk3.asked("/api/client/metadata/uploadMetadataByJson", {"metadata": page, "collectionId": best})
    assert answer["message"] == "0 of 1 files updated"
    talk3.trash(contentType=5, objectIdList=[best])
    assert talk.count(birds) == 3


def test_invalid_changes_of_a_virtual_collection_are_rejected(talk: Talk, talk3: Talk) -> None:
    birds = talk.upload(FILES).collection_id
    talk.upload({"a.mp4": b"film"}, "films", kind=VIDEO)
    item = talk.items(birds)[0]["id"]
    some = select(talk3, contentType=2, objectIdList=[item])
    assert error_of(talk3.post(VIRTUAL, {"selectionId": some}))[0] == 400
    assert error_of(talk3.post(VIRTUAL, {"selectionId": some, "vCollectionName": "birds"}))[0] == 406
    assert error_of(talk3.post(VIRTUAL, {"selectionId": some, "vCollectionId": birds}))[0] == 404
    assert error_of(talk3.post(VIRTUAL, {"selectionId": "none", "vCollectionName": "best"}))[0] == 404
    assert talk.post(VIRTUAL, {"selectionId": some, "vCollectionName": "best"}).status_code == 404
    talk3.asked(VIRTUAL, {"selectionId": some, "vCollectionName": "best"})
    opening = {"collectionType": 5, "collectionName": "best", "metaDataObject": {}, "objectKeyList": ["z.png"]}
    refusal = "The collection 'best' is virtual and does not accept uploads"
    assert error_of(talk3.post("/api/client/uploadMetadataInCollection", opening)) == (406, refusal)


def test_a_lake_from_an_older_version_records_its_spellings(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "lake.db") as db:
        db.executescript("".join(schema._STEPS[:3]))
        db.executescript(f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 3;")
        db.execute("INSERT INTO collections VALUES ('c', 5, 'birds', 'birds', '', '{}', 1, 1, 0)")
        item = "'i', 'c', 5, 'a.png', 'birds_a.png', 'birds/a.png', 'b', 1, ?, 1, 1"
        columns = "id, collection, kind, name, unique_name, storage_path, blob, size_bytes, metadata, created, updated"
        metadata = json.dumps({"Camera Id": 7, "Tags": ["Night"]})
        db.execute(f"INSERT INTO items ({columns}) VALUES ({item})", (metadata,))
    db.close()
    with lake_at(tmp_path, generation=Generation.THREE) as talk:
        renames = talk.asked(FIELDS, {"fields": ["camera id"]}) + talk.asked(TAGS, {"tags": ["night"]})
    assert renames == [{"newField": "camera id", "oldField": "Camera Id"}, {"newTag": "night", "oldTag": "Night"}]


def test_the_serve_command_accepts_a_generation_and_quirks(tmp_path: Path) -> None:
    command = [str(PROGRAM), "lake", "serve", "--dir", str(tmp_path), "--generation", "3", "--quirks", "counts_bare"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **CREDENTIALS}) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        with talk_to(url, Generation.THREE) as talk3, talk_to(url) as talk:
            answer = talk3.asked("/api/client/explorer/objects/count", {"contentType": 2})
            status = talk.get("/api/client/getDetails/system").status_code
        process.send_signal(signal.SIGTERM)
    assert (answer, status) == (0, 404)
