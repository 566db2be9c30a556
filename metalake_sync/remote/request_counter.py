"""Counts requests to lake and store, so that a run can report what it sent."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping


class RequestCounter:
    """Counts requests. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.writes = 0
        """Requests that may have changed something."""
        self.bytes_sent = 0
        """Bytes of files that a store confirmed."""
        self.bytes_received = 0
        """Bytes of files that a store sent, also in transfers that were repeated."""
        self.by_path: Counter[str] = Counter()

    def count(self, path: str, *, writes: bool) -> None:
        """Count a request. `path`: the route's template, or "store". `writes`: it may change something."""
        with self._lock:
            self.requests += 1
            self.writes += writes
            self.by_path[path] += 1

    def take(self) -> tuple[dict[str, int], int, int]:
        """Return the counts by path, the writes and the sent bytes, and start again at zero."""
        with self._lock:
            taken = dict(self.by_path), self.writes, self.bytes_sent
            self.by_path.clear()
            self.requests = self.writes = self.bytes_sent = 0
            return taken

    def add(self, by_path: Mapping[str, int], writes: int, bytes_sent: int) -> None:
        """Add what another process counted."""
        with self._lock:
            self.requests += sum(by_path.values())
            self.writes += writes
            self.bytes_sent += bytes_sent
            self.by_path.update(by_path)

    def add_received_bytes(self, size_bytes: int) -> None:
        with self._lock:
            self.bytes_received += size_bytes

    def add_sent_bytes(self, size_bytes: int) -> None:
        with self._lock:
            self.bytes_sent += size_bytes
