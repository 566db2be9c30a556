"""The table of replacements in progress: files that were trashed and whose new bytes or tags are not complete yet.

A replacement trashes the old file, uploads the new one, then writes its metadata. Tags that other clients put on the
old file can only be read before it is trashed. They are stored here first, so that a killed run does not lose them.

Owns: `made_room`. Must not: commit (the caller groups writes, see `StateStore.write`) or decide what to do about a row.
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
    """A new file in the lake that does not have the tags of the old file yet."""

    name: str
    unique_name: str
    written: str
    """The digest of its recorded metadata."""
    tags: tuple[str, ...]
    """The tags that other clients had put on the old file."""


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
        """Store files that are about to be trashed, given as name, lake id and tags of others. Replaces older rows."""
        self._connection.executemany(
            "INSERT INTO made_room (collection, name, lake_id, tags) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (collection, name) DO UPDATE SET lake_id = excluded.lake_id, tags = excluded.tags",
            [(collection, name_to_db(name), lake_id, json.dumps(list(tags))) for name, lake_id, tags in files],
        )

    def tags(self, collection: CollectionHandle) -> Mapping[str, Sequence[str]]:
        """Return the tags of others by file name. Files without such tags are left out."""
        rows = self._connection.execute(
            "SELECT name, tags FROM made_room WHERE collection = ? AND tags <> '[]'", (collection,)
        )
        return {name_from_db(name): json.loads(tags) for name, tags in rows}

    def owed(self, collection: CollectionHandle | None = None) -> list[Owed]:
        """Return files of one collection, or of all, that are recorded and lack the tags of others."""
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

    def without_record(self, collection: CollectionHandle) -> list[str]:
        """Return the names of files that have a row here and no record."""
        rows = self._connection.execute(
            "SELECT name FROM made_room WHERE collection = ? EXCEPT SELECT name FROM files WHERE collection = ?",
            (collection, collection),
        )
        return [name_from_db(name) for (name,) in rows]

    def forget(self, collection: CollectionHandle, names: Iterable[str]) -> None:
        """Delete the rows of files whose replacement is complete or was never begun."""
        # Most files have no row, so one query saves a statement for each file.
        noted = {
            name
            for (name,) in self._connection.execute("SELECT name FROM made_room WHERE collection = ?", (collection,))
        }
        self._connection.executemany(
            "DELETE FROM made_room WHERE collection = ? AND name = ?",
            [(collection, name) for name in map(name_to_db, names) if name in noted],
        )
