"""Counting what was asked of lake and store: the second run must be able to say that it sent nothing."""

from __future__ import annotations

import threading
from collections import Counter


class RequestTally:
    """Counts requests; safe to feed from threads. `writes`: requests that could change something. `bytes_sent`: file
    bytes that a store confirmed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.writes = 0
        self.bytes_sent = 0
        self.by_path: Counter[str] = Counter()

    def asked(self, path: str, *, writes: bool) -> None:
        """A request went out. `path`: the route's template, or the store's name. `writes`: it may change something."""
        with self._lock:
            self.requests += 1
            self.writes += writes
            self.by_path[path] += 1

    def sent(self, size_bytes: int) -> None:
        with self._lock:
            self.bytes_sent += size_bytes
