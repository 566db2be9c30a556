"""The tables of annotation sets of managed files that the lake confirmed, and of model runs that the studio attached.

Owns: `annotation_sets` and `attached_runs`. The shapes of its sets are in `annotation_bases`. Must not: commit (the
caller groups writes, see `StateStore.write`) or decide anything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator

from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import AnnotationKind, DesiredSet, KeptSet, RecordedSet
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.annotation_bases import AnnotationBases, ShapesOf, unknown_shapes
from metalake_sync.state.names import CollectionHandle, name_from_db, name_to_db

PAGE = 1000
"""How many sets are read or written at once."""


@dataclass(frozen=True, slots=True)
class ReadBackSet:
    """A recorded set as a refresh read it back from the lake."""

    name: str
    """The file's name in the collection."""
    operation: str
    sent_digest: str
    """The digest of the set that was sent."""
    seen_digest: str
    """The digest of the set that the lake returned. It differs where the lake rounds fractions to pixels."""


class AnnotationSets:
    def __init__(self, connection: sqlite3.Connection, bases: AnnotationBases) -> None:
        self._connection = connection
        self._bases = bases

    def exist_in(self, collection: CollectionHandle) -> bool:
        """Return whether any file of the collection has a recorded annotation set."""
        row = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM annotation_sets s JOIN files f ON f.id = s.file WHERE f.collection = ?)",
            (collection,),
        ).fetchone()
        return bool(row[0])

    def counts(self, collection: CollectionHandle) -> dict[str, int]:
        """Return the number of sets with shapes by operation."""
        rows = self._connection.execute(
            "SELECT s.operation, count(*) FROM annotation_sets s JOIN files f ON f.id = s.file"
            " WHERE f.collection = ? AND s.shape_count > 0 GROUP BY s.operation",
            (collection,),
        )
        return dict(rows.fetchall())

    def operations(self, collection: CollectionHandle) -> list[str]:
        """Return every operation that has recorded sets, sorted."""
        rows = self._connection.execute(
            "SELECT DISTINCT s.operation FROM annotation_sets s JOIN files f ON f.id = s.file WHERE f.collection = ?",
            (collection,),
        )
        return sorted(operation for (operation,) in rows)

    def of_operation(self, collection: CollectionHandle, operation: str) -> dict[str, RecordedSet]:
        """Return the sets of one operation by file name."""
        rows = self._connection.execute(
            "SELECT f.name, s.kind, s.digest, s.shape_count, s.seen, s.kept FROM annotation_sets s"
            " JOIN files f ON f.id = s.file WHERE f.collection = ? AND s.operation = ?",
            (collection, operation),
        )
        return {
            name_from_db(name): RecordedSet(operation, AnnotationKind(kind), digest, count, seen, kept)
            for name, kind, digest, count, seen, kept in rows
        }

    def of_row(self, file_row: int) -> dict[str, RecordedSet]:
        """Return the sets of one row of `files` by operation. Only the tables of this package know row ids."""
        rows = self._connection.execute(
            "SELECT operation, kind, digest, shape_count, seen, kept FROM annotation_sets WHERE file = ?", (file_row,)
        )
        return {
            operation: RecordedSet(operation, AnnotationKind(kind), digest, count, seen, kept)
            for operation, kind, digest, count, seen, kept in rows
        }

    def digests_of_folder(self, collection: CollectionHandle, folder: str) -> dict[int, dict[str, str]]:
        """Return the digests of the sets in one folder: row of `files` → operation → digest."""
        digests: dict[int, dict[str, str]] = {}
        for file_row, operation, digest in self._connection.execute(
            "SELECT s.file, s.operation, s.digest FROM files f JOIN annotation_sets s ON s.file = f.id"
            " WHERE f.collection = ? AND f.folder = ?",
            (collection, name_to_db(folder)),
        ):
            digests.setdefault(file_row, {})[operation] = digest
        return digests

    def base(self, collection: CollectionHandle, name: str, operation: str) -> ImageRecord | None:
        """Return the shapes of a set as the lake confirmed them, or None if they are unknown."""
        return self._bases.get(
            name,
            "SELECT base FROM annotation_sets WHERE operation = ?"
            " AND file = (SELECT id FROM files WHERE collection = ? AND name = ?)",
            (operation, collection, name_to_db(name)),
        )

    def base_ids(self, collection: CollectionHandle, operation: str, names: Iterable[str]) -> dict[str, int | None]:
        """Return the ids of the bases of recorded sets by file name. None: the shapes in the lake are not known."""
        query = (
            "SELECT CASE WHEN kept IS NULL THEN base END FROM annotation_sets WHERE operation = ?"
            " AND file = (SELECT id FROM files WHERE collection = ? AND name = ?)"
        )
        place = (operation, collection)
        found = ((name, self._connection.execute(query, (*place, name_to_db(name))).fetchone()) for name in names)
        return {name: row[0] for name, row in found if row is not None}

    def record(
        self,
        collection: CollectionHandle,
        sets: Iterable[tuple[str, DesiredSet]],
        shapes_of: ShapesOf = unknown_shapes,
    ) -> None:
        """Record sets that the lake confirmed, given as pairs of file name and set. `shapes_of`: returns the shapes of
        a set, by file name and operation."""
        sets = list(sets)
        bases = self._bases.put(shapes_of(name, wanted.operation) for name, wanted in sets)
        self._connection.executemany(
            "INSERT INTO annotation_sets (file, operation, kind, digest, shape_count, base)"
            " SELECT id, ?, ?, ?, ?, ? FROM files WHERE collection = ? AND name = ?"
            " ON CONFLICT (file, operation) DO UPDATE SET kind = excluded.kind, digest = excluded.digest,"
            " shape_count = excluded.shape_count, seen = NULL, base = excluded.base, kept = NULL",
            [
                (
                    wanted.operation,
                    wanted.kind.value,
                    wanted.digest,
                    wanted.shape_count,
                    base,
                    collection,
                    name_to_db(name),
                )
                for (name, wanted), base in zip(sets, bases, strict=True)
            ],
        )

    def keep(self, collection: CollectionHandle, sets: Iterable[tuple[str, KeptSet]]) -> None:
        """Record that sets of other clients stay in the lake, given as pairs of file name and set. The shapes that the
        lake confirmed before stay the base of later comparisons."""
        self._connection.executemany(
            "INSERT INTO annotation_sets (file, operation, kind, digest, shape_count, kept)"
            " SELECT id, ?, ?, ?, ?, ? FROM files WHERE collection = ? AND name = ?"
            " ON CONFLICT (file, operation) DO UPDATE SET kind = excluded.kind, digest = excluded.digest,"
            " shape_count = excluded.shape_count, seen = NULL, kept = excluded.kept",
            [
                (
                    *(kept.wanted.operation, kept.wanted.kind.value, kept.wanted.digest, kept.wanted.shape_count),
                    *(kept.digest, collection, name_to_db(name)),
                )
                for name, kept in sets
            ],
        )

    def without_base(self, collection: CollectionHandle) -> Iterator[list[tuple[str, str, str]]]:
        """Yield the sets whose shapes are unknown, in pages of file name, operation and digest."""
        last = (-1, "")
        while True:
            rows = self._connection.execute(
                "SELECT s.file, s.operation, f.name, s.digest FROM annotation_sets s JOIN files f ON f.id = s.file"
                " WHERE s.base IS NULL AND s.shape_count > 0 AND s.kept IS NULL AND f.collection = ?"
                " AND (s.file, s.operation) > (?, ?)"
                " ORDER BY s.file, s.operation LIMIT ?",
                (collection, *last, PAGE),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][:2]
            yield [(name_from_db(name), operation, digest) for _, operation, name, digest in rows]

    def add_bases(
        self,
        collection: CollectionHandle,
        sets: Iterable[tuple[str, str, str]],
        shapes_of: Callable[[str, str, str], ImageRecord | None],
    ) -> None:
        """Add the shapes of recorded sets, given by file name, operation and digest. `shapes_of`: returns the shapes of
        a digest by operation, file name and digest, or None."""
        sets = list(sets)
        bases = self._bases.put(shapes_of(operation, name, digest) for name, operation, digest in sets)
        self._connection.executemany(
            "UPDATE annotation_sets SET base = ? WHERE operation = ?"
            " AND file = (SELECT id FROM files WHERE collection = ? AND name = ?)",
            [
                (base, operation, collection, name_to_db(name))
                for (name, operation, _), base in zip(sets, bases, strict=True)
                if base is not None
            ],
        )

    def record_seen(self, collection: CollectionHandle, seen: Iterable[ReadBackSet]) -> None:
        """Record what the lake returned for sets. A set that was sent again since then is left as it is."""
        self._connection.executemany(
            "UPDATE annotation_sets SET seen = ? WHERE operation = ? AND digest = ?"
            " AND file = (SELECT id FROM files WHERE collection = ? AND name = ?)",
            [(one.seen_digest, one.operation, one.sent_digest, collection, name_to_db(one.name)) for one in seen],
        )

    def forget(self, collection: CollectionHandle, sets: Iterable[tuple[str, str]]) -> None:
        """Delete the records of sets, given as pairs of file name and operation."""
        self._connection.executemany(
            "DELETE FROM annotation_sets WHERE operation = ?"
            " AND file = (SELECT id FROM files WHERE collection = ? AND name = ?)",
            [(operation, collection, name_to_db(name)) for name, operation in sets],
        )


class AttachedRuns:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def of(self, lake: str) -> set[tuple[str, str]]:
        """Return operation and project of every attached run of a lake."""
        rows = self._connection.execute("SELECT operation, project FROM attached_runs WHERE lake = ?", (lake,))
        return set(rows)

    def put(self, lake: str, operation: str, project: str) -> None:
        """Record that the studio confirmed an attachment."""
        self._connection.execute(
            "INSERT INTO attached_runs (lake, operation, project) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (lake, operation, project),
        )
