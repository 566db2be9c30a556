"""What the lake confirmed: collections, files, metadata and annotation sets.

Owns: these tables. Must not: commit (the caller groups writes, see `StateStore.write`) or decide anything.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from metalake_sync.core.metadata import MetadataSet, MetadataValues
from metalake_sync.core.snapshots import (
    AnnotationKind,
    CollectionKey,
    DesiredSet,
    Fingerprint,
    MediaType,
    Origin,
    RecordedCollection,
    RecordedFile,
    RecordedSet,
)
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.names import (
    FingerprintRow,
    fingerprint_from_db,
    fingerprint_row,
    fingerprint_to_db,
    join_path,
    name_from_db,
    name_to_db,
    split_path,
)

NO_SETS: Mapping[str, str] = MappingProxyType({})


class FolderRow(NamedTuple):
    """What a scan compares a file with: a narrow slice of a record. The fingerprint is a plain tuple. `filename`: the
    local file's own name. `set_digests`: of its annotation sets, by operation."""

    id: int
    fingerprint: tuple[int, int, int, int]
    metadata_digest: str
    filename: str
    lake_id: str
    set_digests: Mapping[str, str] = NO_SETS


@dataclass(frozen=True, slots=True)
class ConfirmedFile:
    """A file that the lake confirmed, to be recorded. `metadata`: what it carries by our hand."""

    name: str
    path: str
    fingerprint: Fingerprint
    content_hash: str
    metadata: MetadataSet
    lake_id: str
    unique_name: str
    origin: Origin


_FILE_COLUMNS = (
    "id, folder, filename, name, size_bytes, mtime_ns, inode, ctime_ns, content_hash, metadata_digest, lake_id,"
    " unique_name, origin"
)


