"""What the daemon answers about itself."""

from __future__ import annotations

import json
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from metalake_sync.watch.health import STANDSTILL_S, Health, HealthServer, NoMetrics


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served(clock: Clock) -> Iterator[HealthServer]:
    server = HealthServer("127.0.0.1", 0, Health(clock, clock), NoMetrics())
    yield server
    server.close()


def asked(server: HealthServer, path: str = "/healthz", host: str = "127.0.0.1") -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{host}:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


def test_a_loop_that_stands_still_is_told_and_one_in_trouble_is_not(served: HealthServer, clock: Clock) -> None:
    status, body = asked(served, "/healthz?probe=1")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    clock.now = STANDSTILL_S + 1
    status, body = asked(served)
    assert (status, json.loads(body)["status"]) == (503, "stalled")


def test_without_metrics_there_is_no_such_page(served: HealthServer) -> None:
    assert asked(served, "/metrics")[0] == 404


def test_whoever_hangs_up_leaves_no_traceback(served: HealthServer, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", served.port)) as rude:
            # A reset instead of a farewell.
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.sendall(b"GET /healthz HTTP/1.1\r\n")
    assert asked(served)[0] == 200
    assert capfd.readouterr().err == ""


def test_an_address_of_ipv6_can_be_had(clock: Clock) -> None:
    try:
        server = HealthServer("::1", 0, Health(clock, clock), NoMetrics())
    except OSError as error:
        pytest.skip(f"there is no ::1 here: {error}")
    assert asked(server, host="[::1]")[0] == 200
    server.close()
