"""Metadata is checked, merged by field, and addressed in five ways."""

from __future__ import annotations

from typing import Any

import pytest

from tests.embedded_lake.talk import IMAGE, Talk, error_of, png

BY_JSON = "/api/client/metadata/uploadMetadataByJson"
BY_OBJECT = "/api/client/metadata/uploadMetadataByMetaObject"


def page(fields: dict[str, dict[str, Any]], **address: str) -> dict[str, Any]:
    return {
        "metadata": [{"file": name, "metadata": metadata} for name, metadata in fields.items()],
        "bucketName": None,
        "jobId": None,
        "collectionId": None,
        **address,
    }


def test_fields_are_merged_and_tags_replaced(talk: Talk) -> None:
    session = talk.upload({"a.png": png()}, metadata={"Camera": "1", "Lens": "x", "Tags": ["a", "b"]})
    update = {"Camera": 2, "Sun": True, "Nested": {"deep": [1, 2.5, {"x": None}]}, "Tags": ["c"]}
    talk.asked(BY_JSON, page({"a.png": update}, collectionId=session.collection_id))
    details = talk.details("birds_a.png", "Camera", "Lens", "Sun", "Nested", "Tags")
    assert {name: details[name] for name in (*update, "Lens")} == {**update, "Lens": "x"}


@pytest.mark.parametrize("way", ["collection", "job", "bucket", "unique name"])
def test_files_can_be_addressed_in_each_way(talk: Talk, way: str) -> None:
    session = talk.upload({"a.png": png()}, prefix="dir")
    file, address = {
        "collection": ("a.png", {"collectionId": session.collection_id}),
        "job": ("a.png", {"jobId": session.job_id}),
        "bucket": ("dir/birds/a.png", {"bucketName": "DEFAULT"}),
        "unique name": ("birds_a.png", {}),
    }[way]
    answer = talk.asked(BY_JSON, page({file: {"x": way}, "missing": {"x": 1}}, **address))
    assert answer == {"isSuccess": True, "message": "1 of 2 files updated"}
    assert talk.details("birds_a.png", "x")["x"] == way


def test_a_leading_slash_of_a_storage_path_is_ignored(talk: Talk) -> None:
    talk.upload({"a.png": png()})
    talk.asked(BY_JSON, page({"/birds/a.png": {"x": 1}}, bucketName="DEFAULT"))
    assert talk.details("birds_a.png", "x")["x"] == 1
    assert error_of(talk.post(BY_JSON, page({"a": {}}, bucketName="elsewhere")))[0] == 406


def test_a_job_addresses_the_names_of_its_upload_sent_or_existing(talk: Talk) -> None:
    talk.upload({"a.png": png(), "b.png": png()})
    again = talk.open(names=["a.png"])
    assert talk.begin(again, "a.png")["isExisting"]
    talk.complete(again)
    answer = talk.asked(BY_JSON, page({"a.png": {"x": 1}, "b.png": {"x": 1}}, jobId=again.job_id))
    assert answer["message"] == "1 of 2 files updated"
    assert talk.details("birds_a.png", "x")["x"] == 1
    assert error_of(talk.post(BY_JSON, page({}, jobId="missing")))[0] == 404


WRONG = [
    ({"Tags": "night"}, "Tags should be an array of strings"),
    ({"Tags": [""]}, "Invalid tag: ''"),
    ({"Tags": ["  "]}, "Invalid tag"),
    ({"Tags": [1]}, "Invalid tag: 1"),
    ({"Tags": ["a\nb"]}, "Invalid tag"),
    ({"Tags": ["t" * 257]}, "Invalid tag"),
    ({"": 1}, "Invalid field: ''"),
    ({"f" * 257: 1}, "Invalid field"),
    ({"a\0b": 1}, "Invalid field"),
    ({"x": None}, "Invalid value of field 'x'"),
]


