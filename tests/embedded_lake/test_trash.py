"""Trashed items disappear from every call, and their names are free."""

from __future__ import annotations

from typing import Any

import pytest

from tests.embedded_lake.talk import IMAGE, VIDEO, Talk, box, error_of, image_set, png


@pytest.fixture
def birds(talk: Talk) -> str:
    files = {f"{name}.png": png(salt=name.encode()) for name in "abc"}
    collection = talk.upload(files, metadata={"City": "Rome"}).collection_id
    talk.annotate("op", [image_set("birds_a.png", box("bird", 1, 1, 1, 1))])
    return collection


def ids(talk: Talk, *names: str) -> list[str]:
    return [item["id"] for item in talk.items() if item["name"] in names]


def message(went: int, failed: int) -> str:
    return f"{went} objects successfully trashed, {failed} objects failed to trash"


def refused(talk: Talk, **selection: Any) -> str:
    answer = talk.asked("/api/client/query/getSelectionId", selection)
    assert answer["isSuccess"] is False
    words: str = answer["warningMsg"]
    return words


def test_a_trashed_file_disappears_from_every_call(talk: Talk, birds: str) -> None:
    assert talk.trash(objectIdList=ids(talk, "a.png"), contentType=2) == message(1, 0)
    assert talk.names(birds, sortBy={"sortByField": 3, "sortOrder": "ASC"}) == ["b.png", "c.png"]
    assert talk.count(contentType=2) == 2
    assert list(talk.annotations(birds)) == ["b.png", "c.png"]
    body = {"uniqueFileName": "birds_a.png", "requiredMetaObj": {}}
    assert error_of(talk.post("/api/client/metadata/getItemDetails", body))[0] == 404
    assert error_of(talk.get("/api/client/downloadUrl", file_key="birds_a.png"))[0] == 404
    answer = talk.annotate("op", [image_set("birds_a.png", box("bird", 1, 1, 1, 1))])
    assert answer.json()["message"] == "0 of 1 images updated"
    assert talk.got("/api/client/getDetails/system")["images"]["count"] == 2


def test_a_trashed_name_is_free_and_a_new_file_has_no_old_metadata(talk: Talk, birds: str) -> None:
    (old,) = ids(talk, "a.png")
    talk.trash(objectIdList=[old], contentType=2)
    session = talk.open(names=["a.png"])
    talk.send(session, "a.png", b"new bytes")
    assert talk.complete(session) == ["birds_a.png"]
    (new,) = ids(talk, "a.png")
    assert new != old
    assert talk.read("birds_a.png") == b"new bytes"
    assert talk.annotations(birds)["a.png"] == []
    assert "City" not in talk.details("birds_a.png", "City")


def test_a_trashed_file_can_be_sent_again_in_its_original_session(talk: Talk) -> None:
    session = talk.open()
    talk.send(session, "a.png", b"old")
    talk.complete(session)
    talk.trash(objectIdList=ids(talk, "a.png"), contentType=2)
    talk.complete(session)
    assert talk.items() == []
    talk.send(session, "a.png", b"new")
    talk.complete(session)
    assert talk.read("birds_a.png") == b"new"


def test_a_collection_is_trashed_with_its_items(talk: Talk, birds: str) -> None:
    assert talk.trash(objectIdList=[birds], contentType=5) == message(1, 0)
    assert talk.items() == []
    assert talk.items(contentType=5) == []
    assert error_of(talk.post(f"/api/client/explorer/{birds}/objects/list", {}))[0] == 404
    assert error_of(talk.get(f"/api/client/{birds}/getObjectTypeById"))[0] == 404
    body = {"collectionName": "birds", "objectType": IMAGE}
    assert talk.post("/api/client/metadata/getCollectionIdByName", body).status_code == 204
    again = talk.upload({"a.png": png()})
    assert again.collection_id != birds
    assert talk.head(again.collection_id, "storagePath")["storagePath"] == "birds"


