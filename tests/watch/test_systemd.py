"""What systemd hears."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from metalake_sync.watch.systemd import ServiceManager


def listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(5)
    return sock


def test_ready_status_and_pings_go_to_the_socket_while_the_loop_moves(tmp_path: Path) -> None:
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
            heard = manager.recv(100)
        except TimeoutError:
            heard = b""
        assert heard == b"", "a loop that stands still sends no ping"
        alive.set()
        manager.settimeout(5)
        assert manager.recv(100) == b"WATCHDOG=1"
        service.close()


def test_without_a_manager_nothing_is_sent() -> None:
    service = ServiceManager({}, lambda: True)
    service.ready()
    service.stopping()
    service.close()


def test_a_manager_that_went_away_is_no_error(tmp_path: Path) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}, lambda: True).status("fine")
