"""The trash: things are selected, then put away. Their names are free again, and nobody sees them any more."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from metalake_sync.embedded_lake.queries import ITEMS, MEDIA_OF_COLLECTION, MEDIA_OF_OBJECT, select
from metalake_sync.embedded_lake.rejections import not_found
from metalake_sync.embedded_lake.store import LakeStore, now, to_json
from metalake_sync.protocol.trash import SelectItems
from metalake_sync.protocol.wire import ObjectKind


@dataclass(frozen=True, slots=True)
class Selected:
    """A selection that was remembered, and how many objects are in it."""

    tag: str
    count: int


class NothingSelected(Exception):
    """Answered as 200 with `isSuccess: false` and the words as `warningMsg`."""


class Trash:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def select(self, request: SelectItems) -> Selected:
        """Remember a selection. Raises NothingSelected, also for one that would mean the whole lake."""
        items, collections, missing = self._all(request) if request.is_all_selected else self._named(request)
        if not items and not collections:
            raise NothingSelected("No objects match the selection")
        tag = self._store.new_id()
        row = {"tag": tag, "items": to_json(items), "collections": to_json(collections), "missing": missing}
        self._store.tables.table("selections").insert(row)
        return Selected(tag, len(items) + len(collections))

    def put_away(self, tag: str) -> tuple[int, int]:
        """Trash a selection. Returns how many objects went, and how many could not. Asked again, it says the same."""
        row = self._db.execute(
            "SELECT items, collections, missing, outcome FROM selections WHERE tag = ?", (tag,)
        ).fetchone()
        if row is None:
            raise not_found("No such selection")
        items, collections, missing, outcome = json.loads(row[0]), json.loads(row[1]), row[2], row[3]
        if outcome is not None:
            went, failed = json.loads(outcome)
            return went, failed
        time = now()
        with self._store.write() as db:
            went = _trash(db, "items", items, time) + _trash(db, "collections", collections, time)
            db.executemany(
                "UPDATE items SET trashed = 1, updated = ? WHERE collection = ? AND trashed = 0",
                ((time, collection) for collection in collections),
            )
            failed = len(items) + len(collections) + missing - went
            db.execute("UPDATE selections SET outcome = ? WHERE tag = ?", (to_json([went, failed]), tag))
        return went, failed

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
            raise NothingSelected("A selection of everything is refused: give a query, a filter or a collection")
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
        items = [] if kind in MEDIA_OF_COLLECTION else self._there("items", ids, kind)
        collections = [] if kind in MEDIA_OF_OBJECT else self._there("collections", ids, kind)
        return items, collections, len(json.loads(ids)) - len(items) - len(collections)

    def _there(self, table: str, ids: str, kind: ObjectKind) -> list[str]:
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
