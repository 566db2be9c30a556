"""The table of metadata by digest. Equal metadata of any files and heads shares one row.

Owns: `metadata_sets`. Must not: commit (the caller groups writes, see `StateStore.write`) or decide anything.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from metalake_sync.core.metadata import MetadataSet, MetadataValues


class MetadataSets:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def values(self, digest: str) -> MetadataValues | None:
        """Return the metadata with this digest, or None if it was never recorded."""
        row = self._connection.execute("SELECT body FROM metadata_sets WHERE digest = ?", (digest,)).fetchone()
        values: Mapping[str, Any] | None = json.loads(row[0]) if row else None
        return values

    def field_names(self) -> list[str]:
        """Return the names of all fields that were ever recorded."""
        rows = self._connection.execute(
            "SELECT DISTINCT entry.key FROM metadata_sets, json_each(metadata_sets.body) AS entry"
        )
        return [str(name) for (name,) in rows]

    def remember(self, sets: Iterable[MetadataSet]) -> None:
        """Keep metadata whose digests are about to be recorded in other tables."""
        by_digest = {metadata.digest: metadata.values for metadata in sets}
        self._connection.executemany(
            "INSERT INTO metadata_sets (digest, body) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(digest, json.dumps(values, ensure_ascii=False)) for digest, values in by_digest.items()],
        )
