"""Deletes old runs from the history, and the values that only they refer to.

Owns: which metadata and which bases of annotation sets nothing refers to any more. Must not: commit (the caller groups
writes, see `StateStore.write`), delete a record of a file, or know how long the history is kept.
"""

from __future__ import annotations

import sqlite3

from metalake_sync.state.annotation_bases import NO_SET

_USED_METADATA = (
    ("files", "metadata_digest"),
    ("collections", "head_digest"),
    ("addressed_metadata", "digest"),
    ("upload_sessions", "metadata_digest"),
    ("pending_metadata", "sent_digest"),
    ("pending_metadata", "digest"),
    ("run_actions", "before"),
    ("run_actions", "after"),
    ("run_actions", "confirmed"),
)
"""Columns that refer to metadata by its digest."""

_CURRENT_BASES = (("annotation_sets", "base"), ("addressed_sets", "base"))
"""Columns of the records that refer to bases."""

_HISTORY_BASES = (("run_sets", "before"), ("run_sets", "after"), ("run_sets", "confirmed"))
"""Columns of the history that refer to bases."""

_OLD_RUNS = "SELECT id FROM runs WHERE started_at < ?"


def has_old_runs(connection: sqlite3.Connection, before: str) -> bool:
    """Whether the oldest run started before a time. The id of a run begins with its time, so this reads one row."""
    row = connection.execute("SELECT started_at FROM runs ORDER BY id LIMIT 1").fetchone()
    return row is not None and row[0] < before


def delete_old_runs(connection: sqlite3.Connection, before: str) -> int:
    """Delete the runs that started before a time (ISO 8601 in UTC), and return how many. Call it inside a transaction.

    Values that a record or a later run refers to stay.
    """
    execute = connection.execute
    execute("CREATE TEMP TABLE old_metadata (digest TEXT PRIMARY KEY, used INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID")
    execute(
        "CREATE TEMP TABLE old_bases"
        " (id INTEGER PRIMARY KEY, used INTEGER NOT NULL DEFAULT 0, in_history INTEGER NOT NULL DEFAULT 0)"
    )
    for column in ("before", "after", "confirmed"):
        execute(
            f"INSERT OR IGNORE INTO old_metadata (digest) SELECT m.digest FROM run_actions a"  # noqa: S608
            f" JOIN metadata_sets m ON m.digest = a.{column} WHERE a.run_id IN ({_OLD_RUNS})",
            (before,),
        )
        execute(
            f"INSERT OR IGNORE INTO old_bases (id) SELECT s.{column} FROM run_actions a"  # noqa: S608
            f" JOIN run_sets s ON s.action = a.id WHERE s.{column} > {NO_SET} AND a.run_id IN ({_OLD_RUNS})",
            (before,),
        )
    deleted = execute("DELETE FROM runs WHERE started_at < ?", (before,)).rowcount
    for table, column in _USED_METADATA:
        _mark(connection, "old_metadata", "digest", "used", table, column)
    for table, column in _CURRENT_BASES:
        _mark(connection, "old_bases", "id", "used", table, column)
    for table, column in _HISTORY_BASES:
        _mark(connection, "old_bases", "id", "in_history", table, column)
    execute("DELETE FROM metadata_sets WHERE digest IN (SELECT digest FROM old_metadata WHERE NOT used)")
    execute("DELETE FROM annotation_bases WHERE id IN (SELECT id FROM old_bases WHERE NOT used AND NOT in_history)")
    # From now on, the base of a record is deleted with its record.
    records_only = "SELECT id FROM old_bases WHERE used AND NOT in_history"
    execute(f"UPDATE annotation_bases SET in_history = 0 WHERE id IN ({records_only})")  # noqa: S608
    execute("DROP TABLE old_metadata")
    execute("DROP TABLE old_bases")
    return deleted


def _mark(connection: sqlite3.Connection, old: str, key: str, flag: str, table: str, column: str) -> None:
    """Set a flag of those old values that a column refers to. Reads the column once."""
    connection.execute(
        f"INSERT INTO {old} ({key}) SELECT o.{key} FROM {table} t CROSS JOIN {old} o ON o.{key} = t.{column}"  # noqa: S608
        f" WHERE true ON CONFLICT ({key}) DO UPDATE SET {flag} = 1"
    )
