"""The tables of writes that were sent and that the lake has not confirmed: annotation sets and metadata.

A run records them before it sends them, and deletes them with the record of success. So the rows that a run finds when
it starts belong to a run that was killed between the lake's answer and that record, or whose last call had no answer.
The lake may have these values: `planning.pending_writes` finds out.

Owns: `pending_sets` and `pending_metadata`. Must not: commit (the caller groups writes, see `StateStore.write`) or
decide anything.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from metalake_sync.core.addresses import Address, FileAt, Place
from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import AnnotationKind, CollectionKey, DesiredSet, MediaType
from metalake_sync.state.annotation_bases import NO_SET, AnnotationBases, BaseId
from metalake_sync.state.metadata_sets import MetadataSets
from metalake_sync.state.names import name_from_db, name_to_db

HEAD = ""
"""In place of a file's name: the metadata of the collection itself."""


class PendingSet(NamedTuple):
    """An annotation set that was sent."""

    at: FileAt
    operation: str
    kind: AnnotationKind
    sent: ImageRecord
    """What was sent. A cleared set has no shapes."""
    record: DesiredSet | None
    """The set to record once the lake has confirmed it. None: the record is deleted."""
    base: ImageRecord | None = None
    """The shapes to record. None: those that were sent. They differ for a merged set."""
    kept: str | None = None
    """The digest of a merged set as the lake stores it: it stays until one side changes."""


class PendingMetadata(NamedTuple):
    """Metadata that was sent."""

    at: FileAt
    """Its name is `HEAD` for the collection itself."""
    sent: MetadataSet
    """The fields that were written."""
    record: MetadataSet
    """What to record as ours once the lake has confirmed it."""


