"""Upload sessions: opens sessions, begins files, keeps their parts, and finalizes files.

Owns: sessions, uploads and parts; `jobs` owns what happens after a session is completed. A name that the collection
already has is reported as existing. A begun file keeps its id and parts as long as its session.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from metalake_sync.embedded_lake.collections import find_or_create_collection
from metalake_sync.embedded_lake.names import check_file_name, check_metadata
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import bad_request, conflict, not_acceptable, not_found
from metalake_sync.embedded_lake.storage.interface import PendingObject
from metalake_sync.embedded_lake.store import LakeStore, now, to_json
from metalake_sync.protocol.routes import Generation
from metalake_sync.protocol.uploads import (
    BeginFile,
    BeginFileAnswer,
    FinalizeFile,
    OpenUpload,
    OpenUploadAnswer,
    SignParts,
)
from metalake_sync.protocol.wire import JobStatus


@dataclass(frozen=True, slots=True)
class _Upload:
    upload_id: str
    file_key: str
    finalized: bool
    ticket: str = field(repr=False)


class Uploads:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def open(self, request: OpenUpload, generation: Generation) -> OpenUploadAnswer:
        for name in request.object_key_list:
            check_file_name(name)
        check_metadata(request.meta_data_object)
        prefix = (request.storage_prefix_path or "").strip("/")
        upload_id, job_id = self._store.new_id(), self._store.new_id()
        with self._store.write() as db:
            collection = find_or_create_collection(
                self._store, request.collection_type, request.collection_name, prefix
            )
            metadata = self._store.spellings.take(request.meta_data_object)
            db.execute(
                "INSERT INTO sessions (upload_id, collection, job_id, prefix, metadata, override, names, opened)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    upload_id,
                    collection,
                    job_id,
                    prefix,
                    to_json(metadata),
                    request.is_override_meta_data,
                    to_json(request.object_key_list),
                    now(),
                ),
            )
            db.execute(
                "INSERT INTO jobs (id, upload_id, status) VALUES (?, ?, ?)", (job_id, upload_id, JobStatus.QUEUED)
            )
        local_disk = Quirk.LOCAL_DISK in self._store.quirks
        return OpenUploadAnswer(
            storage_type="lds" if local_disk else self._store.storage.kind.spelled(generation),
            upload_id=upload_id,
            collection_id=collection,
            job_id=job_id,
        )

    async def begin(self, request: BeginFile) -> BeginFileAnswer:
        """Begin a file, or report that it exists. A file that is begun again keeps its id."""
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
            raise not_acceptable("The upload session belongs to another collection")
        answer = self._begun(request, collection)
        if answer is not None:
            return answer
        key = self._store.storage.key_for(
            "/".join(filter(None, (prefix or collection_prefix, path, request.file_name)))
        )
        taken = await self._store.storage.is_taken(key)
        # Another request may have begun the file while this one waited for the store.
        answer = self._begun(request, collection)
        if answer is not None:
            return answer
        file_id = self._store.new_id()
        if self._store.storage.keys_are_names and (taken or self._has_key(key)):
            stem, extension = os.path.splitext(key)
            key = f"{stem}.{file_id}{extension}"
        with self._store.write() as db:
            # Replaces a file of this session that became an item and was trashed since.
            db.execute(
                "INSERT OR REPLACE INTO uploads (file_id, upload_id, name, file_key) VALUES (?, ?, ?, ?)",
                (file_id, request.upload_id, request.file_name, key),
            )
        return BeginFileAnswer(file_id=file_id, file_key=key)

    def pending(self, request: SignParts) -> PendingObject:
        """Return a begun file. A finalized file may be signed again, as the published client does."""
        upload = self._upload(request.file_id)
        if upload.file_key != request.file_key:
            raise not_acceptable("The file has another key")
        return self._pending(request.file_id, upload)

    def started(self, file_id: str, ticket: str) -> None:
        """Record the store's ticket of an upload."""
        with self._store.write() as db:
            db.execute("UPDATE uploads SET ticket = ? WHERE file_id = ?", (ticket, file_id))

    def takes_parts(self, file_id: str) -> bool:
        return not self._upload(file_id).finalized

    def to_finish(self, request: FinalizeFile) -> PendingObject | None:
        """Return the object to assemble, or None if the file is already finalized."""
        upload = self._upload(request.file_id)
        if upload.file_key != request.file_key or upload.upload_id != request.upload_id:
            raise not_acceptable("The file has another key, or belongs to another upload session")
        if upload.finalized:
            return None
        if [part.part_number for part in request.parts] != list(range(1, len(request.parts) + 1)):
            raise bad_request("Parts must be listed in order, from 1 and without gaps")
        return self._pending(request.file_id, upload)

    def finalized(self, file_id: str, size_bytes: int) -> None:
        """Mark a file as finalized, and drop its parts."""
        with self._store.write() as db:
            db.execute("UPDATE uploads SET size_bytes = ? WHERE file_id = ?", (size_bytes, file_id))
            drop_parts = self._store.storage.finished(file_id)
        drop_parts()

    def _begun(self, request: BeginFile, collection: str) -> BeginFileAnswer | None:
        """Return the answer for an existing file, or for one that was begun in this session and is not an item yet."""
        # Stated explicitly, because SQLite uses the index of names only if the query excludes trashed rows.
        also_trashed = "" if self._store.keeps_trashed_names else " AND trashed = 0"
        existing = self._db.execute(
            f"SELECT id, storage_path, trashed FROM items"  # noqa: S608
            f" WHERE collection = ? AND name = ?{also_trashed} ORDER BY trashed",
            (collection, request.file_name),
        ).fetchone()
        if existing:
            if existing[2] and Quirk.TRASHED_NAMES_REFUSED in self._store.quirks:
                raise conflict(f"A file in the trash has the name {request.file_name!r}")
            return BeginFileAnswer(file_id=existing[0], file_key=existing[1], is_existing=True)
        begun = self._db.execute(
            "SELECT file_id, file_key FROM uploads WHERE upload_id = ? AND name = ? AND shown = 0",
            (request.upload_id, request.file_name),
        ).fetchone()
        return BeginFileAnswer(file_id=begun[0], file_key=begun[1]) if begun else None

    def _has_key(self, key: str) -> bool:
        """Return whether an upload or an item, also in the trash, has this key. Its bytes must not be overwritten."""
        query = "SELECT 1 FROM uploads WHERE file_key = ?1 UNION ALL SELECT 1 FROM items WHERE blob = ?1"
        return self._db.execute(query, (key,)).fetchone() is not None

    def _pending(self, file_id: str, upload: _Upload) -> PendingObject:
        blob = upload.file_key if self._store.storage.keys_are_names else file_id
        return PendingObject(file_id, blob, upload.ticket)

    def _upload(self, file_id: str) -> _Upload:
        row = self._db.execute(
            "SELECT upload_id, file_key, size_bytes IS NOT NULL, ticket FROM uploads WHERE file_id = ?", (file_id,)
        ).fetchone()
        if row is None:
            raise not_found("No such upload")
        return _Upload(row[0], row[1], bool(row[2]), row[3])
