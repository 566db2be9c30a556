"""Metrics for Prometheus, with its client library (the extra `metrics`)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from metalake_sync.watch.health import Health

LATENCY_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 1800, 7200)


class PrometheusMetrics:
    """Prometheus metrics of the daemon. Labels are actions and outcomes, never file names."""

    def __init__(self, health: Health) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._registry = registry
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
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)
