"""The upload journal: sessions that are open in the lake, so that a killed run can be finished by the next one.

Owns: these tables. A session is written down before its first file is begun, a file before it is finalized, a part as
soon as the store has confirmed it. Must not: hold anything signed; an address is asked for again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.handles import CollectionHandle
from metalake_sync.state.names import fingerprint_from_db, fingerprint_to_db, name_from_db, name_to_db


@dataclass(frozen=True, slots=True)
class JournalledFile:
    """A file of an open session. `sent`: its finalize was answered. `finished_parts`: part number → ETag."""

    name: str
    path: str
    fingerprint: Fingerprint
    file_id: str | None = None
    file_key: str | None = None
    part_size: int | None = None
    content_hash: str | None = None
    sent: bool = False
    finished_parts: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JournalledSession:
    """An upload session. `metadata_digest`: what its files carry from the start. `completed`: the lake was told."""

    upload_id: str
    collection: CollectionHandle
    job_id: str
    storage: str
    metadata_digest: str
    completed: bool
    files: tuple[JournalledFile, ...]


@dataclass(frozen=True, slots=True)
class AboutToFinalize:
    """A file of which the store has every part. `etags`: part number → ETag."""

    name: str
    content_hash: str
    file_id: str
    file_key: str
    part_size: int
    etags: Mapping[int, str]


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
        """Files that will be finalized next: whoever goes on from here only has to finalize them (again)."""
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
        """The session's files are recorded: forget it."""
        self._connection.execute(
            "DELETE FROM upload_parts WHERE file_id IN (SELECT file_id FROM upload_files WHERE upload_id = ?)",
            (upload_id,),
        )
        self._connection.execute("DELETE FROM upload_sessions WHERE upload_id = ?", (upload_id,))

    def sessions(self, collections: Iterable[CollectionHandle]) -> list[JournalledSession]:
        """The sessions that earlier runs left open in these collections."""
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
