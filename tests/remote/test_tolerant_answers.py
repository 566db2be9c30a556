"""Answers that deviate from the known form: what is accepted, and which errors name the call and the field."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from metalake_sync.core.metadata import TAGS
from metalake_sync.core.snapshots import MediaType
from metalake_sync.errors import LakeAnswerInvalid, LakeRejected, SyncError
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import CountItems, ListItems
from metalake_sync.protocol.routes import Route
from metalake_sync.protocol.wire import JobStatus, MediaKind, ObjectKind
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.answers import RepeatGuard, read_answer
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import fields_in, tags_in
from metalake_sync.remote.listings import list_remote
from metalake_sync.remote.retry import Clock
from tests.remote.bare_server import Line, serve

URL = "https://store.example/o?sig=1"


def read(route: Route[Any], document: object, status: int = 200) -> BaseModel | None:
    return read_answer(route, status, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (7, 7),
        ("7", 7),
        (7.0, 7),
        ({"count": 7}, 7),
        ({"count": "7", "newer": 9}, 7),
        ({"isSuccess": True, "total": 7}, 7),
        ({"isSuccess": True, "data": {"objects": 7}}, 7),
        ({"itemCount": 7, "name": "birds"}, 7),
        # Which of two numbers is the count is unknown. Texts and flags are not numbers.
        ({"images": 7, "videos": 8}, None),
        ({"ready": True}, None),
        (-1, None),
        ("seven", None),
    ],
)
def test_a_count_is_the_only_number_of_an_answer(document: object, count: int | None) -> None:
    answer = read_answer(routes.COUNT_ITEMS, 200, json.dumps(document).encode())
    assert answer is not None
    assert answer.count == count


@pytest.mark.parametrize(
    ("row", "text", "reference"),
    [
        ({"label": "ref", "key": "ref", "labelText": "Bird"}, "Bird", "ref"),
        ({"label": "Bird", "key": "k1"}, "Bird", "k1"),
        ({"label": "r1", "labelText": "Bird"}, "Bird", "r1"),
        ({"id": 5, "name": "Bird"}, "Bird", "5"),
        ({"labelText": None, "name": "Bird", "description": "flies"}, "Bird", None),
        ("Bird", "Bird", None),
    ],
)
def test_label_rows_of_every_form_are_read(row: object, text: str, reference: str | None) -> None:
    answer = read_answer(routes.LIST_LABELS, 200, json.dumps([row, {}, 3, {"labelText": " "}]).encode())
    assert answer is not None
    (label,) = answer.labels()
    assert (label.label_text, label.label, answer.unreadable) == (text, reference, 3)


@pytest.mark.parametrize(
    "document", [URL, {"url": URL}, {"isSuccess": True, "signedUrl": URL}, {"data": {"link": URL, "expires": "soon"}}]
)
def test_a_download_url_is_found_in_every_form(document: object) -> None:
    answer = read_answer(routes.DOWNLOAD_URL, 200, json.dumps(document).encode())
    assert answer is not None
    assert answer.url == URL


def test_a_job_status_can_be_a_number_a_text_or_a_name() -> None:
    for told, meant in [(2, 2), ("2", 2), ("COMPLETED", 2), ("failed", 4), ("In_Progress", 1)]:
        answer = read_answer(routes.JOB_STATUS, 200, json.dumps({"status": told, "progress": "much"}).encode())
        assert answer is not None
        assert (answer.status, answer.progress) == (JobStatus(meant), 0.0)
    with pytest.raises(LakeAnswerInvalid, match="status"):
        read(routes.JOB_STATUS, {"status": 9})
    with pytest.raises(LakeAnswerInvalid, match="status"):
        read(routes.JOB_STATUS, {"isSuccess": True})


def test_null_fields_count_as_missing() -> None:
    begun = read_answer(routes.BEGIN_FILE, 200, b'{"fileId": 7, "fileKey": "k", "isExisting": null}')
    assert begun is not None
    assert (begun.file_id, begun.is_existing) == ("7", False)
    page = read_answer(routes.LIST_ITEMS, 200, b'[{"id": 1, "name": "a.jpg", "uniqueName": null, "x": [null]}, null]')
    assert page is not None
    assert [(item.id, item.name, item.unique_name) for item in page.root] == [("1", "a.jpg", None)]


@pytest.mark.parametrize(
    "route", [routes.COLLECTION_BY_NAME, routes.LIST_ITEMS, routes.DOWNLOAD_ANNOTATIONS, routes.LIST_LABELS]
)
@pytest.mark.parametrize("body", [b"{}", b"null", b"", b"  "])
def test_an_empty_object_counts_as_an_empty_answer(route: Route[Any], body: bytes) -> None:
    assert read_answer(route, 200, body) is None


@pytest.mark.parametrize("document", [{}, [], "done", 1, {"isSuccess": "yes"}, {"message": {"text": 1}}, None])
def test_an_acknowledgement_can_be_any_json_value(document: object) -> None:
    read(routes.FINALIZE_FILE, document)
    read(routes.METADATA_BY_JSON, document)


@pytest.mark.parametrize("no", [False, "false", "False"])
@pytest.mark.parametrize("route", [routes.METADATA_BY_JSON, routes.OPEN_UPLOAD, routes.LIST_ITEMS])
def test_is_success_false_is_a_rejection_in_every_form(route: Route[Any], no: object) -> None:
    with pytest.raises(LakeRejected, match="not you"):
        read(route, {"isSuccess": no, "message": "not you"})


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"message": "too dark"}},
        {"message": "too dark"},
        {"error": "too dark"},
        {"error": {"details": "too dark"}},
        {"statusCode": 406, "detail": "too dark"},
    ],
)
def test_the_lakes_message_is_found_in_every_form(document: object) -> None:
    with pytest.raises(LakeRejected, match=": too dark$") as caught:
        read(routes.FINALIZE_FILE, document, 406)
    assert caught.value.explained


def test_a_body_that_is_too_large_for_a_proxy_is_reported_with_a_remedy() -> None:
    with pytest.raises(LakeRejected) as caught:
        read_answer(routes.METADATA_BY_JSON, 413, b"<html><h1>413 Request Entity Too Large</h1></html>")
    assert caught.value.remedy is not None
    assert "proxy" in caught.value.remedy


@pytest.mark.parametrize(
    ("route", "document", "field"),
    [
        (routes.OPEN_UPLOAD, {"storageType": "AWS_S3", "uploadId": "u", "collectionId": "c"}, "jobId"),
        (routes.SIGN_PARTS, {"parts": [{"PartNumber": 1}]}, "parts.0.signedUrl"),
        (routes.SIGN_PARTS, {"parts": [{"PartNumber": "first", "signedUrl": URL}]}, "PartNumber"),
        (routes.LIST_ITEMS, [{"id": "1"}], "0.name"),
        (routes.LABEL_REFERENCES, {"Bird": {"color": "red"}}, "Bird.ref"),
        (routes.SELECT_ITEMS, [], "the answer"),
    ],
)
def test_a_missing_field_is_named_without_values_of_other_fields(
    route: Route[Any], document: object, field: str
) -> None:
    with pytest.raises(LakeAnswerInvalid, match=field) as caught:
        read(route, document)
    assert URL not in str(caught.value)
    assert str(caught.value.where) == f"{route.method} {route.path}"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_nan_and_infinity_count_as_null(number: bytes) -> None:
    body = b'{"itemDetails": {"a": %b, "b": [%b, 1], "c": 1}}' % (number, number)
    details = read_answer(routes.ITEM_DETAILS, 200, body)
    assert details is not None
    assert details.item_details["c"] == 1
    json.dumps(details.item_details, allow_nan=False)


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    page = read_answer(routes.LIST_ITEMS, 200, rb'[{"id": "1", "name": "a\ud800.jpg", "\udfff": "\ud83d\ude00"}]')
    assert page is not None
    assert page.root[0].name == "a\ufffd.jpg"


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (["a", "b", "a"], ["a", "b"]),
        ([["a"], {"b": 1}, None, True, 2, "c"], ["2", "c"]),
        ("a", ["a"]),
        ({"a": 1}, []),
        (None, []),
    ],
)
def test_tags_of_other_types_are_ignored_or_become_texts(value: object, tags: list[str]) -> None:
    assert tags_in(value) == tags
    assert fields_in({TAGS: value, "x": 1}, [TAGS]) == {TAGS: tags}


# Calls on whose answers decisions depend, with a server.


Answer = Callable[[Mapping[str, Any]], object]


@contextmanager
def lake_with(answers: Mapping[Route[Any], Answer]) -> Iterator[LakeClient]:
    """A lake that answers these routes with the result of a function, and any other with 404."""

    def answer(line: Line) -> None:
        line.read_all()
        path = line.asked.target.partition("?")[0]
        for route, make in answers.items():
            if path == "/datalake" + route.path.replace("{collection_id}", "c1"):
                line.answer(200, json.dumps(make(json.loads(line.body) if line.body else {})).encode())
                return
        line.answer(404, b'{"error": {"message": "not here"}}')

    with serve(answer) as server:
        address = LakeAddress(server.url, "key", "secret")
        with LakeClient(address, clock=Clock(sleep=lambda _: None)) as client:
            yield client


def page_of(request: Mapping[str, Any], total: int) -> list[dict[str, str]]:
    first = request["pageIndex"] * request["pageSize"]
    numbers = range(first, min(total, first + request["pageSize"]))
    return [{"id": f"i{number}", "name": f"{number}.jpg"} for number in numbers]


def test_items_are_counted_by_listing_if_the_answer_has_no_number() -> None:
    listed: dict[Route[Any], Answer] = {
        routes.COUNT_ITEMS: lambda _: {"images": 1, "videos": 2},
        routes.LIST_ITEMS: lambda request: page_of(request, 2500),
    }
    with lake_with(listed) as client:
        assert client.count_items(CountItems(content_type=ObjectKind.IMAGE)) == 2500


@pytest.mark.parametrize("told", [{"isSuccess": True}, {"collectionId": None}, {}])
def test_the_id_of_a_created_collection_is_looked_up_if_the_answer_lacks_it(told: object) -> None:
    with lake_with({routes.CREATE_COLLECTION: lambda _: told, routes.COLLECTION_BY_NAME: lambda _: told}) as client:
        with pytest.raises(LakeAnswerInvalid, match="'birds'"):
            client.create_collection("birds", MediaKind.IMAGE, {})
        assert client.find_collection("birds", MediaKind.IMAGE) is None
    named = {routes.CREATE_COLLECTION: lambda _: told, routes.COLLECTION_BY_NAME: lambda _: {"collectionId": 7}}
    with lake_with(named) as client:
        assert client.create_collection("birds", MediaKind.IMAGE, {}) == "7"


def test_a_list_that_repeats_its_pages_ends_with_an_error() -> None:
    first_page = [{"id": f"i{number}", "name": f"{number}.jpg"} for number in range(1000)]
    repeated: dict[Route[Any], Answer] = {
        routes.LIST_ITEMS: lambda _: first_page,
        routes.LIST_COLLECTION_ITEMS: lambda _: first_page,
    }
    with lake_with(repeated) as client:
        with pytest.raises(LakeAnswerInvalid, match="repeats a page of its list"):
            list(client.list_items(ListItems(page_size=1000)))
        with pytest.raises(LakeAnswerInvalid, match="repeats a page of its list"):
            list_remote(client, "c1", MediaType.IMAGE, 1000)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("before", [0, 1, 5])
def test_a_cycle_of_any_length_is_detected(length: int, before: int) -> None:
    guard = RepeatGuard("/list")
    pages = itertools.chain(range(1000, 1000 + before), itertools.cycle(range(length)))
    with pytest.raises(LakeAnswerInvalid):
        for page in itertools.islice(pages, 10 * (length + before) + 10):
            guard.check([f"{page}-a", f"{page}-b"])


def test_overlapping_pages_are_not_a_repetition() -> None:
    guard = RepeatGuard("/list")
    for first in range(0, 5000, 3):
        guard.check(range(first, first + 10))


def test_an_empty_object_is_not_a_list_of_labels() -> None:
    with (
        lake_with({routes.LIST_LABELS: lambda _: {}}) as client,
        pytest.raises(LakeAnswerInvalid, match="empty object"),
    ):
        client.list_labels()
    with lake_with({routes.LIST_LABELS: lambda _: []}) as client:
        assert client.list_labels() == []


def test_an_empty_list_of_labels_is_accepted_after_other_deviations() -> None:
    answers: list[object] = [{}, [None, "Bird"], {}, []]
    with lake_with({routes.LIST_LABELS: lambda _: answers.pop(0)}) as client:
        with pytest.raises(LakeAnswerInvalid, match="empty object"):
            client.list_labels()
        assert [label.label_text for label in client.list_labels()] == ["Bird"]
        with pytest.raises(LakeAnswerInvalid, match="empty object"):
            client.list_labels()
        assert client.list_labels() == []


def test_repaired_answers_are_remembered_for_doctor() -> None:
    with lake_with({routes.LIST_ITEMS: lambda _: [{"id": "1", "name": "a", "url": None}, None]}) as client:
        assert len(client.list_items(ListItems()).__next__()) == 1
        assert list(client.differences) == ["POST /api/client/explorer/objects/list"]
    with lake_with({}) as client, pytest.raises(SyncError):
        client.list_labels()
