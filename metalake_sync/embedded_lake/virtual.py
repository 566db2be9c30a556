"""Virtual collections: collections of references to items of other collections.

Owns: creating and extending them. `queries.items_in` finds their items.
"""

from __future__ import annotations

import json

from metalake_sync.embedded_lake.names import check_collection_name
from metalake_sync.embedded_lake.rejections import bad_request, not_acceptable, not_found
from metalake_sync.embedded_lake.store import LakeStore, now
from metalake_sync.protocol.items import CreateVirtualCollection
from metalake_sync.protocol.wire import MediaKind


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
