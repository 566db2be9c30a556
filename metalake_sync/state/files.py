"""The table of recorded files: what the lake last confirmed of each one.

Owns: `files`. Must not: commit (the caller groups writes, see `StateStore.write`) or decide anything.

Callers name a file by its collection and its name in that collection. Row ids stay inside `state`. Longer than 300
lines, because every query of one table is here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Set
from types import MappingProxyType
from typing import Any, NamedTuple

from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.snapshots import FileVersion, Fingerprint, Origin, RecordedFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.annotation_sets import AnnotationSets
from metalake_sync.state.metadata_sets import MetadataSets
from metalake_sync.state.names import (
    CollectionHandle,
    fingerprint_from_db,
    fingerprint_to_db,
    join_path,
    name_from_db,
    name_to_db,
    split_path,
    version_from_db,
)

NO_SETS: Mapping[str, str] = MappingProxyType({})


class AdoptedRow(NamedTuple):
    """An adopted file: the id of its row, its name in the collection, and its local path."""

    row_id: int
    name: str
    path: str


class FolderRow(NamedTuple):
    """The part of a record that the planner compares with a scanned file. A tuple, because a plan reads all of them."""

    version: FileVersion
    metadata_digest: str
    filename: str
    """The local file's own name, which differs from its name in the collection where `naming` adds folders."""
    lake_id: str
    set_digests: Mapping[str, str] = NO_SETS
    """The digests of its annotation sets by operation."""


@dataclass(frozen=True, slots=True)
class ConfirmedFile:
    """A file that the lake confirmed, ready to be recorded."""

    name: str
    path: str
    fingerprint: Fingerprint
    content_hash: str
    metadata: MetadataSet
    """The metadata that we wrote, not what other clients added."""
    lake_id: str
    unique_name: str
    origin: Origin


_FILE_COLUMNS = (
    "id, folder, filename, name, size_bytes, mtime_ns, inode, ctime_ns, content_hash, metadata_digest, lake_id,"
    " unique_name, origin"
)


