"""Files that went to the trash to make room for new bytes, until those are in the lake with all that belongs to them.

A replacement is trash, then upload, then metadata. What others had put on the old file can be read before only, so it
is written down here first: a run that dies in between must not lose it.

Owns: this table. Must not: know what is done about a row.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.handles import CollectionHandle
from metalake_sync.state.names import name_from_db, name_to_db


@dataclass(frozen=True, slots=True)
class Owed:
    """A new file that is in the lake without what others had put on the old one. `written`: digest of the metadata that
    is recorded of it."""

    name: str
    unique_name: str
    written: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LostInTrash:
    """A file that was trashed to be replaced, and whose new bytes are not in the lake."""

    name: str
    lake_id: str
    """The id of the old file. No call of the protocol restores it from the trash."""


class PendingReplacements:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, collection: CollectionHandle, files: Iterable[tuple[str, str, Sequence[str]]]) -> None:
        """Name, the id that goes, and the Tags that others had set. What stood there of the name is overwritten."""
        self._connection.executemany(
            "INSERT INTO made_room (collection, name, lake_id, tags) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (collection, name) DO UPDATE SET lake_id = excluded.lake_id, tags = excluded.tags",
            [(collection, name_to_db(name), lake_id, json.dumps(list(tags))) for name, lake_id, tags in files],
        )

    def tags(self, collection: CollectionHandle) -> Mapping[str, Sequence[str]]:
        """The Tags of others by file name; files without any are left out."""
        rows = self._connection.execute(
            "SELECT name, tags FROM made_room WHERE collection = ? AND tags <> '[]'", (collection,)
        )
        return {name_from_db(name): json.loads(tags) for name, tags in rows}

    def owed(self, collection: CollectionHandle | None = None) -> list[Owed]:
        """Files of a collection, or of all, whose new bytes are recorded and whose Tags of others are not written."""
        rows = self._connection.execute(
            "SELECT files.name, files.unique_name, files.metadata_digest, made_room.tags FROM made_room"
            " JOIN files ON files.collection = made_room.collection AND files.name = made_room.name"
            " WHERE files.lake_id <> made_room.lake_id AND made_room.tags <> '[]'"
            " AND made_room.collection = coalesce(?, made_room.collection)",
            (collection,),
        )
        return [
            Owed(name_from_db(name), unique_name, written, tuple(json.loads(tags)))
            for name, unique_name, written, tags in rows
        ]

    def lost(self, collection: CollectionHandle) -> list[LostInTrash]:
        """Return the files that a run was about to trash for a replacement, and whose new bytes are not recorded.

        If the lake does not list such a file, its old bytes are in the trash.
        """
        rows = self._connection.execute(
            "SELECT made_room.name, made_room.lake_id FROM made_room"
            " LEFT JOIN files ON files.collection = made_room.collection AND files.name = made_room.name"
            " WHERE (files.lake_id IS NULL OR files.lake_id = made_room.lake_id) AND made_room.collection = ?",
            (collection,),
        )
        return [LostInTrash(name_from_db(name), lake_id) for name, lake_id in rows]

    def forget(self, collection: CollectionHandle, names: Iterable[str]) -> None:
        """These are whole again, or never went."""
        # Most files were never in the way of another: a statement for each of them would be for nothing.
        noted = {
            name
            for (name,) in self._connection.execute("SELECT name FROM made_room WHERE collection = ?", (collection,))
        }
        self._connection.executemany(
            "DELETE FROM made_room WHERE collection = ? AND name = ?",
            [(collection, name) for name in map(name_to_db, names) if name in noted],
        )
