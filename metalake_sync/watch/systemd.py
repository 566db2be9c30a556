"""Notifications to systemd over its datagram socket.

Source: sd_notify(3). The protocol is one datagram, so no library is needed.
Owns: the socket and the thread of the watchdog. Must not: notify the watchdog while the loop makes no progress.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping


class ServiceManager:
    """Sends READY, STATUS and WATCHDOG to systemd, or nothing without NOTIFY_SOCKET in `environment`.

    `alive`: whether the loop makes progress. Only then the watchdog is notified.
    """

    def __init__(self, environment: Mapping[str, str], alive: Callable[[], bool]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._alive = alive
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        watchdog_us = environment.get("WATCHDOG_USEC", "")
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._period_s = int(watchdog_us) / 2e6 if watchdog_us.isdecimal() and for_us else 0.0

    def ready(self) -> None:
        self._send("READY=1")
        if self._address and self._period_s and self._thread is None:
            self._thread = threading.Thread(target=self._keep_alive, name="watchdog-pings", daemon=True)
            self._thread.start()

    def status(self, text: str) -> None:
        self._send("STATUS=" + text.replace("\n", " "))

    def reloading(self) -> None:
        # systemd needs the time to distinguish this message from older ones.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={_monotonic_us()}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _keep_alive(self) -> None:
        while not self._stop.wait(self._period_s):
            if self._alive():
                self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(1.0)
            try:
                out.sendto(message.encode("utf-8", "replace"), address)
            except OSError:
                return  # systemd is restarting, and the next message has the current status


def _monotonic_us() -> int:
    import time

    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
