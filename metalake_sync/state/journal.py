"""What a killed run leaves unfinished in the lake: open upload sessions, and replacements in progress.

It lets the next run finish both. Owns: `upload_sessions`, `upload_files`, `upload_parts` and `made_room`. A session is
journalled before its first file is begun, a file before it is finalized, and a part when the object store has confirmed
it. A replacement trashes the old file, uploads the new one, then writes its metadata. Tags that other clients put on
the old file can only be read before it is trashed, so they are stored here first.
Must not: hold signed URLs (a resumed session requests new ones), or decide what to do about a row.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.names import CollectionHandle, fingerprint_from_db, fingerprint_to_db, name_from_db, name_to_db


@dataclass(frozen=True, slots=True)
class JournalledFile:
    """A file of an open session. A field with None is not known yet."""

    name: str
    path: str
    fingerprint: Fingerprint
    file_id: str | None = None
    file_key: str | None = None
    part_size: int | None = None
    content_hash: str | None = None
    sent: bool = False
    """Whether the lake answered the finalize call."""
    finished_parts: Mapping[int, str] = field(default_factory=dict)
    """ETags by part number."""


@dataclass(frozen=True, slots=True)
class JournalledSession:
    """An open upload session."""

    upload_id: str
    collection: CollectionHandle
    job_id: str
    storage: str
    metadata_digest: str
    """The digest of the metadata that the session gives to all its files."""
    completed: bool
    """Whether the lake answered the call that ends the session."""
    files: tuple[JournalledFile, ...]


@dataclass(frozen=True, slots=True)
class AboutToFinalize:
    """A file whose parts are all in the object store."""

    name: str
    content_hash: str
    file_id: str
    file_key: str
    part_size: int
    etags: Mapping[int, str]
    """ETags by part number."""


_PART_FINISHED = (
    "INSERT INTO upload_parts (file_id, part_number, etag) VALUES (?, ?, ?)"
    " ON CONFLICT DO UPDATE SET etag = excluded.etag"
)


class UploadJournal:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def open_session(self, session: JournalledSession) -> None:
        self._connection.execute(
            "INSERT INTO upload_sessions (upload_id, collection, job_id, storage, metadata_digest)"
            " VALUES (?, ?, ?, ?, ?)",
            (session.upload_id, session.collection, session.job_id, session.storage, session.metadata_digest),
        )
        self._connection.executemany(
            "INSERT INTO upload_files (upload_id, name, path, size_bytes, mtime_ns, inode, ctime_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (session.upload_id, name_to_db(file.name), name_to_db(file.path), *fingerprint_to_db(file.fingerprint))
                for file in session.files
            ],
        )

    def file_begun(self, upload_id: str, name: str, file_id: str, file_key: str, part_size: int) -> None:
        self._connection.execute(
            "UPDATE upload_files SET file_id = ?, file_key = ?, part_size = ? WHERE upload_id = ? AND name = ?",
            (file_id, file_key, part_size, upload_id, name_to_db(name)),
        )

    def part_finished(self, file_id: str, part_number: int, etag: str) -> None:
        self._connection.execute(_PART_FINISHED, (file_id, part_number, etag))

    def about_to_finalize(self, upload_id: str, files: Sequence[AboutToFinalize]) -> None:
        """Journal files that are finalized next. A run that resumes here only has to repeat the finalize call."""
        self._connection.executemany(
            "UPDATE upload_files SET file_id = ?, file_key = ?, part_size = ?, content_hash = ?"
            " WHERE upload_id = ? AND name = ?",
            [
                (file.file_id, file.file_key, file.part_size, file.content_hash, upload_id, name_to_db(file.name))
                for file in files
            ],
        )
        self._connection.executemany(
            _PART_FINISHED,
            [(file.file_id, number, etag) for file in files for number, etag in file.etags.items()],
        )

    def files_sent(self, upload_id: str, names: Iterable[str]) -> None:
        self._connection.executemany(
            "UPDATE upload_files SET sent = 1 WHERE upload_id = ? AND name = ?",
            [(upload_id, name_to_db(name)) for name in names],
        )

    def session_completed(self, upload_id: str) -> None:
        self._connection.execute("UPDATE upload_sessions SET completed = 1 WHERE upload_id = ?", (upload_id,))

    def close_session(self, upload_id: str) -> None:
        """Delete a session whose files are recorded."""
        self._connection.execute(
            "DELETE FROM upload_parts WHERE file_id IN (SELECT file_id FROM upload_files WHERE upload_id = ?)",
            (upload_id,),
        )
        self._connection.execute("DELETE FROM upload_sessions WHERE upload_id = ?", (upload_id,))

    def sessions(self, collections: Iterable[CollectionHandle]) -> list[JournalledSession]:
        """Return the sessions that earlier runs left open in these collections."""
        found: list[JournalledSession] = []
        for collection in collections:
            rows = self._connection.execute(
                "SELECT upload_id, job_id, storage, metadata_digest, completed FROM upload_sessions"
                " WHERE collection = ?",
                (collection,),
            ).fetchall()
            for upload_id, job_id, storage, metadata_digest, completed in rows:
                files = tuple(self._files(upload_id))
                found.append(
                    JournalledSession(upload_id, collection, job_id, storage, metadata_digest, bool(completed), files)
                )
        return found

    def _files(self, upload_id: str) -> list[JournalledFile]:
        rows = self._connection.execute(
            "SELECT name, path, size_bytes, mtime_ns, inode, ctime_ns, file_id, file_key, part_size, content_hash, sent"
            " FROM upload_files WHERE upload_id = ?",
            (upload_id,),
        ).fetchall()
        return [
            JournalledFile(
                name=name_from_db(name),
                path=name_from_db(path),
                fingerprint=fingerprint_from_db(size, mtime, inode, ctime),
                file_id=file_id,
                file_key=file_key,
                part_size=part_size,
                content_hash=content_hash,
                sent=bool(sent),
                finished_parts=self._parts(file_id),
            )
            for name, path, size, mtime, inode, ctime, file_id, file_key, part_size, content_hash, sent in rows
        ]

    def _parts(self, file_id: str | None) -> dict[int, str]:
        rows = self._connection.execute("SELECT part_number, etag FROM upload_parts WHERE file_id = ?", (file_id,))
        return dict(rows.fetchall())


@dataclass(frozen=True, slots=True)
class Owed:
    """A new file in the lake that does not have the tags of the old file yet."""

    name: str
    unique_name: str
    written: str
    """The digest of its recorded metadata."""
    tags: tuple[str, ...]
    """The tags that other clients had put on the old file."""


@dataclass(frozen=True, slots=True)
class LostInTrash:
    """A file that was trashed to be replaced, and whose new bytes are not in the lake."""

    name: str
    lake_id: str
    """The id of the old file. No call of the protocol restores it from the trash."""


class PendingReplacements:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, collection: CollectionHandle, files: Iterable[tuple[str, str, Sequence[str]]]) -> None:
        """Store files that are about to be trashed, given as name, lake id and tags of others. Replaces older rows."""
        self._connection.executemany(
            "INSERT INTO made_room (collection, name, lake_id, tags) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (collection, name) DO UPDATE SET lake_id = excluded.lake_id, tags = excluded.tags",
            [(collection, name_to_db(name), lake_id, json.dumps(list(tags))) for name, lake_id, tags in files],
        )

    def tags(self, collection: CollectionHandle) -> Mapping[str, Sequence[str]]:
        """Return the tags of others by file name. Files without such tags are left out."""
        rows = self._connection.execute(
            "SELECT name, tags FROM made_room WHERE collection = ? AND tags <> '[]'", (collection,)
        )
        return {name_from_db(name): json.loads(tags) for name, tags in rows}

    def owed(self, collection: CollectionHandle | None = None) -> list[Owed]:
        """Return files of one collection, or of all, that are recorded and lack the tags of others."""
        rows = self._connection.execute(
            "SELECT files.name, files.unique_name, files.metadata_digest, made_room.tags FROM made_room"
            " JOIN files ON files.collection = made_room.collection AND files.name = made_room.name"
            " WHERE files.lake_id <> made_room.lake_id AND made_room.tags <> '[]'"
            " AND made_room.collection = coalesce(?, made_room.collection)",
            (collection,),
        )
        return [
            Owed(name_from_db(name), unique_name, written, tuple(json.loads(tags)))
            for name, unique_name, written, tags in rows
        ]

    def lost(self, collection: CollectionHandle) -> list[LostInTrash]:
        """Return the files that a run was about to trash for a replacement, and whose new bytes are not recorded.

        If the lake does not list such a file, its old bytes are in the trash.
        """
        rows = self._connection.execute(
            "SELECT made_room.name, made_room.lake_id FROM made_room"
            " LEFT JOIN files ON files.collection = made_room.collection AND files.name = made_room.name"
            " WHERE (files.lake_id IS NULL OR files.lake_id = made_room.lake_id) AND made_room.collection = ?",
            (collection,),
        )
        return [LostInTrash(name_from_db(name), lake_id) for name, lake_id in rows]

    def without_record(self, collection: CollectionHandle) -> list[str]:
        """Return the names of files that have a row here and no record."""
        rows = self._connection.execute(
            "SELECT name FROM made_room WHERE collection = ? EXCEPT SELECT name FROM files WHERE collection = ?",
            (collection, collection),
        )
        return [name_from_db(name) for (name,) in rows]

    def forget(self, collection: CollectionHandle, names: Iterable[str]) -> None:
        """Delete the rows of files whose replacement is complete or was never begun."""
        # Most files have no row, so one query saves a statement for each file.
        noted = {
            name
            for (name,) in self._connection.execute("SELECT name FROM made_room WHERE collection = ?", (collection,))
        }
        self._connection.executemany(
            "DELETE FROM made_room WHERE collection = ? AND name = ?",
            [(collection, name) for name in map(name_to_db, names) if name in noted],
        )
