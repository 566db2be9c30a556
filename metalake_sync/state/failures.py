"""The table of items that failed in the last run that tried them.

Owns: `failures`. Must not: hold a credential or a signed URL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.names import CollectionHandle, name_from_db, name_to_db


@dataclass(frozen=True, slots=True)
class FailureRow:
    """An item that failed in the last run that tried it."""

    name: str
    action: str
    error: str
    retryable: bool
    attempts: int
    """The number of consecutive runs in which it failed."""


class Failures:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def record(self, run_id: str, collection: CollectionHandle, failures: Iterable[tuple[str, str, str, bool]]) -> None:
        """Record failures, given as name, action, error and whether a later run may succeed."""
        self._connection.executemany(
            "INSERT INTO failures (collection, name, action, error, retryable, run_id) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET error = excluded.error, retryable = excluded.retryable,"
            " run_id = excluded.run_id, attempts = attempts + 1",
            [
                (collection, name_to_db(name), action, error, retryable, run_id)
                for name, action, error, retryable in failures
            ],
        )

    def clear(self, collection: CollectionHandle, names: Iterable[str]) -> None:
        """Delete the failures of items that succeeded."""
        # Most runs have no failures to delete.
        if self._connection.execute("SELECT 1 FROM failures WHERE collection = ?", (collection,)).fetchone() is None:
            return
        self._connection.executemany(
            "DELETE FROM failures WHERE collection = ? AND name = ?", [(collection, name_to_db(name)) for name in names]
        )

    def clear_others(self, collection: CollectionHandle, run_id: str, keep: Iterable[str] = ()) -> None:
        """Delete failures of other runs: this run found their items complete or no longer wanted.

        `keep` has the names that this run did not try.
        """
        kept = {name_to_db(name) for name in keep}
        rows = self._connection.execute(
            "SELECT name FROM failures WHERE collection = ? AND run_id <> ?", (collection, run_id)
        ).fetchall()
        self._connection.executemany(
            "DELETE FROM failures WHERE collection = ? AND name = ? AND run_id <> ?",
            [(collection, name, run_id) for (name,) in rows if name not in kept],
        )

    def of_collection(self, collection: CollectionHandle) -> list[FailureRow]:
        rows = self._connection.execute(
            "SELECT name, action, error, retryable, attempts FROM failures WHERE collection = ? ORDER BY name",
            (collection,),
        )
        return [
            FailureRow(name_from_db(name), action, error, bool(retryable), attempts)
            for name, action, error, retryable, attempts in rows
        ]