class PendingWrites:
    """The writes of one state, of every lake."""

    def __init__(self, connection: sqlite3.Connection, bases: AnnotationBases, metadata_sets: MetadataSets) -> None:
        self._connection = connection
        self._bases = bases
        self._metadata_sets = metadata_sets

    def exist(self, lake: str) -> bool:
        """Return whether anything was sent to a lake that it has not confirmed."""
        query = (
            "SELECT EXISTS (SELECT 1 FROM pending_sets WHERE lake = ?)"
            " OR EXISTS (SELECT 1 FROM pending_metadata WHERE lake = ?)"
        )
        return bool(self._connection.execute(query, (lake, lake)).fetchone()[0])

    # Annotation sets.

    def put_sets(self, lake: str, place: Place, operation: str, sets: Sequence[PendingSet]) -> dict[str, BaseId]:
        """Record sets that are about to be sent. Returns the stored shapes of each set to record, by file name."""
        shapes = (*(one.sent if one.sent.shapes else None for one in sets), *(one.base for one in sets))
        ids = self._bases.put(shapes)
        sent, bases = ids[: len(sets)], ids[len(sets) :]
        self._connection.executemany(
            "INSERT OR REPLACE INTO pending_sets"
            " (lake, place, operation, name, lake_id, kind, digest, shape_count, sent, base, kept)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(lake, _key(place), operation, name_to_db(one.at.name), one.at.lake_id, one.kind.value),
                    one.record.digest if one.record is not None else None,
                    one.record.shape_count if one.record is not None else 0,
                    *(drawn or NO_SET, base, one.kept),
                )
                for one, drawn, base in zip(sets, sent, bases, strict=True)
            ],
        )
        stored = ((one.at.name, base or drawn) for one, drawn, base in zip(sets, sent, bases, strict=True))
        return {name: BaseId(shapes) for name, shapes in stored if shapes}

    def confirm_sets(self, lake: str, place: Place, operation: str, names: Iterable[str]) -> None:
        """Delete the rows of sets that the lake confirmed. The shapes that `put_sets` returned stay: records have
        them now."""
        keys = [(lake, _key(place), operation, name_to_db(name)) for name in names]
        where = "lake = ? AND place = ? AND operation = ? AND name = ?"
        self._connection.executemany(
            f"DELETE FROM annotation_bases WHERE id = (SELECT sent FROM pending_sets WHERE {where}"  # noqa: S608
            " AND (base IS NOT NULL OR digest IS NULL))",
            keys,
        )
        self._connection.executemany(f"DELETE FROM pending_sets WHERE {where}", keys)  # noqa: S608

    def drop_sets(self, lake: str, place: Place, operation: str, names: Iterable[str]) -> None:
        """Delete the rows of sets that the lake rejected, with their shapes."""
        keys = [(lake, _key(place), operation, name_to_db(name)) for name in names]
        where = "lake = ? AND place = ? AND operation = ? AND name = ?"
        for column in ("sent", "base"):
            self._connection.executemany(
                f"DELETE FROM annotation_bases WHERE id = (SELECT {column} FROM pending_sets WHERE {where})",  # noqa: S608
                keys,
            )
        self._connection.executemany(f"DELETE FROM pending_sets WHERE {where}", keys)  # noqa: S608

    def sets(self, lake: str) -> dict[tuple[Place, str], list[PendingSet]]:
        """Return all sets that a lake has not confirmed, by place and operation."""
        rows = self._connection.execute(
            "SELECT place, operation, name, lake_id, kind, digest, shape_count, sent, base, kept FROM pending_sets"
            " WHERE lake = ? ORDER BY place, operation, name",
            (lake,),
        ).fetchall()
        found: dict[tuple[Place, str], list[PendingSet]] = {}
        for key, operation, stored, lake_id, text, digest, count, sent, base, kept in rows:
            place, name, kind = _place(key), name_from_db(stored), AnnotationKind(text)
            found.setdefault((place, operation), []).append(
                PendingSet(
                    FileAt(place, name, lake_id=lake_id),
                    operation,
                    kind,
                    self._bases.of_history(name, sent) or ImageRecord(name, ()),
                    DesiredSet(operation, kind, digest, count) if digest is not None else None,
                    self._bases.of_history(name, base) if base is not None else None,
                    kept,
                )
            )
        return found

    # Metadata.

    def put_metadata(self, lake: str, place: Place, files: Sequence[PendingMetadata]) -> None:
        """Record metadata that is about to be sent."""
        self._metadata_sets.remember(one for file in files for one in (file.sent, file.record))
        self._connection.executemany(
            "INSERT OR REPLACE INTO pending_metadata (lake, place, name, lake_id, sent_digest, digest)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (lake, _key(place), name_to_db(one.at.name), one.at.lake_id, one.sent.digest, one.record.digest)
                for one in files
            ],
        )

    def drop_metadata(self, lake: str, place: Place, names: Iterable[str]) -> None:
        """Delete the rows of metadata that the lake confirmed or rejected."""
        place_key = _key(place)
        self._connection.executemany(
            "DELETE FROM pending_metadata WHERE lake = ? AND place = ? AND name = ?",
            [(lake, place_key, name_to_db(name)) for name in names],
        )

    def metadata(self, lake: str) -> dict[Place, list[PendingMetadata]]:
        """Return all metadata that a lake has not confirmed, by place."""
        rows = self._connection.execute(
            "SELECT place, name, lake_id, sent_digest, digest FROM pending_metadata"
            " WHERE lake = ? ORDER BY place, name",
            (lake,),
        ).fetchall()
        found: dict[Place, list[PendingMetadata]] = {}
        for key, name, lake_id, sent, digest in rows:
            place = _place(key)
            found.setdefault(place, []).append(
                PendingMetadata(
                    FileAt(place, name_from_db(name), lake_id=lake_id),
                    MetadataSet(self._metadata_sets.values(sent) or {}, sent),
                    MetadataSet(self._metadata_sets.values(digest) or {}, digest),
                )
            )
        return found

    def drop_all(self, lake: str) -> None:
        """Delete all rows of a lake, with their shapes."""
        for column in ("sent", "base"):
            self._connection.execute(
                f"DELETE FROM annotation_bases WHERE id IN (SELECT {column} FROM pending_sets WHERE lake = ?)",  # noqa: S608
                (lake,),
            )
        self._connection.execute("DELETE FROM pending_sets WHERE lake = ?", (lake,))
        self._connection.execute("DELETE FROM pending_metadata WHERE lake = ?", (lake,))


def _key(place: Place) -> str:
    """The text by which a row names a place."""
    return place.key if isinstance(place, Address) else json.dumps([place.type.value, place.name], ensure_ascii=False)


def _place(key: str) -> Place:
    """The inverse of `_key`."""
    parts = json.loads(key)
    return CollectionKey(MediaType(parts[0]), parts[1]) if len(parts) == 2 else Address.from_key(key)
