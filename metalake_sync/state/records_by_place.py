"""What the lake confirmed for the files of one place, a collection or an address, behind one interface.

Owns: the interface `PlaceRecords`, and the tables of unmanaged files: `addressed_sets` and `addressed_metadata`, with
one row for each entry, by lake and address. Must not: commit (the caller groups writes, see `StateStore.write`) or
decide anything.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from metalake_sync.core.addresses import Address, FileAt, Place
from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import (
    AnnotationKind,
    CollectionKey,
    DesiredSet,
    KeptSet,
    MediaType,
    RecordedMetadata,
    RecordedSet,
)
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.annotation_bases import AnnotationBases, ShapesOf, unknown_shapes
from metalake_sync.state.annotation_sets import AnnotationSets
from metalake_sync.state.files import Files
from metalake_sync.state.metadata_sets import MetadataSets
from metalake_sync.state.names import CollectionHandle, name_from_db, name_to_db


class PlaceRecords(Protocol):
    """The records of the files of one place. Files are given by their name there."""

    def sets(self, operation: str) -> dict[str, RecordedSet]:
        """Return the sets of one operation by file name."""
        ...

    def base(self, operation: str, name: str) -> ImageRecord | None:
        """Return the shapes of a set as the lake confirmed them, or None if they are unknown."""
        ...

    def base_ids(self, operation: str, names: Iterable[str]) -> dict[str, int | None]:
        """Return the ids of the bases of recorded sets by file name. None: the shapes in the lake are not known."""
        ...

    def record_sets(self, sets: Iterable[tuple[FileAt, DesiredSet]], shapes_of: ShapesOf = unknown_shapes) -> None:
        """Record sets with shapes that the lake confirmed. `shapes_of`: returns the shapes by name and operation."""
        ...

    def keep_sets(self, sets: Iterable[tuple[FileAt, KeptSet]]) -> None:
        """Record that sets of other clients stay in the lake."""
        ...

    def forget_sets(self, operation: str, names: Iterable[str]) -> None:
        """Delete the records of the sets of these files."""
        ...

    def record_metadata(self, files: Iterable[tuple[FileAt, MetadataSet]]) -> None:
        """Record metadata that the lake confirmed."""
        ...


@dataclass(frozen=True, slots=True)
class CollectionRecords:
    """The records of the managed files of a collection."""

    collection: CollectionHandle
    files: Files
    annotation_sets: AnnotationSets

    def sets(self, operation: str) -> dict[str, RecordedSet]:
        return self.annotation_sets.of_operation(self.collection, operation)

    def base(self, operation: str, name: str) -> ImageRecord | None:
        return self.annotation_sets.base(self.collection, name, operation)

    def base_ids(self, operation: str, names: Iterable[str]) -> dict[str, int | None]:
        return self.annotation_sets.base_ids(self.collection, operation, names)

    def record_sets(self, sets: Iterable[tuple[FileAt, DesiredSet]], shapes_of: ShapesOf = unknown_shapes) -> None:
        self.annotation_sets.record(self.collection, [(at.name, wanted) for at, wanted in sets], shapes_of)

    def keep_sets(self, sets: Iterable[tuple[FileAt, KeptSet]]) -> None:
        self.annotation_sets.keep(self.collection, [(at.name, kept) for at, kept in sets])

    def forget_sets(self, operation: str, names: Iterable[str]) -> None:
        self.annotation_sets.forget(self.collection, [(name, operation) for name in names])

    def record_metadata(self, files: Iterable[tuple[FileAt, MetadataSet]]) -> None:
        self.files.record_metadata(self.collection, [(at.name, metadata) for at, metadata in files])


@dataclass(frozen=True, slots=True)
class AddressRecords:
    """The records of the unmanaged files of an address."""

    connection: sqlite3.Connection
    metadata_sets: MetadataSets
    bases: AnnotationBases
    lake: str
    address: str
    """The key of the address."""

    def sets(self, operation: str) -> dict[str, RecordedSet]:
        rows = self.connection.execute(
            "SELECT entry, kind, digest, shape_count, kept, lake_id FROM addressed_sets"
            " WHERE lake = ? AND address = ? AND operation = ?",
            (self.lake, self.address, operation),
        )
        return {
            name_from_db(entry): RecordedSet(operation, AnnotationKind(kind), digest, count, None, kept, lake_id)
            for entry, kind, digest, count, kept, lake_id in rows
        }

    def base(self, operation: str, name: str) -> ImageRecord | None:
        return self.bases.get(
            name,
            "SELECT base FROM addressed_sets WHERE lake = ? AND address = ? AND operation = ? AND entry = ?",
            (self.lake, self.address, operation, name_to_db(name)),
        )

    def base_ids(self, operation: str, names: Iterable[str]) -> dict[str, int | None]:
        query = (
            "SELECT CASE WHEN kept IS NULL THEN base END FROM addressed_sets"
            " WHERE lake = ? AND address = ? AND operation = ? AND entry = ?"
        )
        place = (self.lake, self.address, operation)
        found = ((name, self.connection.execute(query, (*place, name_to_db(name))).fetchone()) for name in names)
        return {name: row[0] for name, row in found if row is not None}

    def record_sets(self, sets: Iterable[tuple[FileAt, DesiredSet]], shapes_of: ShapesOf = unknown_shapes) -> None:
        sets = list(sets)
        bases = self.bases.put(shapes_of(at.name, wanted.operation) for at, wanted in sets)
        self.connection.executemany(
            "INSERT INTO addressed_sets (lake, address, entry, lake_id, operation, kind, digest, shape_count, base)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET kind = excluded.kind,"
            " digest = excluded.digest, shape_count = excluded.shape_count, lake_id = excluded.lake_id,"
            " base = excluded.base, kept = NULL",
            [
                (
                    *(self.lake, self.address, name_to_db(at.name), at.lake_id),
                    *(wanted.operation, wanted.kind.value, wanted.digest, wanted.shape_count, base),
                )
                for (at, wanted), base in zip(sets, bases, strict=True)
            ],
        )

    def keep_sets(self, sets: Iterable[tuple[FileAt, KeptSet]]) -> None:
        self.connection.executemany(
            "INSERT INTO addressed_sets (lake, address, entry, lake_id, operation, kind, digest, shape_count, kept)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET kind = excluded.kind,"
            " digest = excluded.digest, shape_count = excluded.shape_count, lake_id = excluded.lake_id,"
            " kept = excluded.kept",
            [
                (
                    *(self.lake, self.address, name_to_db(at.name), at.lake_id, kept.wanted.operation),
                    *(kept.wanted.kind.value, kept.wanted.digest, kept.wanted.shape_count, kept.digest),
                )
                for at, kept in sets
            ],
        )

    def forget_sets(self, operation: str, names: Iterable[str]) -> None:
        self.connection.executemany(
            "DELETE FROM addressed_sets WHERE lake = ? AND address = ? AND operation = ? AND entry = ?",
            [(self.lake, self.address, operation, name_to_db(name)) for name in names],
        )

    def metadata(self) -> dict[str, RecordedMetadata]:
        """Return the metadata that the lake confirmed, by entry."""
        rows = self.connection.execute(
            "SELECT entry, digest, lake_id FROM addressed_metadata WHERE lake = ? AND address = ?",
            (self.lake, self.address),
        )
        return {name_from_db(entry): RecordedMetadata(digest, lake_id) for entry, digest, lake_id in rows}

    def record_metadata(self, files: Iterable[tuple[FileAt, MetadataSet]]) -> None:
        """Record metadata that the lake confirmed. A file without metadata has no record."""
        files = list(files)
        kept = [(at, metadata) for at, metadata in files if metadata]
        self.metadata_sets.remember(metadata for _, metadata in kept)
        self.connection.executemany(
            "INSERT INTO addressed_metadata (lake, address, entry, digest, lake_id) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET digest = excluded.digest,"
            " lake_id = coalesce(excluded.lake_id, addressed_metadata.lake_id)",
            [(self.lake, self.address, name_to_db(at.name), one.digest, at.lake_id) for at, one in kept],
        )
        self.forget_metadata(at.name for at, metadata in files if not metadata)

    def forget_metadata(self, names: Iterable[str]) -> None:
        self.connection.executemany(
            "DELETE FROM addressed_metadata WHERE lake = ? AND address = ? AND entry = ?",
            [(self.lake, self.address, name_to_db(name)) for name in names],
        )


class Written(NamedTuple):
    """The metadata that one place of the manifest wrote to a file."""

    place: Place
    name: str
    """The name in the collection, or the entry of the source."""
    digest: str


class Addresses:
    """The addresses of unmanaged files that have records."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def exist(self, lake: str) -> bool:
        """Return whether any unmanaged file has a record."""
        (found,) = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM addressed_sets WHERE lake = :lake)"
            " OR EXISTS (SELECT 1 FROM addressed_metadata WHERE lake = :lake)",
            {"lake": lake},
        ).fetchone()
        return bool(found)

    def with_sets(self, lake: str) -> list[tuple[Address, str]]:
        """Return address and operation of every recorded annotation set."""
        rows = self._connection.execute(
            "SELECT DISTINCT address, operation FROM addressed_sets WHERE lake = ? ORDER BY address, operation", (lake,)
        )
        return [(Address.from_key(key), operation) for key, operation in rows]

    def metadata_of_several(self, lake: str) -> Iterator[list[Written]]:
        """Yield, for each file with metadata from an address and from another place, what each place wrote."""
        found = self._connection.execute(
            "SELECT 1 FROM addressed_metadata WHERE lake = ? AND lake_id IS NOT NULL LIMIT 1", (lake,)
        ).fetchone()
        if found is None:
            return
        rows = self._connection.execute(
            "WITH addressed AS (SELECT * FROM addressed_metadata WHERE lake = :lake AND lake_id IS NOT NULL)"
            " SELECT lake_id, address, NULL, entry, digest FROM addressed"
            " UNION ALL SELECT f.lake_id, c.name, c.type, f.name, f.metadata_digest FROM files f"
            " JOIN collections c ON c.id = f.collection"
            " WHERE c.lake = :lake AND f.lake_id IN (SELECT lake_id FROM addressed) ORDER BY 1, 3, 2",
            {"lake": lake},
        )
        for _, group in itertools.groupby(rows, key=lambda row: row[0]):
            written = [
                Written(
                    Address.from_key(place) if kind is None else CollectionKey(MediaType(kind), place),
                    name_from_db(name),
                    digest,
                )
                for _, place, kind, name, digest in group
            ]
            if len(written) > 1:
                yield written

    def with_metadata(self, lake: str) -> list[Address]:
        """Return every address that metadata was sent to."""
        rows = self._connection.execute(
            "SELECT DISTINCT address FROM addressed_metadata WHERE lake = ? ORDER BY address", (lake,)
        )
        return [Address.from_key(key) for (key,) in rows]
