"""The limits of a lake: size of a request's head and body, nesting, idle connections, and logs."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from metalake_sync.embedded_lake import request_log, server
from metalake_sync.embedded_lake.queries import select
from metalake_sync.embedded_lake.rejections import Rejection
from metalake_sync.embedded_lake.request_log import RequestKind, RequestLog
from metalake_sync.embedded_lake.web import app
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import FilterData
from metalake_sync.protocol.routes import Route
from metalake_sync.protocol.wire import ObjectKind
from tests.embedded_lake.talk import Talk, error_of, lake_at

ROUTES = {name: route for name, route in vars(routes).items() if isinstance(route, Route)}


def raw_answer(talk: Talk, sent: bytes) -> bytes:
    """Return the first line of the answer to bytes that need not be HTTP."""
    address = urlsplit(talk.url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 80), timeout=20) as raw:
        raw.sendall(sent)
        with raw.makefile("rb") as answer:
            return answer.readline()


HEAD = b"GET /datalake HTTP/1.1\r\nHost: x\r\n"
CANARY = b"Basic c2VjcmV0"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /datalake?signature=" + CANARY * 1000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"Authorization: " + CANARY * 1000 + b"\r\n\r\n",
        HEAD + b"".join(b"X-%d: c2VjcmV0\r\n" % number for number in range(5000)) + b"\r\n",
        HEAD + b"Authorization " + CANARY + b"\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzzz\r\n",
    ],
    ids=["long address", "long header", "many headers", "no header", "length", "chunks"],
)
def test_a_head_that_is_too_large_or_not_http_is_rejected_and_logged_without_its_content(
    talk: Talk, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert raw_answer(talk, sent).split()[1:2] == [b"400"]
        assert talk.got("/api/client/sdk/compatibility/2.0.0")["isCompatible"] is True
    assert "the request is not valid HTTP" in caplog.text
    assert "c2VjcmV0" not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_body_above_the_limit_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_LIMIT_BYTES", 1 << 20)
    path = "/datalake/api/client/metadata/getItemDetails"
    with lake_at(tmp_path) as talk:
        for body in (b" " * (2 << 20), (b" " * (64 << 10) for _ in range(32))):
            assert error_of(talk.http.post(talk.url + path, data=body, timeout=30))[0] == 413


@pytest.mark.parametrize("name", sorted(ROUTES))
def test_deep_nesting_and_huge_numbers_do_not_cause_a_500(talk: Talk, name: str) -> None:
    route: Route[Any] = ROUTES[name]
    path = route.at(min(route.bases), **dict.fromkeys(re.findall(r"\{(\w+)\}", route.path), "a"))
    for body in (
        b"[" * 100_000,
        b'{"metadata":' * 50_000,
        b"[" * 50_000 + b"]" * 50_000,
        b'{"metadata": ' + b'{"a": ' * 150 + b"1" + b"}" * 151,
        b'{"pageSize": ' + b"9" * 5000 + b', "pageIndex": ' + b"9" * 300 + b"}",
        b'{"pageSize": 1e999, "metadata": {"a": NaN, "b": -Infinity}}',
    ):
        answer = talk.http.request(route.method, talk.url + path, data=body, timeout=30)
        assert answer.status_code < 500, (body[:20], answer.text)
        if answer.status_code >= 400:
            json.loads(answer.content)


@pytest.mark.parametrize("sent", [b"", b"GET /data", HEAD])
def test_a_connection_that_never_sends_a_request_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.2)
    with lake_at(tmp_path) as talk:
        address = urlsplit(talk.url)
        assert address.hostname is not None
        with socket.create_connection((address.hostname, address.port or 80), timeout=60) as raw:
            raw.sendall(sent)
            assert raw.recv(1) == b""


def test_an_idle_connection_is_closed_after_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.2)
    with lake_at(tmp_path) as talk:
        address = urlsplit(talk.url)
        assert address.hostname is not None
        with socket.create_connection((address.hostname, address.port or 80), timeout=60) as raw:
            raw.sendall(HEAD + b"\r\n")
            while raw.recv(1 << 16):
                pass


def test_the_request_log_keeps_two_files_of_limited_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "LIMIT_BYTES", 1000)
    log = RequestLog(tmp_path / "requests.log")
    log.open()
    for _ in range(200):
        log.note(RequestKind("GET", "get_object", mutating=False), 200, 0)
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["requests.log", "requests.log.1"]
    assert all(path.stat().st_size <= 1200 for path in tmp_path.iterdir())
    assert all(json.loads(line) for path in tmp_path.iterdir() for line in path.read_text().splitlines())
    assert log.of("get_object") == 200


def test_log_lines_about_bad_requests_are_limited_per_minute() -> None:
    now = [0.0]
    bounded = server._Bounded(lambda: now[0])

    def passed() -> list[str]:
        records = [logging.LogRecord("x", logging.ERROR, "", 1, "bad request", None, None) for _ in range(500)]
        return [record.getMessage() for record in records if bounded.filter(record)]

    assert len(passed()) == server.LINES_PER_MINUTE
    assert not passed()
    now[0] = 61.0
    later = passed()
    assert len(later) == server.LINES_PER_MINUTE
    assert later[0].endswith("(900 lines were dropped before)")


@pytest.mark.parametrize(
    ("begin", "repeated", "end"),
    [
        ("annotation.label=a", " ", "x"),
        ("metadata.a", " ", "=x"),
        ("metadata.a=b", " |", ""),
        ("metadata.a=b", "& ", ""),
    ],
)
def test_a_query_is_parsed_in_linear_time(begin: str, repeated: str, end: str) -> None:
    def seconds(times: int) -> float:
        """Return the shortest of several times, because other work on the machine makes some of them longer."""
        query = begin + repeated * times + end
        took = []
        for _ in range(7):
            began = time.process_time()
            select(ObjectKind.IMAGE, None, query, FilterData())
            took.append(time.process_time() - began)
        return min(took)

    # A query that is 16 times as long takes about 16 times as long. In quadratic time, it would take 256 times.
    assert seconds(4_800) < 80 * seconds(300)


def test_a_query_above_the_maximum_length_is_rejected() -> None:
    with pytest.raises(Rejection, match="more than 10000 characters"):
        select(ObjectKind.IMAGE, None, "metadata.a=" + "b" * 10_000, FilterData())
