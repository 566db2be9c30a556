"""What a lake takes at most: of a request's head, its body, and how deep that is."""

from __future__ import annotations

import json
import logging
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from metalake_sync.lake.web import app
from metalake_sync.protocol import routes
from metalake_sync.protocol.routes import Route
from tests.lake.talk import Talk, error_of, lake_at

ROUTES = {name: route for name, route in vars(routes).items() if isinstance(route, Route)}


def raw_answer(talk: Talk, sent: bytes) -> bytes:
    """The first line of the answer to bytes that need be no HTTP."""
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
def test_a_head_that_is_too_large_or_no_http_is_refused_and_told_without_what_it_held(
    talk: Talk, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert raw_answer(talk, sent).split()[1:2] == [b"400"]
        assert talk.got("/api/client/sdk/compatibility/2.0.0")["isCompatible"] is True
    assert "it is no HTTP that is taken here" in caplog.text
    assert "c2VjcmV0" not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_body_that_is_too_large_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_LIMIT_BYTES", 1 << 20)
    path = "/datalake/api/client/metadata/getItemDetails"
    with lake_at(tmp_path) as talk:
        for body in (b" " * (2 << 20), (b" " * (64 << 10) for _ in range(32))):
            assert error_of(talk.http.post(talk.url + path, data=body, timeout=30))[0] == 413


@pytest.mark.parametrize("name", sorted(ROUTES))
def test_no_depth_and_no_number_makes_a_call_fail(talk: Talk, name: str) -> None:
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
