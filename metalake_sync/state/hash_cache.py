"""The table of content hashes by path and fingerprint. It describes local files, not the lake.

Owns: `hash_cache`. Must not: commit (the caller groups writes, see `StateStore.write`), or decide
whether a fingerprint can be trusted (`sources`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

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
