"""The table of facts read from single files, by fingerprint: sidecars and image facts. It describes local files.

Owns: `readings`, which it writes in groups. Must not: decide whether a fingerprint can be trusted (`sources`).
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
    """`write` opens a transaction. Readings wait in memory until `flush`, or until there are `FLUSH_EVERY` of them."""

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
        if len(self._waiting) >= FLUSH_EVERY:
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
