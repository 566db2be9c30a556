"""Annotations are uploaded as objects with references, and downloaded in the upload format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.embedded_lake.talk import Talk, box, error_of, image_set, png


@pytest.fixture
def birds(talk: Talk) -> str:
    """Create a collection of two images of 40 by 20 pixels, and return its id."""
    return talk.upload({"a.png": png(), "b.png": png(salt=b"b")}).collection_id


def shape(kind: str, points: Sequence[Sequence[float]], label: str = "bird", **more: Any) -> dict[str, Any]:
    rectangle = box(label, 0, 0, 0, 0)
    del rectangle["boxBoundariesAndDimensions"]
    return {**rectangle, "type": kind, "points": points, **more}


def test_shapes_are_returned_in_the_upload_format(talk: Talk, birds: str) -> None:
    points: list[list[float]] = [[1, 2], [3.5, 4], [5, 6.25]]
    shapes = [
        box("bird", 1, 2.5, 3, 4, confidence=0.53, metadata={"by": "me"}),
        *(shape(kind, points) for kind in ("polygon", "line", "points")),
    ]
    talk.annotate("op", [image_set("birds_a.png", *shapes)])
    rest = {"label": "bird", "metadata": {}, "attributes": {}}
    assert talk.annotations(birds) == {
        "a.png": [
            {"type": "rectangle", "bbox": [1, 2.5, 3, 4], **rest, "confidence": 0.53, "metadata": {"by": "me"}},
            {"type": "polygon", "polygon": points, **rest},
            {"type": "line", "line": points, **rest},
            {"type": "points", "points": points, **rest},
        ],
        "b.png": [],
    }


def test_attributes_are_returned_by_name_and_text(talk: Talk, birds: str) -> None:
    reference = talk.label("bird", size=["small", "large"], state=["asleep"])
    size, state = reference["texts"]["size"], reference["texts"]["state"]
    drawn = box("bird", 1, 2, 3, 4)
    drawn["label"]["attributeValues"] = {
        size["ref"]: [
            {"value": size["texts"]["small"], "confidence": 0.35, "metadata": {"why": "far"}},
            {"value": size["texts"]["large"], "confidence": 0},
        ],
        state["ref"]: [{"value": state["texts"]["asleep"], "confidence": 1, "metadata": {}}],
    }
    talk.annotate("op", [image_set("birds_a.png", drawn)])
    assert talk.annotations(birds)["a.png"][0]["attributes"] == {
        "size": [
            {"value": "small", "confidence": 0.35, "metadata": {"why": "far"}},
            {"value": "large", "confidence": 0, "metadata": {}},
        ],
        "state": [{"value": "asleep", "confidence": 1, "metadata": {}}],
    }


def test_numbers_keep_all_digits(talk: Talk, birds: str) -> None:
    numbers = [0.1, 1 / 3, 1e-9, 123456789.123456789, 2**53 + 1, 5, 5.0, -0.5]
    talk.annotate("op", [image_set("birds_a.png", shape("points", [[number, number] for number in numbers]))])
    back = talk.annotations(birds)["a.png"][0]["points"]
    assert json.dumps(back) == json.dumps([[number, number] for number in numbers])


def test_references_never_change_and_new_labels_add_references(talk: Talk) -> None:
    first = talk.label("bird", size=["small"])
    more = talk.label("bird", size=["large", "small"], colour=["red"])
    assert (more["ref"], more["color"]) == (first["ref"], first["color"])
    assert more["texts"]["size"]["ref"] == first["texts"]["size"]["ref"]
    assert more["texts"]["size"]["texts"]["small"] == first["texts"]["size"]["texts"]["small"]
    assert talk.label("nest", size=["small"])["texts"]["size"]["ref"] != first["texts"]["size"]["ref"]
    refs = [first["ref"], first["texts"]["size"]["ref"], *more["texts"]["size"]["texts"].values()]
    assert len(set(refs)) == len(refs)
    assert all(len(ref) == 24 for ref in refs)
    listed = talk.got("/api/client/labels/list")
    assert (listed[0]["labelText"], listed[0]["label"]) == ("bird", first["ref"])
    assert talk.got("/api/client/labels/list", groupId="x") == talk.got("/api/client/label_groups/list") == []


def test_a_request_without_labels_is_answered_with_204(talk: Talk) -> None:
    path = "/api/client/system/label/references"
    assert talk.post(path, {"userName": "x", "labels": {}}).status_code == 204
    assert error_of(talk.post(path, {"userName": "x", "labels": {" ": {}}}))[0] == 406


def test_an_operation_replaces_only_its_own_set(talk: Talk, birds: str) -> None:
    talk.annotate("op", [image_set("birds_a.png", box("bird", 1, 1, 1, 1), box("bird", 2, 2, 2, 2))])
    talk.annotate("other", [image_set("birds_a.png", box("bird", 9, 9, 9, 9))], mode=2)
    talk.annotate("op", [image_set("birds_a.png", box("nest", 3, 3, 3, 3))])

    def boxes(**query: str) -> list[list[int]]:
        return sorted(found["bbox"] for found in talk.annotations(birds, **query)["a.png"])

    assert boxes() == [[3] * 4, [9] * 4]
    assert boxes(annotationType="human") == boxes(operationIdList='["op"]') == [[3] * 4]
    assert boxes(annotationType="machine") == boxes(operationIdList='["other"]') == [[9] * 4]
    assert boxes(operationIdList='["op", "other"]') == boxes(operationIdList="[]") == [[3] * 4, [9] * 4]
    # Section 2.7 of the vendor's page: the type has an effect only if no operations are named.
    assert boxes(operationIdList='["op"]', annotationType="machine") == [[3] * 4]
    assert talk.names(birds, query="annotation.label=bird") == ["a.png"]
    assert talk.names(birds, query="annotation.label=nest") == ["a.png"]


def test_an_empty_set_removes_the_previous_set(talk: Talk, birds: str) -> None:
    talk.annotate("op", [image_set("birds_a.png", box("bird", 1, 1, 1, 1))])
    talk.annotate("op", [image_set("birds_a.png")])
    assert talk.annotations(birds)["a.png"] == []
    assert talk.names(birds, query="annotation.label=bird") == []
    assert talk.count(birds, filterData={"annotationTypes": [0]}) == 2


def test_an_empty_page_is_accepted(talk: Talk) -> None:
    assert talk.annotate("op", []).json() == {"isSuccess": True, "message": "0 of 0 images updated"}


@pytest.mark.parametrize("spelling", ["True", "true"])
def test_fractions_are_converted_to_pixels(talk: Talk, birds: str, spelling: str) -> None:
    shapes = box("bird", 0.25, 0.5, 0.5, 0.25), shape("polygon", [[0, 0], [1, 0], [0.5, 1]])
    talk.annotate("op", [image_set("birds_a.png", *shapes)], normalized=spelling)
    rectangle, polygon = talk.annotations(birds)["a.png"]
    assert rectangle["bbox"] == [10, 10, 20, 5]
    assert polygon["polygon"] == [[0, 0], [40, 0], [20, 20]]


def test_fractions_for_a_file_that_is_not_an_image_reject_the_whole_page(talk: Talk, birds: str) -> None:
    session = talk.open(names=["c.png"])
    talk.send(session, "c.png", b"no picture")
    talk.complete(session)
    drawn = box("bird", 0.25, 0.5, 0.5, 0.25)
    page = [image_set("birds_a.png", drawn), image_set("birds_c.png", drawn)]
    status, message = error_of(talk.annotate("op", page, normalized="True"))
    assert status == 406
    assert "'c.png'" in message
    assert talk.annotations(birds)["a.png"] == []


def test_images_can_be_addressed_in_each_way(talk: Talk) -> None:
    session = talk.upload({"a.png": png()}, prefix="dir")
    for number, address in enumerate(
        (
            {"objectKey": "birds_a.png"},
            {"storagePath": "/dir/birds/a.png"},
            {"storagePath": "dir/birds/a.png", "bucketName": "DEFAULT"},
            {"jobId": session.job_id, "fileName": "a.png"},
        )
    ):
        drawn = box("bird", number, 0, 0, 0)
        answer = talk.annotate("op", [image_set("", drawn, **address), image_set("missing", drawn)])
        assert answer.json()["message"] == "1 of 2 images updated"
        assert talk.annotations(session.collection_id)["a.png"][0]["bbox"] == [number, 0, 0, 0]


WRONG: list[tuple[Any, str]] = [
    ("no list", "metaUpdatesArray"),
    ([{"objectKey": "birds_a.png"}], "data"),
    ([image_set("birds_a.png", {"type": "rectangle"})], "id"),
    ([image_set("birds_a.png", box("bird", 1, 1, 1, 1, type="circle"))], "type"),
    ([image_set("birds_a.png", box("bird", 1, 1, 1, 1, boxBoundariesAndDimensions=None))], "needs box"),
    ([image_set("birds_a.png", shape("polygon", []))], "needs points"),
    ([image_set("birds_a.png", shape("line", [[1, 2, 3]]))], "pair of numbers"),
    ([image_set("birds_a.png", shape("line", [["1", "2"]]))], "points"),  # type: ignore[list-item]
    ([image_set("birds_a.png", box("bird", 1, 1, 1, 1), objectKey=None)], "does not address an image"),  # type: ignore[arg-type]
    ([image_set("", storagePath="x", bucketName="elsewhere")], "No such bucket"),
    ([image_set("x")] * 1001, "at most 1000"),
]


@pytest.mark.parametrize(("page", "why"), WRONG, ids=[why for _, why in WRONG])
def test_an_invalid_page_is_rejected_as_a_whole(talk: Talk, birds: str, page: Any, why: str) -> None:
    good = image_set("birds_b.png", box("bird", 1, 1, 1, 1))
    status, message = error_of(talk.annotate("op", [good, *page] if isinstance(page, list) else page))
    assert status == 406
    assert why in message
    assert talk.annotations(birds)["b.png"] == []


def test_numbers_that_are_not_finite_are_rejected(talk: Talk, birds: str) -> None:
    for number in ("1e999", "NaN"):
        page = json.dumps([image_set("birds_a.png", box("bird", 12345, 1, 1, 1))]).replace("12345", number)
        body = {"metaUpdatesArray": page, "sessionId": "1", "operationMode": 1}
        assert error_of(talk.post("/api/metadata/operationdata/op/update", body))[0] == 406
    assert talk.annotations(birds)["a.png"] == []


def test_an_operation_is_removed_from_one_collection_only(talk: Talk, birds: str) -> None:
    other = talk.upload({"a.png": png()}, "others").collection_id
    for unique_name in ("birds_a.png", "others_a.png"):
        talk.annotate("op", [image_set(unique_name, box("bird", 1, 1, 1, 1))])
        talk.annotate("kept", [image_set(unique_name, box("nest", 2, 2, 2, 2))])
    talk.got("/api/client/collection/deleteAnnotation", collectionId=birds, operationId="op")
    assert [found["label"] for found in talk.annotations(birds)["a.png"]] == ["nest"]
    assert [found["label"] for found in talk.annotations(other)["a.png"]] == ["nest", "bird"]
    assert talk.names(birds, query="annotation.label=bird") == []
    assert error_of(talk.get("/api/client/collection/deleteAnnotation", collectionId="x", operationId="op"))[0] == 404


def test_annotations_are_downloaded_in_pages(talk: Talk) -> None:
    session = talk.upload({f"{number}.png": png(salt=bytes([number])) for number in range(5)}, "my birds")
    path = f"/api/client/getAnnotations/{session.collection_id}/collection"
    pages = [talk.got(path, pageNo=str(page), pageSize="2")["data"] for page in range(3)]
    assert [page["nextPage"] for page in pages] == [True, True, False]
    assert [len(page["resourceArray"]) for page in pages] == [2, 2, 1]
    assert talk.got(path, pageNo="9")["data"]["resourceArray"] == []
    first = pages[0]
    assert first["groupUniqueName"] == f"my birds_{session.collection_id}"
    assert (first["rawFileName"], first["creatableDirectories"], first["format"]) == ("my birds.json", ["data"], "RAW")
    resource = first["resourceArray"][0]
    assert (resource["fileName"], resource["fileDownloadFolderLocation"]) == ("my birds_0.png", "data")
    assert resource["isMediaFile"] is True
    for wrong in ({"pageNo": "-1"}, {"pageSize": "0"}, {"pageNo": "x"}, {"operationIdList": "{"}):
        assert error_of(talk.get(path, **wrong))[0] == 406
    assert error_of(talk.get(path, annotationType="both"))[0] == 406
    assert error_of(talk.get("/api/client/getAnnotations/missing/collection"))[0] == 404
