"""What was read from single files, by their fingerprints: sidecars and picture facts. It is about the disk, as the hash
cache is.

Owns: this table, and writing it in groups. Must not: decide whether a fingerprint can be trusted (`sources`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.state.names import fingerprint_to_db, name_to_db

FLUSH_EVERY = 1000


class Readings:
    """`write`: a transaction. Readings wait in memory until `flush`, or until there are a thousand of them."""

    def __init__(self, connection: sqlite3.Connection, write: Callable[[], AbstractContextManager[None]]) -> None:
        self._connection = connection
        self._write = write
        self._waiting: list[tuple[object, ...]] = []

    def get(self, reader: str, path: str, fingerprint: Fingerprint) -> Mapping[str, Any] | None:
        """What `reader` read from the file if it still has that fingerprint."""
        row = self._connection.execute(
            "SELECT body FROM readings WHERE path = ? AND reader = ?"
            " AND size_bytes = ? AND mtime_ns = ? AND inode = ? AND ctime_ns = ?",
            (name_to_db(path), reader, *fingerprint_to_db(fingerprint)),
        ).fetchone()
        reading: Mapping[str, Any] | None = json.loads(row[0]) if row else None
        return reading

    def put(self, reader: str, path: str, fingerprint: Fingerprint, reading: Mapping[str, Any]) -> None:
        body = json.dumps(dict(reading), ensure_ascii=True)
        self._waiting.append((name_to_db(path), reader, *fingerprint_to_db(fingerprint), body))
        if len(self._waiting) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
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