@pytest.mark.parametrize(("metadata", "why"), WRONG)
def test_every_call_rejects_invalid_metadata_and_writes_nothing(talk: Talk, metadata: dict[str, Any], why: str) -> None:
    talk.upload({"a.png": png(), "b.png": png(salt=b"b")})
    calls = {
        BY_JSON: page({"birds_a.png": {"new": 1}, "birds_b.png": metadata}),
        BY_OBJECT: {"collectionName": "birds", "objectType": IMAGE, "metadata": metadata, "isApplyToAllFiles": True},
        "/api/client/metadata/collection/create": {
            "collectionName": "birds",
            "objectType": IMAGE,
            "customMetaObject": metadata,
        },
        "/api/client/uploadMetadataInCollection": {
            "collectionType": IMAGE,
            "collectionName": "birds",
            "metaDataObject": metadata,
            "objectKeyList": [],
        },
    }
    for path, body in calls.items():
        status, message = error_of(talk.post(path, body))
        assert status == 406, path
        assert why in message
    assert "new" not in talk.details("birds_a.png", "new")


def test_numbers_that_are_not_finite_are_rejected(talk: Talk) -> None:
    talk.upload({"a.png": png()})
    for number in ("1e999", "NaN", "-Infinity"):
        body = f'{{"metadata": [{{"file": "birds_a.png", "metadata": {{"x": [{{"y": {number}}}]}}}}]}}'
        answer = talk.http.post(f"{talk.url}/datalake{BY_JSON}", data=body, timeout=30)
        assert error_of(answer)[0] in (400, 406)
    assert "x" not in talk.details("birds_a.png", "x")


def test_tags_and_fields_can_be_validated_before_they_are_written(talk: Talk) -> None:
    assert talk.asked("/api/client/metadata/validateTags", {"tags": ["#retail", "2.1", "Ü"]})["isSuccess"]
    assert talk.asked("/api/client/metadata/validateMetaFields", {"fields": ["Camera Id", "fileSize"]})["isSuccess"]
    refused = talk.post("/api/client/metadata/validateTags", {"tags": ["good", ""]})
    assert refused.json() == {"error": {"statusCode": 406, "name": "NotAcceptableError", "message": "Invalid tag: ''"}}
    assert error_of(talk.post("/api/client/metadata/validateMetaFields", {"fields": [None]}))[0] == 406


def test_fields_of_the_lake_take_precedence_over_metadata_of_the_same_name(talk: Talk) -> None:
    talk.upload({"a.png": png()}, metadata={"fileSize": 30, "name": "x", "uniqueName": "y", "createdAt": "z"})
    details = talk.details("birds_a.png", "fileSize", "createdAt")
    assert details["fileSize"] == len(png())
    assert (details["name"], details["uniqueName"]) == ("a.png", "birds_a.png")
    assert details["createdAt"] != "z"


def test_a_page_has_at_most_a_thousand_files(talk: Talk) -> None:
    talk.upload({"a.png": png()})
    assert (
        talk.asked(BY_JSON, page({f"{number}": {} for number in range(1000)}))["message"] == "0 of 1000 files updated"
    )
    assert error_of(talk.post(BY_JSON, page({f"{number}": {} for number in range(1001)})))[0] == 406


@pytest.mark.parametrize("to_files", [False, True])
def test_metadata_of_a_collection_is_written_to_its_head_and_on_request_to_its_files(
    talk: Talk, to_files: bool
) -> None:
    session = talk.upload({"a.png": png(), "b.png": png()}, metadata={"City": "Paris", "Sun": "no"})
    body = {"collectionName": "birds", "objectType": IMAGE, "metadata": {"City": "Rome"}, "isApplyToAllFiles": to_files}
    assert talk.asked(BY_OBJECT, body)["isSuccess"]
    assert talk.head(session.collection_id, "City")["City"] == "Rome"
    for name in ("birds_a.png", "birds_b.png"):
        details = talk.details(name, "City", "Sun")
        assert (details["City"], details["Sun"]) == ("Rome" if to_files else "Paris", "no")


def test_metadata_for_a_missing_collection_is_rejected(talk: Talk) -> None:
    body = {"collectionName": "missing", "objectType": IMAGE, "metadata": {}, "isApplyToAllFiles": True}
    assert error_of(talk.post(BY_OBJECT, body))[0] == 404


def test_creating_a_collection_again_updates_its_head(talk: Talk) -> None:
    path = "/api/client/metadata/collection/create"
    first = talk.asked(path, {"collectionName": "b", "objectType": IMAGE, "customMetaObject": {"x": 1, "y": 1}})
    again = talk.asked(path, {"collectionName": "b", "objectType": IMAGE, "customMetaObject": {"y": 2}})
    assert first == again
    head = talk.head(first["collectionId"], "x", "y")
    assert (head["x"], head["y"]) == (1, 2)