def test_a_session_of_a_trashed_collection_fails(talk: Talk) -> None:
    session = talk.open()
    talk.send(session, "a.png", png())
    talk.trash(objectIdList=[session.collection_id], contentType=5)
    talk.complete(session)
    assert talk.job(session)["status"] == 4
    assert talk.items() == []
    body = {"fileName": "b.png", "collectionName": "birds", "uploadId": session.upload_id}
    assert error_of(talk.post("/api/client/fileUpload/initializeMultipartUpload", body))[0] == 404


def test_items_of_a_query_in_a_collection_are_trashed(talk: Talk, birds: str) -> None:
    talk.upload({"x.png": png()}, "others", metadata={"City": "Rome"})
    inside = {"collectionId": birds, "contentType": 0, "isAllSelected": True}
    assert talk.trash(**inside, query="annotation.label=bird", objectIdList=[]) == message(1, 0)
    assert talk.trash(**inside, query="", filterData={"annotationTypes": [0], "date": {}}) == message(2, 0)
    assert talk.names() == ["x.png"]


def test_items_of_a_query_over_the_lake_are_trashed(talk: Talk, birds: str) -> None:
    talk.upload({"x.mp4": b"x"}, "films", kind=VIDEO, metadata={"City": "Rome"})
    everywhere = {"collectionId": "", "isAllSelected": True, "query": "metadata.City=Rome"}
    assert talk.trash(**everywhere, contentType=1) == message(1, 0)
    assert talk.trash(**everywhere, contentType=2) == message(3, 0)
    assert talk.items() == []


def test_a_selection_without_matches_is_rejected_with_a_message(talk: Talk, birds: str) -> None:
    assert "No objects" in refused(talk, isAllSelected=True, query="metadata.City=Paris", contentType=2)
    assert "No objects" in refused(talk, isAllSelected=False, objectIdList=["missing"], contentType=2)
    assert "No objects" in refused(talk, isAllSelected=False, objectIdList=[], contentType=2)


def test_a_selection_of_the_whole_lake_is_rejected(talk: Talk, birds: str) -> None:
    nothing: tuple[dict[str, Any], ...] = (
        {},
        {"annotationTypes": [], "date": None},
        {"annotationTypes": [], "date": {}},
    )
    for filter_data in nothing:
        assert "everything" in refused(talk, isAllSelected=True, query="", contentType=2, filterData=filter_data)
    assert talk.count() == 3


def test_selected_ids_must_have_the_requested_kind(talk: Talk, birds: str) -> None:
    assert "No objects" in refused(talk, isAllSelected=False, objectIdList=[birds], contentType=2)
    assert "No objects" in refused(talk, isAllSelected=False, objectIdList=[birds], contentType=4)
    assert "No objects" in refused(talk, isAllSelected=False, objectIdList=ids(talk, "a.png"), contentType=5)
    assert talk.trash(objectIdList=[*ids(talk, "a.png", "b.png"), "missing"], contentType=2) == message(2, 1)


def test_trashing_is_idempotent(talk: Talk, birds: str) -> None:
    body = {"isAllSelected": False, "objectIdList": ids(talk, "a.png"), "contentType": 2}
    tags = [talk.asked("/api/client/query/getSelectionId", body)["selectionTag"] for _ in range(2)]
    for _ in range(2):
        answer = talk.asked("/api/client/file/trash", {"selectionId": tags[0], "userId": "x"})
        assert answer == {"isSuccess": True, "message": message(1, 0)}
    talk.upload({"a.png": b"new"})
    late = talk.asked("/api/client/file/trash", {"selectionId": tags[1], "userId": "x"})
    assert late["message"] == message(0, 1)
    assert talk.read("birds_a.png") == b"new"
    assert error_of(talk.post("/api/client/file/trash", {"selectionId": "missing"}))[0] == 404
