"""The webhook: signatures, limits, and secrets that are not logged."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from metalake_sync.watch.notify import Webhook, sign

SECRET = b"signing-secret-9f2"


class Receiver:
    """Records requests. Answers with each of `statuses`, then 200."""

    def __init__(self, *statuses: int) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        left = list(statuses)
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                requests.append((dict(self.headers), body))
                self.send_response(left.pop(0) if left else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/token-a1b2"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


def test_a_message_is_signed_over_its_time_and_body(receiver: Receiver) -> None:
    hook = Webhook(receiver.url, lambda: SECRET, common={"manifest": "birds"})
    hook.send("failed", message="the lake is unreachable")
    hook.close()
    ((headers, body),) = receiver.requests
    assert json.loads(body)["event"] == "failed"
    assert json.loads(body)["manifest"] == "birds"
    assert headers["X-Metalake-Sync-Signature"] == sign(SECRET, headers["X-Metalake-Sync-Timestamp"], body)
    assert SECRET not in body


def test_an_event_that_is_not_selected_is_not_sent(receiver: Receiver) -> None:
    hook = Webhook(receiver.url, lambda: None, events=frozenset({"recovered"}))
    hook.send("failed")
    hook.send("recovered")
    hook.close()
    assert [json.loads(body)["event"] for _, body in receiver.requests] == ["recovered"]


def test_a_failed_delivery_is_retried() -> None:
    receiver = Receiver(500, 503)
    hook = Webhook(receiver.url, lambda: None, pause_s=0.01)
    hook.send("failed")
    hook.close()
    assert len(receiver.requests) == 3
    receiver.close()


def test_a_message_that_was_not_delivered_is_logged_without_the_address(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(500, 500, 500)
    hook = Webhook(receiver.url, lambda: SECRET, pause_s=0.01)
    with caplog.at_level(logging.DEBUG, "metalake_sync.watch"):
        hook.send("failed")
        hook.close()
    assert "did not accept 'failed' in 3 attempts" in caplog.text
    assert "token-a1b2" not in caplog.text
    receiver.close()


def test_the_queue_of_an_unreachable_receiver_is_limited() -> None:
    hook = Webhook("http://127.0.0.1:9/", lambda: None, pause_s=30.0)
    for _ in range(1000):
        hook.send("failed")
    assert hook._queue.qsize() <= 20
    hook.close(timeout_s=0.1)


def test_a_receiver_on_this_machine_is_not_reached_through_a_proxy(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    hook = Webhook(receiver.url, lambda: None)
    hook.send("failed")
    hook.close()
    assert len(receiver.requests) == 1
