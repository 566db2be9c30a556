"""The table of model runs that are attached to a project of the annotation studio.

Owns: `attached_runs`. Must not: commit (the caller groups writes, see `StateStore.write`) or decide anything.
"""

from __future__ import annotations

import sqlite3


class AttachedRuns:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def of(self, lake: str) -> set[tuple[str, str]]:
        """Return operation and project of every attached run of a lake."""
        rows = self._connection.execute("SELECT operation, project FROM attached_runs WHERE lake = ?", (lake,))
        return set(rows)

    def put(self, lake: str, operation: str, project: str) -> None:
        """Record that the studio confirmed an attachment."""
        self._connection.execute(
            "INSERT INTO attached_runs (lake, operation, project) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (lake, operation, project),
        )
