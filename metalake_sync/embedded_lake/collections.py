"""Collections: finds, creates and describes them.

Names are unique per kind, storage paths in the whole lake. Trashing a collection releases both.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from metalake_sync.embedded_lake.names import check_collection_name, check_metadata, storage_path_for
from metalake_sync.embedded_lake.queries import items_in
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import NoContent, conflict, not_acceptable, not_found
from metalake_sync.embedded_lake.store import LakeStore, iso_time, merged, now
from metalake_sync.protocol.items import CollectionByName, CollectionDetails, CreateCollection, UploadMetadataByObject
from metalake_sync.protocol.wire import MediaKind, ObjectKind

OBJECT_KINDS = {
    MediaKind.VIDEO: (ObjectKind.VIDEO, ObjectKind.VIDEO_COLLECTION),
    MediaKind.IMAGE: (ObjectKind.IMAGE, ObjectKind.IMAGE_COLLECTION),
    MediaKind.OTHER: (ObjectKind.OTHER, ObjectKind.OTHER_COLLECTION),
}
"""The object kinds of items and of collections, by media kind."""

_DEFAULT_FIELDS = ("id", "name", "contentType")


_BY_NAME = "SELECT id, virtual FROM collections WHERE kind = ? AND name = ? AND trashed = 0 ORDER BY rowid LIMIT 1"
"""Finds the oldest one, because collections of videos may share a name."""


def find_or_create_collection(store: LakeStore, kind: MediaKind, name: str, prefix: str = "") -> str:
    """Return the id of the collection with a name and kind, to upload files to. Requires a transaction.

    Rejects virtual collections.
    """
    row = store.db.execute(_BY_NAME, (kind, name)).fetchone()
    if row:
        if row[1]:
            raise not_acceptable(f"The collection {name!r} is virtual and does not accept uploads")
        return str(row[0])
    check_collection_name(name)
    if kind is not MediaKind.VIDEO and store.keeps_trashed_names:
        trashed = store.db.execute("SELECT 1 FROM collections WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        if trashed:
            raise conflict(f"A collection in the trash has the name {name!r}")
    collection = _create(store, kind, name, prefix)
    if kind is MediaKind.VIDEO and Quirk.VIDEO_TWINS in store.quirks:
        _create(store, kind, name, prefix)
    return collection


def _create(store: LakeStore, kind: MediaKind, name: str, prefix: str) -> str:
    wanted = storage_path_for(name)
    path, number = wanted, 0
    not_trashed = "" if store.keeps_trashed_names else " AND trashed = 0"
    taken = f"SELECT 1 FROM collections WHERE storage_path = ?{not_trashed}"  # noqa: S608
    while store.db.execute(taken, (path,)).fetchone():
        number += 1
        path = f"{wanted}_{number}"
    collection, time = store.new_id(), now()
    store.db.execute(
        "INSERT INTO collections (id, kind, name, storage_path, prefix, metadata, created, updated)"
        " VALUES (?, ?, ?, ?, ?, '{}', ?, ?)",
        (collection, kind, name, path, prefix, time, time),
    )
    return collection


def requested_fields(
    fields: Mapping[str, Any], default: tuple[str, ...], requested: Mapping[str, bool], *, nulls: bool = False
) -> dict[str, Any]:
    """Return the default fields and the requested ones that exist. A request with `false` removes a default field.

    `nulls`: missing fields are null.
    """
    wanted = [name for name in default if requested.get(name, True)]
    wanted += [name for name, spec in requested.items() if spec and name not in default]
    return {name: fields.get(name) for name in wanted if nulls or name in fields}


class Collections:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def create(self, request: CreateCollection) -> str:
        """Create a collection, or update the metadata of an existing one. Returns its id."""
        check_metadata(request.custom_meta_object)
        with self._store.write() as db:
            collection = find_or_create_collection(self._store, request.object_type, request.collection_name)
            self._update_collection(db, collection, self._store.spellings.take(request.custom_meta_object))
        return collection

    def by_name(self, request: CollectionByName) -> str:
        row = self._db.execute(_BY_NAME, (request.object_type, request.collection_name)).fetchone()
        if row is None:
            raise NoContent
        return str(row[0])

    def must_exist(self, collection: str) -> bool:
        """Return whether the collection is virtual. Rejects one that does not exist."""
        row = self._db.execute("SELECT virtual FROM collections WHERE id = ? AND trashed = 0", (collection,)).fetchone()
        if row is None:
            raise not_found("No such collection")
        return bool(row[0])

    def object_type(self, object_id: str) -> ObjectKind:
        """Return the kind of the collection or item with an id."""
        for table, position in (("collections", 1), ("items", 0)):
            row = self._db.execute(
                f"SELECT kind FROM {table} WHERE id = ? AND trashed = 0",  # noqa: S608
                (object_id,),
            ).fetchone()
            if row:
                return OBJECT_KINDS[MediaKind(row[0])][position]
        raise not_found("No such object")

    def details(self, request: CollectionDetails) -> dict[str, Any]:
        row = self._db.execute(
            "SELECT kind, name, storage_path, metadata, created, updated, virtual FROM collections"
            " WHERE id = ? AND trashed = 0",
            (request.collection_id,),
        ).fetchone()
        if row is None:
            raise not_found("No such collection")
        kind, name, storage_path, metadata, created, updated, is_virtual = row
        requested = request.required_meta_obj
        fields = {
            **json.loads(metadata),
            "id": request.collection_id,
            "name": name,
            "contentType": int(OBJECT_KINDS[MediaKind(kind)][1]),
            "createdAt": iso_time(created),
            "updatedAt": iso_time(updated),
        }
        if not is_virtual:
            fields["storagePath"] = storage_path
        if requested.get("fileSize") or requested.get("frameCount"):
            fields["fileSize"], fields["frameCount"] = self._db.execute(
                "SELECT coalesce(sum(size_bytes), 0), count(*) FROM items x"  # noqa: S608
                f" WHERE {items_in(is_virtual)} AND trashed = 0",
                (request.collection_id,),
            ).fetchone()
        return requested_fields(fields, _DEFAULT_FIELDS, requested, nulls=Quirk.NULLS in self._store.quirks)

    def write_metadata(self, request: UploadMetadataByObject) -> int:
        """Write the metadata of a collection and, on request, of all its files. Returns the number of files."""
        check_metadata(request.metadata)
        row = self._db.execute(_BY_NAME, (request.object_type, request.collection_name)).fetchone()
        if row is None:
            raise not_found("No such collection")
        collection, is_virtual = row
        with self._store.write() as db:
            update = self._store.spellings.take(request.metadata)
            self._update_collection(db, collection, update)
            if not request.is_apply_to_all_files:
                return 0
            time = now()
            files = db.execute(
                f"SELECT id, metadata FROM items x WHERE {items_in(is_virtual)} AND trashed = 0",  # noqa: S608
                (collection,),
            ).fetchall()
            db.executemany(
                "UPDATE items SET metadata = ?, updated = ? WHERE id = ?",
                ((merged(metadata, update), time, item) for item, metadata in files),
            )
            return len(files)

    @staticmethod
    def _update_collection(db: sqlite3.Connection, collection: str, update: dict[str, Any]) -> None:
        (metadata,) = db.execute("SELECT metadata FROM collections WHERE id = ?", (collection,)).fetchone()
        db.execute(
            "UPDATE collections SET metadata = ?, updated = ? WHERE id = ?",
            (merged(metadata, update), now(), collection),
        )
