"""Collections: found or made by name and kind, and described. Names are unique for each kind, storage paths in the
whole lake; the trash frees both.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from metalake_sync.lake.answers import asked_fields, iso_time
from metalake_sync.lake.names import check_collection_name, check_metadata, storage_path_for
from metalake_sync.lake.refusals import NothingThere, not_found
from metalake_sync.lake.store import LakeStore, merged, new_id, now
from metalake_sync.protocol.items import CollectionByName, CollectionDetails, CreateCollection
from metalake_sync.protocol.metadata import UploadMetadataByObject
from metalake_sync.protocol.wire import MediaKind, ObjectKind

OBJECT_KINDS = {
    MediaKind.VIDEO: (ObjectKind.VIDEO, ObjectKind.VIDEO_COLLECTION),
    MediaKind.IMAGE: (ObjectKind.IMAGE, ObjectKind.IMAGE_COLLECTION),
    MediaKind.OTHER: (ObjectKind.OTHER, ObjectKind.OTHER_COLLECTION),
}
"""How lists name the items of a media kind, and their collections."""

_DEFAULT_FIELDS = ("id", "name", "contentType")


def find_or_create_collection(db: sqlite3.Connection, kind: MediaKind, name: str, prefix: str = "") -> str:
    """The id of the collection of that name and kind; inside a transaction."""
    row = db.execute("SELECT id FROM collections WHERE kind = ? AND name = ? AND trashed = 0", (kind, name)).fetchone()
    if row:
        return str(row[0])
    check_collection_name(name)
    wanted = storage_path_for(name)
    path, number = wanted, 0
    while db.execute("SELECT 1 FROM collections WHERE storage_path = ? AND trashed = 0", (path,)).fetchone():
        number += 1
        path = f"{wanted}_{number}"
    collection, time = new_id(), now()
    db.execute(
        "INSERT INTO collections (id, kind, name, storage_path, prefix, metadata, created, updated)"
        " VALUES (?, ?, ?, ?, ?, '{}', ?, ?)",
        (collection, kind, name, path, prefix, time, time),
    )
    return collection


class Collections:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def create(self, request: CreateCollection) -> str:
        """Create a collection's head, or update the metadata of the one that is there."""
        check_metadata(request.custom_meta_object)
        with self._store.write() as db:
            collection = find_or_create_collection(db, request.object_type, request.collection_name)
            self._update_head(db, collection, request.custom_meta_object)
        return collection

    def by_name(self, request: CollectionByName) -> str:
        row = self._db.execute(
            "SELECT id FROM collections WHERE kind = ? AND name = ? AND trashed = 0",
            (request.object_type, request.collection_name),
        ).fetchone()
        if row is None:
            raise NothingThere
        return str(row[0])

    def must_exist(self, collection: str) -> None:
        if not self._db.execute("SELECT 1 FROM collections WHERE id = ? AND trashed = 0", (collection,)).fetchone():
            raise not_found("No such collection")

    def object_type(self, object_id: str) -> ObjectKind:
        """What an id stands for, be it a collection or an item."""
        for table, place in (("collections", 1), ("items", 0)):
            row = self._db.execute(
                f"SELECT kind FROM {table} WHERE id = ? AND trashed = 0",  # noqa: S608
                (object_id,),
            ).fetchone()
            if row:
                return OBJECT_KINDS[MediaKind(row[0])][place]
        raise not_found("No such object")

    def details(self, request: CollectionDetails) -> dict[str, Any]:
        row = self._db.execute(
            "SELECT kind, name, storage_path, metadata, created, updated FROM collections WHERE id = ? AND trashed = 0",
            (request.collection_id,),
        ).fetchone()
        if row is None:
            raise not_found("No such collection")
        kind, name, storage_path, metadata, created, updated = row
        asked = request.required_meta_obj
        fields = {
            **json.loads(metadata),
            "id": request.collection_id,
            "name": name,
            "contentType": int(OBJECT_KINDS[MediaKind(kind)][1]),
            "storagePath": storage_path,
            "createdAt": iso_time(created),
            "updatedAt": iso_time(updated),
        }
        if asked.get("fileSize") or asked.get("frameCount"):
            fields["fileSize"], fields["frameCount"] = self._db.execute(
                "SELECT coalesce(sum(size_bytes), 0), count(*) FROM items WHERE collection = ? AND trashed = 0",
                (request.collection_id,),
            ).fetchone()
        return asked_fields(fields, _DEFAULT_FIELDS, asked)

    def write_metadata(self, request: UploadMetadataByObject) -> int:
        """Write the head's metadata and, if that is asked, that of every file. Returns the number of files."""
        check_metadata(request.metadata)
        row = self._db.execute(
            "SELECT id FROM collections WHERE kind = ? AND name = ? AND trashed = 0",
            (request.object_type, request.collection_name),
        ).fetchone()
        if row is None:
            raise not_found("No such collection")
        with self._store.write() as db:
            self._update_head(db, row[0], request.metadata)
            if not request.is_apply_to_all_files:
                return 0
            time = now()
            files = db.execute("SELECT id, metadata FROM items WHERE collection = ? AND trashed = 0", row).fetchall()
            db.executemany(
                "UPDATE items SET metadata = ?, updated = ? WHERE id = ?",
                ((merged(metadata, request.metadata), time, item) for item, metadata in files),
            )
            return len(files)

    @staticmethod
    def _update_head(db: sqlite3.Connection, collection: str, update: dict[str, Any]) -> None:
        (metadata,) = db.execute("SELECT metadata FROM collections WHERE id = ?", (collection,)).fetchone()
        db.execute(
            "UPDATE collections SET metadata = ?, updated = ? WHERE id = ?",
            (merged(metadata, update), now(), collection),
        )