class Files:
    def __init__(
        self, connection: sqlite3.Connection, metadata_sets: MetadataSets, annotation_sets: AnnotationSets
    ) -> None:
        self._connection = connection
        self._metadata_sets = metadata_sets
        self._annotation_sets = annotation_sets

    # Counts and folders.

    def count(self, collection: CollectionHandle) -> int:
        row = self._connection.execute("SELECT count(*) FROM files WHERE collection = ?", (collection,)).fetchone()
        return int(row[0])

    def origin_counts(self, collection: CollectionHandle) -> dict[str, int]:
        """Return how many files were uploaded and how many were adopted."""
        rows = self._connection.execute(
            "SELECT origin, count(*) FROM files WHERE collection = ? GROUP BY origin", (collection,)
        )
        return dict(rows.fetchall())

    def folders(self, collection: CollectionHandle) -> dict[str, int]:
        """Return every folder that has recorded files, with their number."""
        rows = self._connection.execute(
            "SELECT folder, count(*) FROM files WHERE collection = ? GROUP BY folder", (collection,)
        )
        return {name_from_db(folder): count for folder, count in rows}

    def folders_below(self, collection: CollectionHandle, folder: str) -> list[str]:
        """Return the folders with recorded files beneath one folder, without that folder. Uses the index only."""
        below = (folder + "/", folder + "0") if folder else ("\x01", "\U0010ffff")
        rows = self._connection.execute(
            "SELECT DISTINCT folder FROM files WHERE collection = ? AND folder >= ? AND folder < ?",
            (collection, *below),
        )
        return [name_from_db(name) for (name,) in rows]

    def has_path(self, collection: CollectionHandle, path: str) -> bool:
        """Return whether a file is recorded at this path."""
        row = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM files WHERE collection = ? AND folder = ? AND filename = ?)",
            (collection, *map(name_to_db, split_path(path))),
        ).fetchone()
        return bool(row[0])

    # One folder: a plan reads all of them, so these are narrow and fast.

    def folder_rows(
        self, collection: CollectionHandle, folder: str, *, with_sets: bool = False
    ) -> dict[str, FolderRow]:
        """Return the recorded files of one folder by their name in the collection.

        One local file may have several rows, because its name in the collection changes with the manifest's `naming`.
        """
        digests = self._annotation_sets.digests_of_folder(collection, folder) if with_sets else {}
        rows = self._connection.execute(
            "SELECT filename, id, size_bytes, mtime_ns, inode, ctime_ns, metadata_digest, name, lake_id"
            " FROM files WHERE collection = ? AND folder = ?",
            (collection, name_to_db(folder)),
        )
        return {
            name_from_db(name): FolderRow(
                version_from_db(size, mtime, inode, ctime),
                metadata_digest,
                name_from_db(filename),
                lake_id,
                digests.get(row_id, NO_SETS),
            )
            for filename, row_id, size, mtime, inode, ctime, metadata_digest, name, lake_id in rows
        }

    def plain_folder_rows(
        self, collection: CollectionHandle, folder: str, metadata_digest: str, name_prefix: str
    ) -> list[tuple[str, int, int, int, int, str]]:
        """Return the rows of one folder that carry this metadata and are named `name_prefix` and their file name.

        Each row is filename, size in bytes, mtime, inode, ctime and lake id, sorted by filename. The values are as
        SQLite stores them (see `names`): a name that is not UTF-8 and an inode over 63 bits differ from those on disk.
        """
        return self._connection.execute(
            "SELECT filename, size_bytes, mtime_ns, inode, ctime_ns, lake_id FROM files"
            " WHERE collection = ? AND folder = ? AND metadata_digest = ? AND name = ? || filename ORDER BY filename",
            (collection, name_to_db(folder), metadata_digest, name_prefix),
        ).fetchall()

    def contents(self, collection: CollectionHandle, folder: str) -> dict[str, tuple[FileVersion, str]]:
        """Return version and content hash of one folder's files by their name in the collection."""
        rows = self._connection.execute(
            "SELECT name, size_bytes, mtime_ns, inode, ctime_ns, content_hash FROM files"
            " WHERE collection = ? AND folder = ?",
            (collection, name_to_db(folder)),
        )
        return {
            name_from_db(name): (version_from_db(size, mtime, inode, ctime), content)
            for name, size, mtime, inode, ctime, content in rows
        }

    def of_sizes(self, collection: CollectionHandle, sizes: Set[int]) -> Iterator[tuple[str, str, int, str]]:
        """Yield name, path, size and content hash of the files that have one of the sizes."""
        rows = self._connection.execute(
            "SELECT name, folder, filename, size_bytes, content_hash FROM files WHERE collection = ?", (collection,)
        )
        for name, folder, filename, size, content in rows:
            if size in sizes:
                yield name_from_db(name), join_path(name_from_db(folder), name_from_db(filename)), size, content

    # Files by name.

    def names(self, collection: CollectionHandle) -> Iterator[str]:
        """Yield the name of every recorded file."""
        for (name,) in self._connection.execute("SELECT name FROM files WHERE collection = ?", (collection,)):
            yield name_from_db(name)

    def lake_ids(self, collection: CollectionHandle) -> Iterator[tuple[str, str]]:
        """Yield the name and the lake's id of every recorded file."""
        for name, lake_id in self._connection.execute(
            "SELECT name, lake_id FROM files WHERE collection = ?", (collection,)
        ):
            yield name_from_db(name), lake_id

    def paths(self, collection: CollectionHandle, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield name and path of those names that are recorded."""
        for name in names:
            row = self._connection.execute(
                "SELECT folder, filename FROM files WHERE collection = ? AND name = ?", (collection, name_to_db(name))
            ).fetchone()
            if row is not None:
                yield name, join_path(name_from_db(row[0]), name_from_db(row[1]))

    def named(self, collection: CollectionHandle, names: Iterable[str]) -> dict[str, RecordedFile]:
        """Return whole records by name, in the order of `names`. Names without a record are left out."""
        found: dict[str, RecordedFile] = {}
        for name in names:
            row = self._connection.execute(
                f"SELECT {_FILE_COLUMNS} FROM files WHERE collection = ? AND name = ?",  # noqa: S608
                (collection, name_to_db(name)),
            ).fetchone()
            if row is not None:
                found[name] = self._file(row)
        return found

    def all(self, collection: CollectionHandle) -> Iterator[RecordedFile]:
        """Yield whole records in the order in which they were recorded."""
        rows = self._connection.execute(
            f"SELECT {_FILE_COLUMNS} FROM files WHERE collection = ? ORDER BY id",  # noqa: S608
            (collection,),
        )
        for row in rows:
            yield self._file(row)

    def _file(self, row: tuple[Any, ...]) -> RecordedFile:
        row_id, folder, filename, name, size, mtime, inode, ctime, content, metadata, lake_id, unique, origin = row
        return RecordedFile(
            name=name_from_db(name),
            path=join_path(name_from_db(folder), name_from_db(filename)),
            fingerprint=fingerprint_from_db(size, mtime, inode, ctime),
            content_hash=content,
            metadata_digest=metadata,
            lake_id=lake_id,
            unique_name=unique,
            origin=Origin(origin),
            annotations=self._annotation_sets.of_row(row_id),
        )

    # Writing.

    def record(self, collection: CollectionHandle, files: Iterable[ConfirmedFile], run_id: str) -> None:
        """Record files that the lake confirmed. A record that replaces another loses the old annotation sets."""
        files = list(files)
        self._metadata_sets.remember(file.metadata for file in files)
        self.forget(collection, (file.name for file in files))
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

    def record_local(self, collection: CollectionHandle, name: str, path: str, fingerprint: Fingerprint) -> None:
        """Record that a file with unchanged bytes has another path or another fingerprint."""
        self._connection.execute(
            "UPDATE files SET folder = ?, filename = ?, size_bytes = ?, mtime_ns = ?, inode = ?, ctime_ns = ?"
            " WHERE collection = ? AND name = ?",
            (*map(name_to_db, split_path(path)), *fingerprint_to_db(fingerprint), collection, name_to_db(name)),
        )

    def record_metadata(self, collection: CollectionHandle, written: Iterable[tuple[str, MetadataSet]]) -> None:
        """Record metadata that the lake confirmed, given as pairs of file name and metadata."""
        written = list(written)
        self._metadata_sets.remember(metadata for _, metadata in written)
        self._connection.executemany(
            "UPDATE files SET metadata_digest = ? WHERE collection = ? AND name = ?",
            [(metadata.digest, collection, name_to_db(name)) for name, metadata in written],
        )

    def adopted(self, collection: CollectionHandle) -> Iterator[AdoptedRow]:
        """Yield the adopted files of a collection in the order in which they were recorded."""
        rows = self._connection.execute(
            "SELECT id, name, folder, filename FROM files WHERE collection = ? AND origin = ? ORDER BY id",
            (collection, Origin.ADOPTED.value),
        )
        for row_id, name, folder, filename in rows:
            yield AdoptedRow(row_id, name_from_db(name), join_path(name_from_db(folder), name_from_db(filename)))

    def claim(self, rows: Iterable[int]) -> None:
        """Record adopted files as uploaded by us, by their row ids."""
        self._connection.executemany(
            "UPDATE files SET origin = ? WHERE id = ?", [(Origin.UPLOADED.value, row) for row in rows]
        )

    def forget(self, collection: CollectionHandle, names: Iterable[str]) -> None:
        """Delete the records of these files, with their annotation sets."""
        self._connection.executemany(
            "DELETE FROM files WHERE collection = ? AND name = ?", [(collection, name_to_db(name)) for name in names]
        )
