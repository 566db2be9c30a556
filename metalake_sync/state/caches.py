"""The tables of facts about local files: content hashes, facts read from single files, and parsed annotation sets.

Owns: `hash_cache`, `readings` and `set_memo`. They are caches: without them, files are read again. Readings and sets
are written in groups, and sets that no run used for a month are deleted. Must not: decide whether a fingerprint can be
trusted (`sources`), or compute keys.
"""

from __future__ import annotations

import functools
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from metalake_sync.core.shapes import KnownSet
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.state.names import fingerprint_to_db, name_to_db


class HashCache:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, path: str, fingerprint: Fingerprint) -> str | None:
        """Return the hash of the file at `path` (relative to the manifest) if it was stored with this fingerprint."""
        row = self._connection.execute(
            "SELECT content_hash FROM hash_cache"
            " WHERE path = ? AND size_bytes = ? AND mtime_ns = ? AND inode = ? AND ctime_ns = ?",
            (name_to_db(path), *fingerprint_to_db(fingerprint)),
        ).fetchone()
        return str(row[0]) if row else None

    def put(self, entries: Iterable[tuple[str, Fingerprint, str]]) -> None:
        """Store hashes, given as path, fingerprint and hash."""
        self._connection.executemany(
            "INSERT INTO hash_cache (path, size_bytes, mtime_ns, inode, ctime_ns, content_hash)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET size_bytes = excluded.size_bytes,"
            " mtime_ns = excluded.mtime_ns, inode = excluded.inode, ctime_ns = excluded.ctime_ns,"
            " content_hash = excluded.content_hash",
            [
                (name_to_db(path), *fingerprint_to_db(fingerprint), content_hash)
                for path, fingerprint, content_hash in entries
            ],
        )


READINGS_AT_ONCE = 1000


class Readings:
    """`write` opens a transaction. Readings wait in memory until `flush`, or until `READINGS_AT_ONCE` are waiting."""

    def __init__(self, connection: sqlite3.Connection, write: Callable[[], AbstractContextManager[None]]) -> None:
        self._connection = connection
        self._write = write
        self._waiting: list[tuple[object, ...]] = []

    def get(self, reader: str, path: str, fingerprint: Fingerprint) -> Mapping[str, Any] | None:
        """Return what `reader` read from the file if it was stored with this fingerprint."""
        row = self._connection.execute(
            "SELECT body FROM readings WHERE path = ? AND reader = ?"
            " AND size_bytes = ? AND mtime_ns = ? AND inode = ? AND ctime_ns = ?",
            (name_to_db(path), reader, *fingerprint_to_db(fingerprint)),
        ).fetchone()
        reading: Mapping[str, Any] | None = json.loads(row[0]) if row else None
        return reading

    def put(self, reader: str, path: str, fingerprint: Fingerprint, reading: Mapping[str, Any]) -> None:
        """Store a reading with the next flush."""
        body = json.dumps(dict(reading), ensure_ascii=True)
        self._waiting.append((name_to_db(path), reader, *fingerprint_to_db(fingerprint), body))
        if len(self._waiting) >= READINGS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write the readings that wait in memory."""
        if not self._waiting:
            return
        with self._write():
            self._connection.executemany(
                "INSERT INTO readings (path, reader, size_bytes, mtime_ns, inode, ctime_ns, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path, reader) DO UPDATE SET"
                " size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns, inode = excluded.inode,"
                " ctime_ns = excluded.ctime_ns, body = excluded.body",
                self._waiting,
            )
        self._waiting.clear()


SETS_AT_ONCE = 5000

TOUCH_AFTER_DAYS = 7
FORGET_AFTER_DAYS = 30


class StoredSets:
    """`write` opens a transaction; `today` returns days since the epoch. Sets wait in memory until `flush`, or until
    there are `SETS_AT_ONCE` of them."""

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
        if len(self._waiting) >= SETS_AT_ONCE:
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
