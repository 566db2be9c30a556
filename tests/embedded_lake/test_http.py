"""The answers of a lake to wrong credentials, bodies and paths."""

from __future__ import annotations

import base64
import json
import socket
from urllib.parse import urlsplit

import pytest
import requests

from tests.embedded_lake.talk import API_KEY, SECRET, Talk, error_of, png


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        basic(":"),
        basic(f"{API_KEY}:wrong"),
        basic(f"{API_KEY}:{SECRET}x"),
        basic(API_KEY),
        f"Bearer {SECRET}",
        "Basic \u00fc",
    ],
)
@pytest.mark.parametrize("path", ["/api/client/getDetails/system", "/api/client/explorer/objects/list", "/nowhere"])
def test_wrong_credentials_are_rejected_by_every_route(talk: Talk, authorization: str | None, path: str) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    answer = requests.get(f"{talk.url}/datalake{path}", headers=headers, timeout=30)
    assert error_of(answer) == (401, "Authentication failed")


def test_an_unknown_path_is_answered_with_404_in_the_form_of_the_protocol(talk: Talk) -> None:
    assert error_of(talk.get("/api/client/nothing/of/the/kind"))[0] == 404
    assert error_of(talk.get("/api/client/uploadMetadataInCollection"))[0] == 405
    assert error_of(requests.get(f"{talk.url}/", timeout=30))[0] == 404


def test_a_body_that_is_not_json_is_answered_with_400(talk: Talk) -> None:
    for body in (b"", b"{", b"\xff\xfe", b"NaN", b"[" * 100_000):
        answer = talk.http.post(f"{talk.url}/datalake/api/client/metadata/getItemDetails", data=body, timeout=30)
        assert error_of(answer)[0] in (400, 406), body[:10]


@pytest.mark.parametrize("body", [[], "text", {}, {"uniqueFileName": [3]}, {"uniqueFileName": None}])
def test_a_body_of_the_wrong_form_is_answered_with_406(talk: Talk, body: object) -> None:
    assert error_of(talk.post("/api/client/metadata/getItemDetails", body))[0] == 406


def test_a_client_of_another_major_version_is_incompatible(talk: Talk) -> None:
    assert talk.got("/api/client/sdk/compatibility/2.3.4") == {"isCompatible": True}
    assert talk.got("/api/client/sdk/compatibility/1.0.0")["isCompatible"] is False


def test_a_get_with_a_body_keeps_the_connection_usable(talk: Talk) -> None:
    talk.upload({"a.png": png()})
    address = urlsplit(talk.url)
    assert address.hostname is not None
    body = b'{"sessionId": "1"}'
    authorization = talk.http.headers["Authorization"]
    if isinstance(authorization, bytes):
        authorization = authorization.decode()
    with socket.create_connection((address.hostname, address.port or 80), timeout=10) as raw:
        answers = raw.makefile("rb")
        for path in (
            "/api/client/labels/list",
            "/api/client/label_groups/list",
            "/api/client/x/getObjectTypeById",
            "/api/client/downloadUrl?file_key=birds_a.png",
            "/api/client/collection/deleteAnnotation?collectionId=x&operationId=y",
            "/api/client/nowhere",
            "/api/client/getDetails/system",
        ):
            head = (
                f"GET /datalake{path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            raw.sendall(head.encode() + body)
            assert answers.readline().startswith(b"HTTP/1.1 ")
            length = 0
            while (line := answers.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            json.loads(answers.read(length))
        answers.close()


def test_an_operation_id_may_contain_any_characters(talk: Talk) -> None:
    for operation in ("plain", "with%20space", "yolo:v5.0.1@x", "%E9%B3%A5", "a%2Fb"):
        assert talk.annotate(operation, []).json()["isSuccess"] is True


def test_text_that_is_not_valid_unicode_is_rejected(talk: Talk) -> None:
    answer = talk.http.get(f"{talk.url}/datalake/api/client/downloadUrl?file_key=%FF%FE", timeout=30)
    assert answer.status_code in (400, 404)
    body = b'{"uniqueFileName": "\\ud800"}'
    answer = talk.http.post(f"{talk.url}/datalake/api/client/metadata/getItemDetails", data=body, timeout=30)
    assert answer.status_code in (400, 406)


def test_clients_can_report_their_own_jobs(talk: Talk) -> None:
    report = {"jobName": "Collection Download", "sessionId": "1", "jobType": 10, "progress": 0, "status": 1}
    for status in (1, 2):
        sent = {**report, "status": status, "jobSpecificDetails": {"errorList": "x"}}
        assert talk.asked("/api/job/updateJob/basicAuthRequest", sent) == {"isSuccess": True}


def test_system_details_count_files_by_kind(talk: Talk) -> None:
    talk.upload({"a.png": png(), "b.png": png(salt=b"b")})
    talk.upload({"a.mp4": b"12345"}, "films", kind=4)
    details = talk.got("/api/client/getDetails/system")
    assert details["images"]["count"] == 2
    assert details["videos"] == {"count": 1, "size": 5}
    assert details["others"] == {"count": 0, "size": 0}
