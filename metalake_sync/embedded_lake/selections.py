"""Selections of items and collections: stored, then trashed or made into a virtual collection.

Trashed items disappear, and their names are released. A virtual collection consists of references to items of other
collections; `queries.items_in` finds them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from metalake_sync.embedded_lake.names import check_collection_name
from metalake_sync.embedded_lake.queries import ITEMS, MEDIA_OF_COLLECTION, MEDIA_OF_OBJECT, select
from metalake_sync.embedded_lake.rejections import bad_request, not_acceptable, not_found
from metalake_sync.embedded_lake.store import LakeStore, now, to_json
from metalake_sync.protocol.items import CreateVirtualCollection, SelectItems
from metalake_sync.protocol.wire import MediaKind, ObjectKind


@dataclass(frozen=True, slots=True)
class Selected:
    """A stored selection."""

    tag: str
    count: int
    """Of its items and collections."""


class NothingSelected(Exception):
    """Answered as 200 with `isSuccess: false` and the message as `warningMsg`."""


class Trash:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def select(self, request: SelectItems) -> Selected:
        """Store a selection. Raises NothingSelected, also for a selection of the whole lake."""
        items, collections, missing = self._all(request) if request.is_all_selected else self._named(request)
        if not items and not collections:
            raise NothingSelected("No objects match the selection")
        tag = self._store.new_id()
        row = {"tag": tag, "items": to_json(items), "collections": to_json(collections), "missing": missing}
        self._store.tables.table("selections").insert(row)
        return Selected(tag, len(items) + len(collections))

    def trash(self, tag: str) -> tuple[int, int]:
        """Trash a selection. Returns how many objects were trashed, and how many failed. Idempotent."""
        row = self._db.execute(
            "SELECT items, collections, missing, outcome FROM selections WHERE tag = ?", (tag,)
        ).fetchone()
        if row is None:
            raise not_found("No such selection")
        items, collections, missing, outcome = json.loads(row[0]), json.loads(row[1]), row[2], row[3]
        if outcome is not None:
            trashed, failed = json.loads(outcome)
            return trashed, failed
        time = now()
        with self._store.write() as db:
            trashed = _trash(db, "items", items, time) + _trash(db, "collections", collections, time)
            db.executemany(
                "UPDATE items SET trashed = 1, updated = ? WHERE collection = ? AND trashed = 0",
                ((time, collection) for collection in collections),
            )
            failed = len(items) + len(collections) + missing - trashed
            db.execute("UPDATE selections SET outcome = ? WHERE tag = ?", (to_json([trashed, failed]), tag))
        return trashed, failed

    def _all(self, request: SelectItems) -> tuple[list[str], list[str], int]:
        wanted = request.filter_data
        narrowed = any(
            (
                wanted.annotation_types,
                wanted.date,
                wanted.tags,
                wanted.labels,
                wanted.metadata,
                wanted.keywords,
                wanted.categories,
            )
        )
        if not (request.collection_id or request.query.strip() or narrowed):
            raise NothingSelected("A selection of everything is rejected: add a query, a filter or a collection")
        collection = request.collection_id or None
        is_virtual = collection is not None and self._is_virtual(collection)
        chosen = select(request.content_type, collection, request.query, wanted, is_virtual=is_virtual)
        if chosen is None:
            return [], [], 0
        found = [row[0] for row in self._db.execute(chosen.sql("x.id"), chosen.values)]
        return (found, [], 0) if chosen.subject is ITEMS else ([], found, 0)

    def _is_virtual(self, collection: str) -> bool:
        row = self._db.execute("SELECT virtual FROM collections WHERE id = ?", (collection,)).fetchone()
        return row is not None and bool(row[0])

    def _named(self, request: SelectItems) -> tuple[list[str], list[str], int]:
        kind = request.content_type
        ids = to_json(list(dict.fromkeys(request.object_id_list)))
        items = [] if kind in MEDIA_OF_COLLECTION else self._existing("items", ids, kind)
        collections = [] if kind in MEDIA_OF_OBJECT else self._existing("collections", ids, kind)
        return items, collections, len(json.loads(ids)) - len(items) - len(collections)

    def _existing(self, table: str, ids: str, kind: ObjectKind) -> list[str]:
        media = MEDIA_OF_OBJECT.get(kind) or MEDIA_OF_COLLECTION.get(kind)
        rows = self._db.execute(
            f"SELECT x.id FROM json_each(?1) n JOIN {table} x ON x.id = n.value"  # noqa: S608
            " WHERE x.trashed = 0 AND (?2 IS NULL OR x.kind = ?2)",
            (ids, media),
        )
        return [found for (found,) in rows]


def _trash(db: sqlite3.Connection, table: str, ids: Iterable[str], time: float) -> int:
    return db.executemany(
        f"UPDATE {table} SET trashed = 1, updated = ? WHERE id = ? AND trashed = 0",  # noqa: S608
        ((time, found) for found in ids),
    ).rowcount


class VirtualCollections:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def create(self, request: CreateVirtualCollection) -> str:
        """Create a virtual collection from a selection, or add the selection to an existing one. Returns its id.

        A selected collection represents its items. All items must be of one kind.
        """
        items = self._selected(request.selection_id)
        kinds = {
            kind
            for (kind,) in self._db.execute(
                "SELECT DISTINCT kind FROM items WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(items),)
            )
        }
        if len(kinds) != 1:
            raise not_acceptable("A virtual collection must have items of one kind")
        kind = MediaKind(kinds.pop())
        with self._store.write() as db:
            collection = self._collection(request, kind)
            db.executemany(
                "INSERT OR IGNORE INTO virtual_members (collection, item) VALUES (?, ?)",
                ((collection, item) for item in items),
            )
            db.execute("UPDATE collections SET updated = ? WHERE id = ?", (now(), collection))
        return collection

    def _selected(self, tag: str) -> list[str]:
        row = self._db.execute("SELECT items, collections FROM selections WHERE tag = ?", (tag,)).fetchone()
        if row is None:
            raise not_found("No such selection")
        found = self._db.execute(
            "SELECT id FROM items WHERE trashed = 0 AND"
            " (id IN (SELECT value FROM json_each(?)) OR collection IN (SELECT value FROM json_each(?)))",
            row,
        )
        return [item for (item,) in found]

    def _collection(self, request: CreateVirtualCollection, kind: MediaKind) -> str:
        if request.v_collection_id:
            row = self._db.execute(
                "SELECT kind, virtual FROM collections WHERE id = ? AND trashed = 0", (request.v_collection_id,)
            ).fetchone()
            if row is None or not row[1]:
                raise not_found("No such virtual collection")
            if row[0] != kind:
                raise not_acceptable("The virtual collection has items of another kind")
            return request.v_collection_id
        name = request.v_collection_name
        if not name:
            raise bad_request("A virtual collection needs a name or an id")
        check_collection_name(name)
        row = self._db.execute(
            "SELECT id, virtual FROM collections WHERE kind = ? AND name = ? AND trashed = 0", (kind, name)
        ).fetchone()
        if row is not None:
            if not row[1]:
                raise not_acceptable(f"A collection has the name {name!r}")
            return str(row[0])
        collection, time = self._store.new_id(), now()
        # It has no storage path. That column is unique, so it gets the id.
        self._db.execute(
            "INSERT INTO collections (id, kind, name, storage_path, prefix, metadata, created, updated, virtual)"
            " VALUES (?, ?, ?, ?, '', '{}', ?, ?, 1)",
            (collection, kind, name, collection, time, time),
        )
        return collection
