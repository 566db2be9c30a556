"""The table of parsed annotation sets, by a key of what they were parsed from. It describes local files and is a cache.

Owns: `set_memo`: it writes rows in groups and deletes rows that no run used for a month. Must not: compute keys.
"""

from __future__ import annotations

import functools
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from metalake_sync.core.shapes import KnownSet

FLUSH_EVERY = 5000
TOUCH_AFTER_DAYS = 7
FORGET_AFTER_DAYS = 30


class StoredSets:
    """`write` opens a transaction; `today` returns days since the epoch. Sets wait in memory until `flush`, or until
    there are `FLUSH_EVERY` of them."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        write: Callable[[], AbstractContextManager[None]],
        today: Callable[[], int] = lambda: int(time.time() // 86400),
    ) -> None:
        self._connection = connection
        self._write = write
        self._today = today()
        self._waiting: list[tuple[bytes, bytes, int, str, int]] = []
        self._touched: list[tuple[int, bytes]] = []

    def get(self, key: bytes) -> KnownSet | None:
        """Return the set stored under a key, or None."""
        row = self._connection.execute(
            "SELECT digest, shape_count, labels, used_on FROM set_memo WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        digest, shape_count, labels, used_on = row
        if used_on < self._today - TOUCH_AFTER_DAYS:
            self._touched.append((self._today, key))
        return _known(digest, shape_count, labels)

    def put(self, key: bytes, known: KnownSet) -> None:
        """Store a set with the next flush."""
        labels = json.dumps([known.labels, known.spelled])
        self._waiting.append((key, bytes.fromhex(known.digest), known.shape_count, labels, self._today))
        if len(self._waiting) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write the sets that wait in memory."""
        if not self._waiting and not self._touched:
            return
        with self._write():
            self._connection.executemany("INSERT OR REPLACE INTO set_memo VALUES (?, ?, ?, ?, ?)", self._waiting)
            self._connection.executemany("UPDATE set_memo SET used_on = ? WHERE key = ?", self._touched)
            self._connection.execute("DELETE FROM set_memo WHERE used_on < ?", (self._today - FORGET_AFTER_DAYS,))
        self._waiting.clear()
        self._touched.clear()


def _known(digest: bytes, shape_count: int, labels: str) -> KnownSet:
    tree, spelled = _labels(labels)
    return KnownSet(digest.hex(), shape_count, tree, spelled)


@functools.lru_cache(maxsize=4096)
def _labels(text: str) -> tuple[dict[str, dict[str, list[str]]], tuple[str, ...]]:
    """Cached, because the images of one collection share few sets of labels."""
    tree, spelled = json.loads(text)
    return tree, tuple(spelled)