class Records:
    """Typed access to what was confirmed. Collections are addressed by their row id here."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # Collections.

    def collections(self, lake: str) -> dict[CollectionKey, tuple[int, RecordedCollection]]:
        """Every recorded collection of a lake, with its row id."""
        found: dict[CollectionKey, tuple[int, RecordedCollection]] = {}
        rows = self._connection.execute(
            "SELECT id, type, name, lake_id, storage_path, head_digest, listed_count, listed_newest, looked_until"
            " FROM collections WHERE lake = ?",
            (lake,),
        )
        for row_id, media_type, name, *rest in rows:
            key = CollectionKey(MediaType(media_type), name)
            found[key] = (row_id, RecordedCollection(key, *rest))
        return found

    def lakes(self) -> list[str]:
        """Every lake of which something is recorded."""
        return [lake for (lake,) in self._connection.execute("SELECT DISTINCT lake FROM collections ORDER BY lake")]

    def record_collection(self, lake: str, key: CollectionKey, lake_id: str, storage_path: str) -> int:
        """Record a collection, or its new id in the lake, and return its row id."""
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
        return int(row[0])

    def record_head(self, collection: int, head: MetadataSet) -> None:
        self.remember_metadata([head])
        self._connection.execute("UPDATE collections SET head_digest = ? WHERE id = ?", (head.digest, collection))

    def record_listed(self, collection: int, count: int, newest: str | None) -> None:
        """A listing agreed with the records."""
        self._connection.execute(
            "UPDATE collections SET listed_count = ?, listed_newest = ? WHERE id = ?", (count, newest, collection)
        )

    def record_looked(self, collection: int, until: str) -> None:
        """A full refresh found no drift up to this moment, as the lake writes it."""
        self._connection.execute("UPDATE collections SET looked_until = ? WHERE id = ?", (until, collection))

    def forget_collection(self, collection: int) -> None:
        """Drop a collection with all that is recorded in it."""
        self._connection.execute("DELETE FROM collections WHERE id = ?", (collection,))

    # Files: many rows, so raw SQL.

    def file_count(self, collection: int) -> int:
        row = self._connection.execute("SELECT count(*) FROM files WHERE collection = ?", (collection,)).fetchone()
        return int(row[0])

    def origin_counts(self, collection: int) -> dict[str, int]:
        """How many files were uploaded, how many adopted."""
        rows = self._connection.execute(
            "SELECT origin, count(*) FROM files WHERE collection = ? GROUP BY origin", (collection,)
        )
        return dict(rows.fetchall())

    def folders(self, collection: int) -> dict[str, int]:
        """Every folder that has recorded files, with their number."""
        rows = self._connection.execute(
            "SELECT folder, count(*) FROM files WHERE collection = ? GROUP BY folder", (collection,)
        )
        return {name_from_db(folder): count for folder, count in rows}

    def folders_below(self, collection: int, folder: str) -> list[str]:
        """The folders beneath one, not itself, that have recorded files: found by the index, whatever else there is."""
        below = (folder + "/", folder + "0") if folder else ("\x01", "\U0010ffff")
        rows = self._connection.execute(
            "SELECT DISTINCT folder FROM files WHERE collection = ? AND folder >= ? AND folder < ?",
            (collection, *below),
        )
        return [name_from_db(name) for (name,) in rows]

    def has_path(self, collection: int, path: str) -> int:
        """1 if a file is recorded at that path, else 0."""
        row = self._connection.execute(
            "SELECT count(*) FROM files WHERE collection = ? AND folder = ? AND filename = ?",
            (collection, *map(name_to_db, split_path(path))),
        ).fetchone()
        return int(row[0])

    def folder_rows(self, collection: int, folder: str, *, with_sets: bool = False) -> dict[str, FolderRow]:
        """The recorded files of one folder by their name in the collection, narrow and fast: a plan reads all of them.

        One local file may have several rows: its name in the collection changes with the manifest's `naming`.
        """
        place = (collection, name_to_db(folder))
        digests: dict[int, dict[str, str]] = {}
        if with_sets:
            for file, operation, digest in self._connection.execute(
                "SELECT s.file, s.operation, s.digest FROM files f JOIN annotation_sets s ON s.file = f.id"
                " WHERE f.collection = ? AND f.folder = ?",
                place,
            ):
                digests.setdefault(file, {})[operation] = digest
        rows = self._connection.execute(
            "SELECT filename, id, size_bytes, mtime_ns, inode, ctime_ns, metadata_digest, name, lake_id"
            " FROM files WHERE collection = ? AND folder = ?",
            place,
        )
        return {
            name_from_db(name): FolderRow(
                row_id,
                fingerprint_row(size, mtime, inode, ctime),
                metadata_digest,
                name_from_db(filename),
                lake_id,
                digests.get(row_id, NO_SETS),
            )
            for filename, row_id, size, mtime, inode, ctime, metadata_digest, name, lake_id in rows
        }

    def plain_folder_rows(
        self, collection: int, folder: str, metadata_digest: str, name_prefix: str
    ) -> list[tuple[str, int, int, int, int, str]]:
        """The rows of one folder that carry this metadata and whose name in the collection is `name_prefix` and the
        file's own: filename, size in bytes, mtime, inode, ctime, lake id; sorted by filename.

        As SQLite has them (`names`): a name that is no UTF-8 and an inode past 63 bits look otherwise on disk.
        """
        return self._connection.execute(
            "SELECT filename, size_bytes, mtime_ns, inode, ctime_ns, lake_id FROM files"
            " WHERE collection = ? AND folder = ? AND metadata_digest = ? AND name = ? || filename ORDER BY filename",
            (collection, name_to_db(folder), metadata_digest, name_prefix),
        ).fetchall()

    def contents(self, collection: int, folder: str) -> dict[str, tuple[FingerprintRow, str]]:
        """Fingerprint and content hash of one folder's recorded files, by their name in the collection."""
        rows = self._connection.execute(
            "SELECT name, size_bytes, mtime_ns, inode, ctime_ns, content_hash FROM files"
            " WHERE collection = ? AND folder = ?",
            (collection, name_to_db(folder)),
        )
        return {
            name_from_db(name): (fingerprint_row(size, mtime, inode, ctime), content)
            for name, size, mtime, inode, ctime, content in rows
        }

    def places(self, collection: int, names: Iterable[str]) -> Iterator[tuple[str, int, str]]:
        """Name, row id and path of those names that are recorded."""
        for name in names:
            row = self._connection.execute(
                "SELECT id, folder, filename FROM files WHERE collection = ? AND name = ?",
                (collection, name_to_db(name)),
            ).fetchone()
            if row is not None:
                yield name, row[0], join_path(name_from_db(row[1]), name_from_db(row[2]))

    def set_counts(self, collection: int) -> dict[str, int]:
        """Operation → number of annotation sets."""
        rows = self._connection.execute(
            "SELECT s.operation, count(*) FROM annotation_sets s JOIN files f ON f.id = s.file"
            " WHERE f.collection = ? AND s.shape_count > 0 GROUP BY s.operation",
            (collection,),
        )
        return dict(rows.fetchall())

    def has_sets(self, collection: int) -> bool:
        """Whether any file of the collection has a recorded annotation set."""
        row = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM annotation_sets s JOIN files f ON f.id = s.file WHERE f.collection = ?)",
            (collection,),
        ).fetchone()
        return bool(row[0])

    def files(self, row_ids: Iterable[int]) -> Iterator[tuple[int, RecordedFile]]:
        """Whole records by their row ids."""
        for row_id in row_ids:
            row = self._connection.execute(f"SELECT {_FILE_COLUMNS} FROM files WHERE id = ?", (row_id,)).fetchone()  # noqa: S608
            if row is not None:
                yield row_id, self._file(row)

    def files_named(self, collection: int, names: Iterable[str]) -> dict[str, RecordedFile]:
        """Whole records by file name; names without one are left out."""
        found: dict[str, RecordedFile] = {}
        for name in names:
            row = self._connection.execute(
                f"SELECT {_FILE_COLUMNS} FROM files WHERE collection = ? AND name = ?",  # noqa: S608
                (collection, name_to_db(name)),
            ).fetchone()
            if row is not None:
                found[name] = self._file(row)
        return found

    def names(self, collection: int) -> Iterator[str]:
        """The name of every recorded file."""
        for (name,) in self._connection.execute("SELECT name FROM files WHERE collection = ?", (collection,)):
            yield name_from_db(name)

    def all_files(self, collection: int) -> Iterator[RecordedFile]:
        rows = self._connection.execute(
            f"SELECT {_FILE_COLUMNS} FROM files WHERE collection = ? ORDER BY id",  # noqa: S608
            (collection,),
        )
        for row in rows:
            yield self._file(row)

    def _file(self, row: tuple[Any, ...]) -> RecordedFile:
        row_id, folder, filename, name, size, mtime, inode, ctime, content, metadata, lake_id, unique, origin = row
        sets = self._connection.execute(
            "SELECT operation, kind, digest, shape_count, seen FROM annotation_sets WHERE file = ?", (row_id,)
        )
        return RecordedFile(
            name=name_from_db(name),
            path=join_path(name_from_db(folder), name_from_db(filename)),
            fingerprint=fingerprint_from_db(size, mtime, inode, ctime),
            content_hash=content,
            metadata_digest=metadata,
            lake_id=lake_id,
            unique_name=unique,
            origin=Origin(origin),
            annotations={
                operation: RecordedSet(operation, AnnotationKind(kind), digest, count, seen)
                for operation, kind, digest, count, seen in sets
            },
        )

    def record_files(self, collection: int, files: Iterable[ConfirmedFile], run_id: str) -> None:
        """Record files that the lake confirmed. A file that replaces another loses the old one's annotation sets."""
        files = list(files)
        self.remember_metadata(file.metadata for file in files)
        self._connection.executemany(
            "DELETE FROM files WHERE collection = ? AND name = ?",
            [(collection, name_to_db(file.name)) for file in files],
        )
        self._connection.executemany(
            "INSERT INTO files (collection, folder, filename, name, size_bytes, mtime_ns, inode, ctime_ns,"
            " content_hash, metadata_digest, lake_id, unique_name, origin, run_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    collection,
                    *map(name_to_db, split_path(file.path)),
                    name_to_db(file.name),
                    *fingerprint_to_db(file.fingerprint),
                    file.content_hash,
                    file.metadata.digest,
                    file.lake_id,
                    file.unique_name,
                    file.origin.value,
                    run_id,
                )
                for file in files
            ],
        )

    def record_local(self, collection: int, name: str, path: str, fingerprint: Fingerprint) -> None:
        """Only the local side moved: another path, or a touched file with the same bytes."""
        self._connection.execute(
            "UPDATE files SET folder = ?, filename = ?, size_bytes = ?, mtime_ns = ?, inode = ?, ctime_ns = ?"
            " WHERE collection = ? AND name = ?",
            (*map(name_to_db, split_path(path)), *fingerprint_to_db(fingerprint), collection, name_to_db(name)),
        )

    def record_metadata(self, collection: int, written: Iterable[tuple[str, MetadataSet]]) -> None:
        """Record the metadata that the lake confirmed, by file name."""
        written = list(written)
        self.remember_metadata(metadata for _, metadata in written)
        self._connection.executemany(
            "UPDATE files SET metadata_digest = ? WHERE collection = ? AND name = ?",
            [(metadata.digest, collection, name_to_db(name)) for name, metadata in written],
        )

    def record_sets(self, collection: int, sets: Iterable[tuple[str, DesiredSet]]) -> None:
        """Record the annotation sets that the lake confirmed, by file name."""
        self._connection.executemany(
            "INSERT INTO annotation_sets (file, operation, kind, digest, shape_count)"
            " SELECT id, ?, ?, ?, ? FROM files WHERE collection = ? AND name = ?"
            " ON CONFLICT (file, operation) DO UPDATE SET kind = excluded.kind, digest = excluded.digest,"
            " shape_count = excluded.shape_count, seen = NULL",
            [
                (wanted.operation, wanted.kind.value, wanted.digest, wanted.shape_count, collection, name_to_db(name))
                for name, wanted in sets
            ],
        )

    def record_seen(self, collection: int, seen: Iterable[tuple[str, str, str, str]]) -> None:
        """Keep what the lake gave back for sets, given as file name, operation, the digest that was sent and the digest
        of what came back. A set that was sent anew meanwhile keeps nothing."""
        self._connection.executemany(
            "UPDATE annotation_sets SET seen = ? WHERE operation = ? AND digest = ?"
            " AND file = (SELECT id FROM files WHERE collection = ? AND name = ?)",
            [(back, operation, sent, collection, name_to_db(name)) for name, operation, sent, back in seen],
        )

    def sets_of(self, collection: int, operation: str) -> dict[str, RecordedSet]:
        """File name → set of one operation, for every file that has one."""
        rows = self._connection.execute(
            "SELECT f.name, s.kind, s.digest, s.shape_count, s.seen FROM annotation_sets s"
            " JOIN files f ON f.id = s.file WHERE f.collection = ? AND s.operation = ?",
            (collection, operation),
        )
        return {
            name_from_db(name): RecordedSet(operation, AnnotationKind(kind), digest, count, seen)
            for name, kind, digest, count, seen in rows
        }

    def operations(self, collection: int) -> list[str]:
        """Every operation of which sets are recorded."""
        rows = self._connection.execute(
            "SELECT DISTINCT s.operation FROM annotation_sets s JOIN files f ON f.id = s.file WHERE f.collection = ?",
            (collection,),
        )
        return sorted(operation for (operation,) in rows)

    def forget_sets(self, collection: int, sets: Iterable[tuple[str, str]]) -> None:
        """Drop annotation sets, given as pairs of file name and operation."""
        self._connection.executemany(
            "DELETE FROM annotation_sets WHERE operation = ?"
            " AND file = (SELECT id FROM files WHERE collection = ? AND name = ?)",
            [(operation, collection, name_to_db(name)) for name, operation in sets],
        )

    def forget_files(self, collection: int, names: Iterable[str]) -> None:
        self._connection.executemany(
            "DELETE FROM files WHERE collection = ? AND name = ?", [(collection, name_to_db(name)) for name in names]
        )

    # Metadata by digest: many files share one set.

    def written_metadata(self, digest: str) -> MetadataValues | None:
        """The values behind a recorded digest, or None if the records never saw them."""
        row = self._connection.execute("SELECT body FROM metadata_sets WHERE digest = ?", (digest,)).fetchone()
        values: Mapping[str, Any] | None = json.loads(row[0]) if row else None
        return values

    def remember_metadata(self, sets: Iterable[MetadataSet]) -> None:
        """Keep the values behind digests that are about to be recorded."""
        by_digest = {metadata.digest: metadata.values for metadata in sets}
        self._connection.executemany(
            "INSERT INTO metadata_sets (digest, body) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(digest, json.dumps(values, ensure_ascii=False)) for digest, values in by_digest.items()],
        )
