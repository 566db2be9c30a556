"""Health of the daemon: whether it makes progress, what is wrong, and metrics.

Owns: these facts, and /healthz and /metrics over HTTP. Must not: influence runs.
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
"""Seconds without progress after which the loop counts as stalled. Longer than any retry timeout."""

REQUESTS_AT_ONCE = 8
"""The number of requests that are answered at once. More are refused."""


@dataclass(slots=True)
class Health:
    """The state of the daemon, as /healthz shows it."""

    clock: Callable[[], float]
    """Seconds of a clock that only goes forward."""
    wall: Callable[[], float]
    problem: str | None = None
    """The last problem, or None if everything works."""
    last_success: float | None = None
    """End of the last successful run, in seconds since 1970."""
    queued: int = 0
    """Places that wait for a run."""
    held: int = 0
    """Actions that wait for approval."""
    set_aside: int = 0
    """Files that keep failing."""
    manifest_broken: bool = False
    _beat: float = field(init=False)

    def __post_init__(self) -> None:
        self._beat = self.clock()

    def beat(self) -> None:
        """Record progress of the loop or of its run."""
        self._beat = self.clock()

    def alive(self) -> bool:
        return self.clock() - self._beat < STANDSTILL_S

    def document(self) -> dict[str, Any]:
        """Return the body of /healthz. An unreachable lake is only `degraded`, because a restart would not fix it."""
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
    """Counts actions, runs and lost events."""

    def synced(self, action: str, size_bytes: int, latency_s: float | None) -> None: ...

    def failed(self, action: str) -> None: ...

    def ran(self, outcome: str, seconds: float) -> None: ...

    def events_lost(self) -> None: ...

    def page(self) -> tuple[str, bytes] | None:
        """Return content type and body of /metrics, or None without metrics."""


class NoMetrics:
    """Metrics that count nothing."""

    def synced(self, action: str, size_bytes: int, latency_s: float | None) -> None: ...

    def failed(self, action: str) -> None: ...

    def ran(self, outcome: str, seconds: float) -> None: ...

    def events_lost(self) -> None: ...

    def page(self) -> tuple[str, bytes] | None:
        return None


class HealthServer:
    """Serves /healthz and /metrics. Raises OSError if the address is not available."""

    def __init__(self, host: str, port: int, health: Health, metrics: Metrics) -> None:
        slots = threading.BoundedSemaphore(REQUESTS_AT_ONCE)

        class Handler(BaseHTTPRequestHandler):
            timeout = 10.0

            def do_GET(self) -> None:
                if not slots.acquire(blocking=False):
                    self._answer(503, "text/plain", b"too many requests at once\n")
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
                    self._answer(404, "text/plain", b"only /metrics and /healthz exist\n")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Do not log scrapes."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Do not log a traceback for a client that closed the connection before the answer."""

        self._server = Server((host, port), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
