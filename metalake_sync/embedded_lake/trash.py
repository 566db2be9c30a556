"""The trash: items and collections are selected, then trashed. They disappear, and their names are released."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from metalake_sync.embedded_lake.queries import ITEMS, MEDIA_OF_COLLECTION, MEDIA_OF_OBJECT, select
from metalake_sync.embedded_lake.rejections import not_found
from metalake_sync.embedded_lake.store import LakeStore, now, to_json
from metalake_sync.protocol.items import SelectItems
from metalake_sync.protocol.wire import ObjectKind


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
