"""What the daemon knows of itself: whether it moves, what is wrong, and numbers for those who ask.

Owns: these facts, and /healthz and /metrics over HTTP. Must not: change the course of anything.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from metalake_sync.lazy_dataclass import dataclass

STANDSTILL_S = 1200.0
"""A loop that neither turned nor told of a run's progress for so long stands still: longer than any patience in it."""

ASKERS = 8
"""So many requests are answered at once; more are refused."""


@dataclass(slots=True)
class Health:
    """`clock`: seconds that only go forward. `problem`: what went wrong last, None when all is well."""

    clock: Callable[[], float]
    wall: Callable[[], float]
    problem: str | None = None
    last_success: float | None = None
    queued: int = 0
    held: int = 0
    set_aside: int = 0
    manifest_broken: bool = False
    _beat: float = field(init=False)

    def __post_init__(self) -> None:
        self._beat = self.clock()

    def beat(self) -> None:
        """The loop moves, or the run in it does."""
        self._beat = self.clock()

    def alive(self) -> bool:
        return self.clock() - self._beat < STANDSTILL_S

    def document(self) -> dict[str, Any]:
        """What /healthz says. A lake that is away is a problem, and none that a restart would mend."""
        state = "stalled" if not self.alive() else "degraded" if self.problem or self.manifest_broken else "ok"
        return {
            "status": state,
            "problem": self.problem,
            "last_success": self.last_success,
            "queued": self.queued,
            "held": self.held,
            "set_aside": self.set_aside,
            "manifest_broken": self.manifest_broken,
        }


class Metrics(Protocol):
    """Counts what happens."""

    def synced(self, action: str, size_bytes: int, latency_s: float | None) -> None: ...

    def failed(self, action: str) -> None: ...

    def ran(self, outcome: str, seconds: float) -> None: ...

    def events_lost(self) -> None: ...

    def page(self) -> tuple[str, bytes] | None:
        """Content type and text of /metrics, or None where nothing is counted."""


class NoMetrics:
    """Counts nothing."""

    def synced(self, action: str, size_bytes: int, latency_s: float | None) -> None: ...

    def failed(self, action: str) -> None: ...

    def ran(self, outcome: str, seconds: float) -> None: ...

    def events_lost(self) -> None: ...

    def page(self) -> tuple[str, bytes] | None:
        return None


class HealthServer:
    """Answers /healthz and /metrics. Raises OSError if the address can't be had."""

    def __init__(self, host: str, port: int, health: Health, metrics: Metrics) -> None:
        slots = threading.BoundedSemaphore(ASKERS)

        class Handler(BaseHTTPRequestHandler):
            timeout = 10.0

            def do_GET(self) -> None:
                if not slots.acquire(blocking=False):
                    self._answer(503, "text/plain", b"too many at once\n")
                    return
                try:
                    self._route()
                finally:
                    slots.release()

            def _route(self) -> None:
                path = self.path.partition("?")[0]
                page = metrics.page() if path == "/metrics" else None
                if path == "/healthz":
                    body = json.dumps(health.document()).encode() + b"\n"
                    self._answer(200 if health.alive() else 503, "application/json", body)
                elif page is not None:
                    self._answer(200, *page)
                else:
                    self._answer(404, "text/plain", b"there is /metrics and /healthz\n")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Scrapes are no news."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Whoever hung up before the answer is no news either; else the log would have a traceback."""

        self._server = Server((host, port), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
