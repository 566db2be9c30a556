"""Pages of file metadata: checked as a whole, then merged field by field. Tags are replaced as a whole."""

from __future__ import annotations

from metalake_sync.embedded_lake import addressing
from metalake_sync.embedded_lake.names import check_metadata
from metalake_sync.embedded_lake.store import LakeStore, merged, now
from metalake_sync.protocol.items import UploadMetadataByJson


class Metadata:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def write(self, request: UploadMetadataByJson) -> int:
        """Write a page, skipping missing files. Returns how many were written."""
        for entry in request.metadata:
            check_metadata(entry.metadata)
        lookup = self._lookup(request)
        written, time = 0, now()
        with self._store.write() as db:
            kept = self._store.spellings.take_all(entry.metadata for entry in request.metadata)
            for entry, update in zip(request.metadata, kept, strict=True):
                item = lookup(entry.file)
                if item is None:
                    continue
                (metadata,) = db.execute("SELECT metadata FROM items WHERE id = ?", (item,)).fetchone()
                db.execute(
                    "UPDATE items SET metadata = ?, updated = ? WHERE id = ?",
                    (merged(metadata, update), time, item),
                )
                written += 1
        return written

    def _lookup(self, request: UploadMetadataByJson) -> addressing.Lookup:
        if request.collection_id:
            return addressing.by_name(self._db, request.collection_id)
        if request.job_id:
            return addressing.by_job(self._db, request.job_id)
        if request.bucket_name:
            return addressing.by_storage_path(self._db, request.bucket_name, self._store.storage.bucket)
        return addressing.by_unique_name(self._db)
