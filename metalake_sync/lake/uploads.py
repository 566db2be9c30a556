"""Upload sessions: opened, files begun in them, their parts kept, each file finalized.

Owns: sessions, uploads and parts. What becomes of them when a session is completed stands in `jobs`. A name that the
collection has already is existing; a file that was begun keeps its id and its parts for as long as its session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metalake_sync.lake.blobs import ReceivedPart
from metalake_sync.lake.collections import find_or_create_collection
from metalake_sync.lake.names import check_file_name, check_metadata
from metalake_sync.lake.refusals import bad_request, not_acceptable, not_found
from metalake_sync.lake.store import LakeStore, new_id, now, to_json
from metalake_sync.protocol.uploads import (
    BeginFile,
    BeginFileAnswer,
    FinalizeFile,
    FinishedPart,
    OpenUpload,
    OpenUploadAnswer,
    SignParts,
)
from metalake_sync.protocol.wire import JobStatus, StorageKind

Part = tuple[str, int, str]
"""File id, number, ETag."""


@dataclass(frozen=True, slots=True)
class _Upload:
    upload_id: str
    file_key: str
    finalized: bool


class Uploads:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def open(self, request: OpenUpload) -> OpenUploadAnswer:
        for name in request.object_key_list:
            check_file_name(name)
        check_metadata(request.meta_data_object)
        prefix = (request.storage_prefix_path or "").strip("/")
        upload_id, job_id = new_id(), new_id()
        with self._store.write() as db:
            collection = find_or_create_collection(db, request.collection_type, request.collection_name, prefix)
            db.execute(
                "INSERT INTO sessions (upload_id, collection, job_id, prefix, metadata, override, names, opened)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    upload_id,
                    collection,
                    job_id,
                    prefix,
                    to_json(request.meta_data_object),
                    request.is_override_meta_data,
                    to_json(request.object_key_list),
                    now(),
                ),
            )
            db.execute(
                "INSERT INTO jobs (id, upload_id, status) VALUES (?, ?, ?)", (job_id, upload_id, JobStatus.QUEUED)
            )
        return OpenUploadAnswer(
            storage_type=StorageKind.S3, upload_id=upload_id, collection_id=collection, job_id=job_id
        )

    def begin(self, request: BeginFile) -> BeginFileAnswer:
        """Begin a file, or say that it is there already. Begun again, it keeps its id."""
        check_file_name(request.file_name)
        session = self._db.execute(
            "SELECT c.id, c.name, c.storage_path, s.prefix, c.prefix FROM sessions s"
            " JOIN collections c ON c.id = s.collection WHERE s.upload_id = ? AND c.trashed = 0",
            (request.upload_id,),
        ).fetchone()
        if session is None:
            raise not_found("No such upload session")
        collection, collection_name, path, prefix, collection_prefix = session
        if request.collection_name != collection_name:
            raise not_acceptable("The upload session is of another collection")
        existing = self._db.execute(
            "SELECT id, storage_path FROM items WHERE collection = ? AND name = ? AND trashed <= ?",
            (collection, request.file_name, self._store.keeps_trashed_names),
        ).fetchone()
        if existing:
            return BeginFileAnswer(file_id=existing[0], file_key=existing[1], is_existing=True)
        begun = self._db.execute(
            "SELECT file_id, file_key, shown FROM uploads WHERE upload_id = ? AND name = ?",
            (request.upload_id, request.file_name),
        ).fetchone()
        if begun and not begun[2]:
            return BeginFileAnswer(file_id=begun[0], file_key=begun[1])
        file_id = new_id()
        file_key = "/".join(filter(None, (prefix or collection_prefix, path, request.file_name)))
        with self._store.write() as db:
            # A file of this session that was shown and has gone to the trash since begins anew.
            db.execute(
                "INSERT OR REPLACE INTO uploads (file_id, upload_id, name, file_key) VALUES (?, ?, ?, ?)",
                (file_id, request.upload_id, request.file_name, file_key),
            )
        return BeginFileAnswer(file_id=file_id, file_key=file_key)

    def check_begun(self, request: SignParts) -> None:
        """Refuse what was not begun. A finalized file may be signed again: the published client does so."""
        if self._upload(request.file_id).file_key != request.file_key:
            raise not_acceptable("The file has another key")

    def takes_parts(self, file_id: str) -> bool:
        return not self._upload(file_id).finalized

    def part_received(self, file_id: str, number: int, part: ReceivedPart) -> None:
        """Keep a part; a part that is sent again replaces the first."""
        kept = self._db.execute("SELECT etag FROM parts WHERE file_id = ? AND number = ?", (file_id, number)).fetchone()
        self._store.blobs.keep(part, file_id, number)
        with self._store.write() as db:
            db.execute(
                "INSERT OR REPLACE INTO parts (file_id, number, etag, size_bytes) VALUES (?, ?, ?, ?)",
                (file_id, number, part.etag, part.size_bytes),
            )
        if kept and kept[0] != part.etag:
            self._store.blobs.drop_parts([(file_id, number, kept[0])])

    def check_parts(self, request: FinalizeFile) -> list[Part] | None:
        """The parts to assemble, in order, or None where the file is finalized already."""
        upload = self._upload(request.file_id)
        if upload.file_key != request.file_key or upload.upload_id != request.upload_id:
            raise not_acceptable("The file has another key, or belongs to another upload session")
        if upload.finalized:
            return None
        kept = dict(self._db.execute("SELECT number, etag FROM parts WHERE file_id = ?", (request.file_id,)).fetchall())
        _check(request.parts, kept)
        return [(request.file_id, part.part_number, kept[part.part_number]) for part in request.parts]

    def finalized(self, file_id: str, size_bytes: int) -> None:
        """Mark a file as whole; its parts go."""
        parts = self._db.execute("SELECT file_id, number, etag FROM parts WHERE file_id = ?", (file_id,)).fetchall()
        with self._store.write() as db:
            db.execute("UPDATE uploads SET size_bytes = ? WHERE file_id = ?", (size_bytes, file_id))
            db.execute("DELETE FROM parts WHERE file_id = ?", (file_id,))
        self._store.blobs.drop_parts(parts)

    def _upload(self, file_id: str) -> _Upload:
        row = self._db.execute(
            "SELECT upload_id, file_key, size_bytes IS NOT NULL FROM uploads WHERE file_id = ?", (file_id,)
        ).fetchone()
        if row is None:
            raise not_found("No such upload")
        return _Upload(row[0], row[1], bool(row[2]))


def _check(parts: Sequence[FinishedPart], kept: dict[int, str]) -> None:
    if not parts or [part.part_number for part in parts] != list(range(1, len(parts) + 1)):
        raise bad_request("Parts must be named in order, from 1 and without gaps")
    for part in parts:
        if kept.get(part.part_number) != part.etag.strip('"').lower():
            raise bad_request(f"Part {part.part_number} was not received, or its ETag differs")
