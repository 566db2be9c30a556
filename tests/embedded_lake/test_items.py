"""Listing, counting and describing the items of a lake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.embedded_lake.talk import IMAGE, OTHER, VIDEO, Talk, box, error_of, image_set, png

ASC = "ASC"


@pytest.fixture
def birds(talk: Talk) -> str:
    """Create a collection of four images with different metadata and annotations, and return its id."""
    session = talk.upload(
        {"a.png": png(10, 10), "b.png": png(20, 20), "c.png": png(30, 30), "d.png": png(40, 40)},
        metadata={"City": "Winnipeg"},
    )
    page = {
        "a.png": {"Tags": ["night", "2.1"], "Count": 3, "City": "Trinidad and Tobago"},
        "b.png": {"Tags": ["day"], "Sharp": True, "Ratio": 1.5},
        "c.png": {"Tags": ["night"], "Lenses": ["wide", "long"]},
    }
    talk.asked(
        "/api/client/metadata/uploadMetadataByJson",
        {
            "metadata": [{"file": name, "metadata": fields} for name, fields in page.items()],
            "collectionId": session.collection_id,
        },
    )
    talk.annotate("people", [image_set("birds_a.png", box("Bird", 1, 1, 2, 2))])
    talk.annotate("people", [image_set("birds_b.png", box("Nest", 1, 1, 2, 2), box("Bird", 3, 3, 2, 2))])
    talk.annotate("yolo", [image_set("birds_c.png", box("Bird", 1, 1, 2, 2))], mode=2)
    return session.collection_id


def found(talk: Talk, collection: str | None = None, **request: Any) -> list[str]:
    """Return the names in order. The count must agree."""
    names = sorted(talk.names(collection, **request))
    assert talk.count(collection, **request) == len(names)
    return [name.removesuffix(".png") for name in names]


def test_items_are_listed_with_id_name_unique_name_and_url(talk: Talk, birds: str) -> None:
    (item,) = talk.items(birds, query="metadata.Tags=day")
    assert set(item) == {"id", "name", "uniqueName", "url"}
    assert (item["name"], item["uniqueName"]) == ("b.png", "birds_b.png")
    assert len(item["id"]) == 24
    assert talk.got(f"/api/client/{item['id']}/getObjectTypeById") == {"objectType": 2}


def test_the_page_after_the_last_is_answered_with_204(talk: Talk, birds: str) -> None:
    sort = {"sortByField": 3, "sortOrder": ASC}
    assert talk.names(birds, pageSize=3, sortBy=sort) == ["a.png", "b.png", "c.png"]
    assert talk.names(birds, pageSize=3, pageIndex=1, sortBy=sort) == ["d.png"]
    path = f"/api/client/explorer/{birds}/objects/list"
    assert talk.post(path, {"pageIndex": 2, "pageSize": 3}).status_code == 204
    assert talk.post(path, {"pageIndex": 10**17, "pageSize": 3}).status_code == 204
    for wrong in ({"pageSize": 1001}, {"pageSize": 0}, {"pageIndex": -1}, {"pageIndex": 10**30}):
        assert error_of(talk.post(path, wrong))[0] == 406


@pytest.mark.parametrize(
    ("field", "ascending"),
    [(1, "dabc"), (2, "abcd"), (3, "abcd"), (4, "abcd"), (6, "abcd")],
    ids=["date modified", "date created", "name", "size", "video index"],
)
def test_lists_are_sorted_by_the_requested_field(talk: Talk, birds: str, field: int, ascending: str) -> None:
    for place in (birds, None):
        for order, expected in ((ASC, ascending), ("DESC", ascending[::-1])):
            names = talk.names(place, sortBy={"sortByField": field, "sortOrder": order}, contentType=2)
            assert "".join(name[0] for name in names) == expected, order


def test_lists_are_sorted_by_latest_change_by_default(talk: Talk, birds: str) -> None:
    assert talk.names(birds, sortBy={}) == ["c.png", "b.png", "a.png", "d.png"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "abcd"),
        ("annotation.label=Bird", "abc"),
        ("annotation.label=Nest", "b"),
        ("annotation.label=bird", ""),
        ("metadata.Tags=night", "ac"),
        ("metadata.Tags=2.1", "a"),
        ("metadata.City=Winnipeg", "bcd"),
        ("metadata.City=Trinidad and Tobago", "a"),
        ("metadata.Count=3", "a"),
        ("metadata.Sharp=true", "b"),
        ("metadata.Ratio=1.5", "b"),
        ("metadata.Lenses=long", "c"),
        ("metadata.Nothing=x", ""),
        ("metadata.Tags=night & annotation.label=Bird", "ac"),
        ("metadata.Tags=night and metadata.City=Winnipeg", "c"),
        ("metadata.Tags=night&metadata.Tags=2.1&annotation.label=Bird", "a"),
        ("metadata.City=' OR 1=1 --", ""),
    ],
)
def test_a_query_finds_the_matching_items(talk: Talk, birds: str, query: str, names: str) -> None:
    assert "".join(found(talk, birds, query=query)) == names
    assert "".join(found(talk, query=query, contentType=2)) == names


@pytest.mark.parametrize("query", ["nonsense", "metadata.=x", "label=Bird", "metadata.x", "metadata.x=", "and"])
def test_invalid_queries_are_rejected(talk: Talk, birds: str, query: str) -> None:
    answer = talk.post(f"/api/client/explorer/{birds}/objects/list", {"query": query})
    assert error_of(answer)[0] == 406


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"annotationTypes": [0]}, "d"),
        ({"annotationTypes": [1]}, "c"),
        ({"annotationTypes": [2]}, "ab"),
        ({"annotationTypes": [0, 1]}, "cd"),
        ({"annotationTypes": [0, 1, 2]}, "abcd"),
        ({"tags": ["night"]}, "ac"),
        ({"tags": ["night", "2.1"]}, "a"),
        ({"labels": ["Nest"]}, "b"),
        ({"metadata": {"Count": 3}}, "a"),
        ({"metadata": {"City": "Winnipeg"}, "tags": ["night"]}, "c"),
        ({"date": None}, "abcd"),
        ({"date": {}}, "abcd"),
    ],
)
def test_a_filter_finds_the_matching_items(talk: Talk, birds: str, wanted: dict[str, Any], names: str) -> None:
    assert "".join(found(talk, birds, filterData=wanted)) == names


def test_date_filters_use_the_upload_date_and_include_the_last_day(talk: Talk, birds: str) -> None:
    today = datetime.now(UTC)
    before, after = ((today + timedelta(days=days)).date().isoformat() for days in (-2, 2))
    assert found(talk, birds, filterData={"date": {"fromDate": before, "toDate": after}}) == list("abcd")
    assert found(talk, birds, filterData={"date": {"toDate": today.date().isoformat()}}) == list("abcd")
    assert found(talk, birds, filterData={"date": {"fromDate": after}}) == []
    assert found(talk, birds, filterData={"date": {"toDate": before}}) == []
    assert found(talk, birds, filterData={"date": {"fromDate": f"{before}T00:00:00Z"}}) == list("abcd")
    wrong = {"filterData": {"date": {"fromDate": "the day before"}}}
    assert error_of(talk.post(f"/api/client/explorer/{birds}/objects/list", wrong))[0] == 406


def test_the_whole_lake_can_be_listed_by_kind(talk: Talk, birds: str) -> None:
    film = talk.upload({"a.mp4": b"1"}, "films", kind=VIDEO)
    note = talk.upload({"a.txt": b"2"}, "notes", kind=OTHER)
    assert talk.names(contentType=1) == ["a.mp4"]
    assert talk.names(contentType=6) == ["a.txt"]
    assert talk.count(contentType=2) == 4
    assert talk.count(contentType=0) == 6
    assert talk.names(birds, contentType=1) == []
    assert talk.names(film.collection_id, contentType=1) == ["a.mp4"]
    assert talk.items(contentType=5) == [{"id": birds, "name": "birds"}]
    assert talk.items(contentType=4) == [{"id": film.collection_id, "name": "films"}]
    assert talk.items(contentType=7) == [{"id": note.collection_id, "name": "notes"}]
    assert talk.count(contentType=7) == 1
    assert talk.items(contentType=3) == []
    assert talk.count(contentType=3) == 0


def test_collections_can_be_queried_and_sorted(talk: Talk, birds: str) -> None:
    talk.upload({"z.png": png(100, 100)}, "beasts")
    talk.asked(
        "/api/client/metadata/collection/create",
        {"collectionName": "beasts", "objectType": IMAGE, "customMetaObject": {"Tags": ["big"]}},
    )
    assert talk.names(contentType=5, query="metadata.Tags=big") == ["beasts"]
    assert talk.names(contentType=5, query="annotation.label=Nest") == ["birds"]
    assert talk.names(contentType=5, filterData={"annotationTypes": [0]}) == ["beasts"]
    for field in (1, 2, 3, 4, 6):
        assert set(talk.names(contentType=5, sortBy={"sortByField": field, "sortOrder": ASC})) == {"birds", "beasts"}


def test_details_contain_the_requested_fields(talk: Talk, birds: str) -> None:
    default = talk.details("birds_b.png")
    assert set(default) == {"id", "name", "uniqueName", "url"}
    full = talk.details(
        "birds_b.png", "fileSize", "frameCount", "resolution", "storagePath", "Tags", "createdAt", "updatedAt",
        "bucketName", "City", "Sharp", "Ratio", "frameRate", "No such field",
    )  # fmt: skip
    assert full["fileSize"] == len(png(20, 20))
    assert full["resolution"] == {"width": 20, "height": 20}
    assert full["frameCount"] == 1
    assert full["storagePath"] == "birds/b.png"
    assert full["bucketName"] == "DEFAULT"
    assert (full["Tags"], full["City"], full["Sharp"], full["Ratio"]) == (["day"], "Winnipeg", True, 1.5)
    assert full["createdAt"].endswith("Z")
    assert full["createdAt"] < full["updatedAt"]
    assert not {"frameRate", "No such field"} & set(full)
    body = {"uniqueFileName": "birds_b.png", "requiredMetaObj": {"url": False, "id": False, "City": True}}
    details = talk.asked("/api/client/metadata/getItemDetails", body)["itemDetails"]
    assert details == {"name": "b.png", "uniqueName": "birds_b.png", "City": "Winnipeg"}


def test_details_of_a_file_that_is_not_an_image_have_no_resolution(talk: Talk) -> None:
    talk.upload({"a.png": b"<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>", "b.png": b""})
    for name in ("birds_a.png", "birds_b.png"):
        assert "resolution" not in talk.details(name, "resolution")


def test_details_of_a_collection_contain_the_requested_fields(talk: Talk, birds: str) -> None:
    assert talk.head(birds) == {"id": birds, "name": "birds", "contentType": 5}
    head = talk.head(birds, "fileSize", "frameCount", "storagePath", "createdAt", "updatedAt")
    assert head["fileSize"] == sum(len(png(side, side)) for side in (10, 20, 30, 40))
    assert head["frameCount"] == 4
    assert head["storagePath"] == "birds"


def test_unknown_ids_and_names_are_not_found(talk: Talk) -> None:
    body: Any = {"uniqueFileName": "missing", "requiredMetaObj": None}
    assert error_of(talk.post("/api/client/metadata/getItemDetails", body))[0] == 404
    body = {"collectionId": "missing", "requiredMetaObj": {}}
    assert error_of(talk.post("/api/client/metadata/getCollectionDetails", body))[0] == 404
    assert error_of(talk.get("/api/client/missing/getObjectTypeById"))[0] == 404
    assert error_of(talk.get("/api/client/downloadUrl", file_key="missing"))[0] == 404
    assert error_of(talk.post("/api/client/explorer/missing/objects/list", {}))[0] == 404
    body = {"collectionName": "missing", "objectType": IMAGE}
    assert talk.post("/api/client/metadata/getCollectionIdByName", body).status_code == 204


def test_collections_are_unique_by_name_and_kind(talk: Talk) -> None:
    ids = {
        kind: talk.asked(
            "/api/client/metadata/collection/create",
            {"collectionName": "same", "objectType": kind, "customMetaObject": {}},
        )["collectionId"]
        for kind in (IMAGE, VIDEO, OTHER)
    }
    assert len(set(ids.values())) == 3
    assert talk.open("same").collection_id == ids[IMAGE]
    for kind, collection in ids.items():
        body = {"collectionName": "same", "objectType": kind}
        assert talk.asked("/api/client/metadata/getCollectionIdByName", body)["collectionId"] == collection
        assert talk.got(f"/api/client/{collection}/getObjectTypeById") == {"objectType": kind}
    assert sorted(talk.head(collection, "storagePath")["storagePath"] for collection in ids.values()) == [
        "same",
        "same_1",
        "same_2",
    ]


@pytest.mark.parametrize(
    ("name", "path"),
    [("my coll", "my coll"), ("my%20coll", "my coll"), ("a/b.c", "a_b_c"), ("vögel", "v_gel"), ("A-1_b", "A-1_b")],
)
def test_storage_paths_are_collection_names_with_special_characters_replaced(talk: Talk, name: str, path: str) -> None:
    assert talk.head(talk.open(name).collection_id, "storagePath")["storagePath"] == path


def test_unique_names_are_unique_in_the_whole_lake(talk: Talk) -> None:
    talk.upload({"b_c.png": b"1"}, "a")
    session = talk.open("a_b", ["c.png"])
    talk.send(session, "c.png", b"2")
    assert talk.complete(session) == ["a_b_c.png_1"]
    assert talk.read("a_b_c.png") == b"1"
    assert talk.read("a_b_c.png_1") == b"2"
