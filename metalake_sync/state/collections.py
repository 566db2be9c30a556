"""The table of recorded collections.

Owns: `collections`. Must not: commit (the caller groups writes, see `StateStore.write`) or decide anything.
"""

from __future__ import annotations

import sqlite3

from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.snapshots import CollectionKey, MediaType, RecordedCollection
from metalake_sync.state.metadata_sets import MetadataSets
from metalake_sync.state.names import CollectionHandle


class Collections:
    def __init__(self, connection: sqlite3.Connection, metadata_sets: MetadataSets) -> None:
        self._connection = connection
        self._metadata_sets = metadata_sets

    def of_lake(self, lake: str) -> dict[CollectionKey, tuple[CollectionHandle, RecordedCollection]]:
        """Return every recorded collection of a lake with its handle."""
        found: dict[CollectionKey, tuple[CollectionHandle, RecordedCollection]] = {}
        rows = self._connection.execute(
            "SELECT id, type, name, lake_id, storage_path, head_digest, listed_count, listed_newest, looked_until"
            " FROM collections WHERE lake = ?",
            (lake,),
        )
        for row_id, media_type, name, *rest in rows:
            key = CollectionKey(MediaType(media_type), name)
            found[key] = (CollectionHandle(row_id), RecordedCollection(key, *rest))
        return found

    def lakes(self) -> list[str]:
        """Return every lake that has a recorded collection, sorted."""
        return [lake for (lake,) in self._connection.execute("SELECT DISTINCT lake FROM collections ORDER BY lake")]

    def record(self, lake: str, key: CollectionKey, lake_id: str, storage_path: str) -> CollectionHandle:
        """Record a collection, or its new id in the lake, and return its handle.

        A new id means another collection, so the markers of the old one are cleared.
        """
        row = self._connection.execute(
            "INSERT INTO collections (lake, type, name, lake_id, storage_path) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (lake, type, name) DO UPDATE SET lake_id = excluded.lake_id,"
            " storage_path = excluded.storage_path,"
            " head_digest = CASE WHEN lake_id = excluded.lake_id THEN head_digest END,"
            " listed_count = CASE WHEN lake_id = excluded.lake_id THEN listed_count END,"
            " looked_until = CASE WHEN lake_id = excluded.lake_id THEN looked_until END"
            " RETURNING id",
            (lake, key.type.value, key.name, lake_id, storage_path),
        ).fetchone()
        return CollectionHandle(row[0])

    def record_head(self, collection: CollectionHandle, head: MetadataSet) -> None:
        """Record the head metadata that the lake confirmed."""
        self._metadata_sets.remember([head])
        self._connection.execute("UPDATE collections SET head_digest = ? WHERE id = ?", (head.digest, collection))

    def record_listed(self, collection: CollectionHandle, count: int, newest: str | None) -> None:
        """Record that a listing agreed with the records: the number of files and the id of the newest one."""
        self._connection.execute(
            "UPDATE collections SET listed_count = ?, listed_newest = ? WHERE id = ?", (count, newest, collection)
        )

    def forget_listed(self, collection: CollectionHandle) -> None:
        """Forget the listing that last agreed with the records, so that the next plan makes a new one."""
        self._connection.execute(
            "UPDATE collections SET listed_count = NULL, listed_newest = NULL WHERE id = ?", (collection,)
        )

    def record_looked(self, collection: CollectionHandle, until: str) -> None:
        """Record that a full refresh found no drift up to `until`, a timestamp in the lake's own format."""
        self._connection.execute("UPDATE collections SET looked_until = ? WHERE id = ?", (until, collection))

    def forget(self, collection: CollectionHandle) -> None:
        """Delete a collection's records, with those of its files, annotation sets and upload sessions."""
        self._connection.execute("DELETE FROM collections WHERE id = ?", (collection,))
