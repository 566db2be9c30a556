"""The tables of what was sent to unmanaged files: one row for each entry, by lake and address.

Owns: `addressed_sets` and `addressed_metadata`. Must not: commit (the caller groups writes, see
`StateStore.write`) or decide anything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import AnnotationKind, DesiredSet, RecordedSet
from metalake_sync.core.unmanaged_files import SentMetadata, SentSet
from metalake_sync.state.annotation_bases import AnnotationBases, ShapesOf, unknown_shapes
from metalake_sync.state.names import name_from_db, name_to_db


class AddressedRecords:
    """Addresses are given as their `Address.key`."""

    def __init__(self, connection: sqlite3.Connection, bases: AnnotationBases) -> None:
        self._connection = connection
        self._bases = bases

    def operations(self, lake: str) -> list[tuple[str, str]]:
        """Return address and operation of every recorded annotation set."""
        rows = self._connection.execute(
            "SELECT DISTINCT address, operation FROM addressed_sets WHERE lake = ? ORDER BY address, operation", (lake,)
        )
        return rows.fetchall()

    def sets(self, lake: str, address: str, operation: str) -> dict[str, SentSet]:
        """Return the sets that the lake confirmed, by entry."""
        rows = self._connection.execute(
            "SELECT entry, kind, digest, shape_count, lake_id FROM addressed_sets"
            " WHERE lake = ? AND address = ? AND operation = ?",
            (lake, address, operation),
        )
        return {
            name_from_db(entry): SentSet(RecordedSet(operation, AnnotationKind(kind), digest, count), lake_id)
            for entry, kind, digest, count, lake_id in rows
        }

    def base(self, lake: str, address: str, operation: str, entry: str) -> ImageRecord | None:
        """Return the shapes of a set as the lake confirmed them, or None if they are unknown."""
        return self._bases.get(
            entry,
            "SELECT base FROM addressed_sets WHERE lake = ? AND address = ? AND operation = ? AND entry = ?",
            (lake, address, operation, name_to_db(entry)),
        )

    def record_sets(
        self,
        lake: str,
        address: str,
        sets: Iterable[tuple[str, DesiredSet, str | None]],
        shapes_of: ShapesOf = unknown_shapes,
    ) -> None:
        """Record confirmed sets, given as entry, set and the id of the image if it is known. `shapes_of`: returns the
        shapes of a set, by entry and operation."""
        sets = list(sets)
        bases = self._bases.put(shapes_of(entry, wanted.operation) for entry, wanted, _ in sets)
        self._connection.executemany(
            "INSERT INTO addressed_sets (lake, address, operation, entry, kind, digest, shape_count, lake_id, base)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET kind = excluded.kind,"
            " digest = excluded.digest, shape_count = excluded.shape_count, lake_id = excluded.lake_id,"
            " base = excluded.base",
            [
                (
                    lake,
                    address,
                    wanted.operation,
                    name_to_db(entry),
                    wanted.kind.value,
                    wanted.digest,
                    wanted.shape_count,
                    lake_id,
                    base,
                )
                for (entry, wanted, lake_id), base in zip(sets, bases, strict=True)
            ],
        )

    def forget_sets(self, lake: str, address: str, operation: str, entries: Iterable[str]) -> None:
        self._connection.executemany(
            "DELETE FROM addressed_sets WHERE lake = ? AND address = ? AND operation = ? AND entry = ?",
            [(lake, address, operation, name_to_db(entry)) for entry in entries],
        )

    def described(self, lake: str) -> list[str]:
        """Return every address that metadata was sent to."""
        rows = self._connection.execute(
            "SELECT DISTINCT address FROM addressed_metadata WHERE lake = ? ORDER BY address", (lake,)
        )
        return [address for (address,) in rows]

    def metadata(self, lake: str, address: str) -> dict[str, SentMetadata]:
        """Return the metadata that the lake confirmed, by entry."""
        rows = self._connection.execute(
            "SELECT entry, digest, lake_id FROM addressed_metadata WHERE lake = ? AND address = ?", (lake, address)
        )
        return {name_from_db(entry): SentMetadata(digest, lake_id) for entry, digest, lake_id in rows}

    def record_metadata(self, lake: str, address: str, entries: Iterable[tuple[str, str, str | None]]) -> None:
        """Record confirmed metadata, given as entry, digest and the id of the file if it is known.

        `MetadataSets.remember` keeps the values of the digest.
        """
        self._connection.executemany(
            "INSERT INTO addressed_metadata (lake, address, entry, digest, lake_id) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET digest = excluded.digest,"
            " lake_id = coalesce(excluded.lake_id, addressed_metadata.lake_id)",
            [(lake, address, name_to_db(entry), digest, lake_id) for entry, digest, lake_id in entries],
        )

    def forget_metadata(self, lake: str, address: str, entries: Iterable[str]) -> None:
        self._connection.executemany(
            "DELETE FROM addressed_metadata WHERE lake = ? AND address = ? AND entry = ?",
            [(lake, address, name_to_db(entry)) for entry in entries],
        )
