"""Counts requests to lake and store, so that a run can report what it sent."""

from __future__ import annotations

import threading
from collections import Counter


class RequestCounter:
    """Counts requests. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.writes = 0
        """Requests that may have changed something."""
        self.bytes_sent = 0
        """Bytes of files that a store confirmed."""
        self.by_path: Counter[str] = Counter()

    def count(self, path: str, *, writes: bool) -> None:
        """Count a request. `path`: the route's template, or "store". `writes`: it may change something."""
        with self._lock:
            self.requests += 1
            self.writes += writes
            self.by_path[path] += 1

    def add_sent_bytes(self, size_bytes: int) -> None:
        with self._lock:
            self.bytes_sent += size_bytes
