"""Health of the daemon: whether it makes progress, what is wrong, and metrics.

Owns: these facts, /healthz and /metrics over HTTP, metrics for Prometheus with its client library (the extra
`metrics`), and the messages to systemd. Must not: influence runs, or notify systemd's watchdog while the loop makes no
progress. Source: sd_notify(3). The protocol is one datagram, so no library is needed.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from metalake_sync.lazy_dataclass import dataclass

STANDSTILL_S = 1200.0
"""Seconds without progress after which the loop counts as stalled. Longer than any retry timeout."""

REQUESTS_AT_ONCE = 8
"""The number of requests that are answered at once. More are refused."""

LATENCY_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 1800, 7200)


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
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


class PrometheusMetrics:
    """Prometheus metrics of the daemon. Labels are actions and outcomes, never file names.

    Raises ImportError without the extra `metrics`.
    """

    def __init__(self, health: Health) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._page: Callable[[], tuple[str, bytes]] = lambda: (CONTENT_TYPE_LATEST, generate_latest(registry))
        self._synced = Counter(
            "metalake_sync_actions", "Actions that the lake confirmed.", ["action"], registry=registry
        )
        self._failed = Counter("metalake_sync_failures", "Actions that failed.", ["action"], registry=registry)
        self._bytes = Counter("metalake_sync_bytes", "Bytes of confirmed files.", registry=registry)
        self._runs = Counter("metalake_sync_runs", "Runs, by outcome.", ["outcome"], registry=registry)
        self._run_s = Histogram("metalake_sync_run_seconds", "Duration of runs.", registry=registry)
        self._latency = Histogram(
            "metalake_sync_latency_seconds",
            "From the last change of a file (closed, or renamed into place) until the lake confirmed it.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._lost = Counter(
            "metalake_sync_events_lost", "Number of times that notifications were lost.", registry=registry
        )
        for name, help_text, value in (
            ("queued", "Places that wait for a run.", lambda: health.queued),
            ("held", "Actions that wait for approval.", lambda: health.held),
            ("set_aside", "Files that keep failing.", lambda: health.set_aside),
            ("healthy", "1 if there is no problem.", lambda: not health.problem and not health.manifest_broken),
            ("last_success_timestamp_seconds", "End of the last successful run.", lambda: health.last_success or 0.0),
        ):
            Gauge(f"metalake_sync_{name}", help_text, registry=registry).set_function(value)

    def synced(self, action: str, size_bytes: int, latency_s: float | None) -> None:
        self._synced.labels(action).inc()
        self._bytes.inc(size_bytes)
        if latency_s is not None:
            self._latency.observe(max(0.0, latency_s))

    def failed(self, action: str) -> None:
        self._failed.labels(action).inc()

    def ran(self, outcome: str, seconds: float) -> None:
        self._runs.labels(outcome).inc()
        self._run_s.observe(seconds)

    def events_lost(self) -> None:
        self._lost.inc()

    def page(self) -> tuple[str, bytes] | None:
        return self._page()
