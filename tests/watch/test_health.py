"""Health of the daemon: /healthz, /metrics and the messages to systemd."""

from __future__ import annotations

import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from metalake_sync.watch.health import STANDSTILL_S, Health, HealthServer, NoMetrics, ServiceManager


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


def test_healthz_reports_a_stalled_loop_with_503(served: HealthServer, clock: Clock) -> None:
    status, body = asked(served, "/healthz?probe=1")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    clock.now = STANDSTILL_S + 1
    status, body = asked(served)
    assert (status, json.loads(body)["status"]) == (503, "stalled")


def test_without_metrics_their_page_does_not_exist(served: HealthServer) -> None:
    assert asked(served, "/metrics")[0] == 404


def test_a_client_that_resets_the_connection_causes_no_traceback(
    served: HealthServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            # Closing sends a reset.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"GET /healthz HTTP/1.1\r\n")
    assert asked(served)[0] == 200
    assert capfd.readouterr().err == ""


def test_health_is_served_on_an_ipv6_address(clock: Clock) -> None:
    try:
        server = HealthServer("::1", 0, Health(clock, clock), NoMetrics())
    except OSError as error:
        pytest.skip(f"this machine does not have ::1: {error}")
    assert asked(server, host="[::1]")[0] == 200
    server.close()


def listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(5)
    return sock


def test_ready_status_and_watchdog_messages_are_sent_while_the_loop_makes_progress(tmp_path: Path) -> None:
    alive = threading.Event()
    with listen(tmp_path / "s") as manager:
        service = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "s"), "WATCHDOG_USEC": "20000"}, alive.is_set)
        service.ready()
        assert manager.recv(100) == b"READY=1"
        service.status("all is\nwell")
        assert manager.recv(100) == b"STATUS=all is well"
        service.status("a name of \udcff half a letter")
        assert manager.recv(100) == b"STATUS=a name of ? half a letter"
        manager.settimeout(0.2)
        try:
            received = manager.recv(100)
        except TimeoutError:
            received = b""
        assert received == b"", "a stalled loop must not notify the watchdog"
        alive.set()
        manager.settimeout(5)
        assert manager.recv(100) == b"WATCHDOG=1"
        service.close()


def test_without_systemd_nothing_is_sent() -> None:
    service = ServiceManager({}, lambda: True)
    service.ready()
    service.stopping()
    service.close()


def test_a_closed_socket_of_systemd_is_ignored(tmp_path: Path) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}, lambda: True).status("fine")
