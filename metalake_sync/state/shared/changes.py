"""The rows that transactions changed: captured on one working copy, written into another.

Temporary triggers note the primary key of every inserted, updated or deleted row, whichever statement, cascade or
trigger changed it. After a commit, the rows are read by these keys. So the log holds rows, and no statement: a key
store is not trusted to run anything, and a new statement anywhere in the state needs nothing here. A rollback also
rolls back the notes, which are in a temporary table.

Owns: which tables are shared. Caches of facts about local files are not, and neither are this copy's own notes.
Must not: know what the rows mean.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from metalake_sync.errors import StateDamaged

CACHES = frozenset({"hash_cache", "readings", "set_memo"})
"""Tables of facts about the files of one machine. Without them, files are read again."""

_OF_META = "{row}key NOT LIKE 'copy %' AND {row}key <> 'path'"
"""Which rows of `meta` are shared. The others concern one SQLite file."""

Value = None | int | float | str | bytes
Row = tuple[Value, ...]


class Table(NamedTuple):
    """A shared table."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    """The columns of the primary key."""


Changes = dict[str, dict[Row, Row | None]]
"""Table → primary key → the row after the change, or None if it was deleted."""


def shared_tables(connection: sqlite3.Connection) -> tuple[Table, ...]:
    """Return the shared tables of a state whose schema is up to date."""
    names = connection.execute(
        "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " AND name NOT LIKE '\\_sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    return tuple(_table(connection, name) for (name,) in names if name not in CACHES)


def _table(connection: sqlite3.Connection, name: str) -> Table:
    rows = connection.execute("SELECT name, pk FROM pragma_table_info(?, 'main') ORDER BY cid", (name,)).fetchall()
    key = tuple(column for column, place in sorted(rows, key=lambda row: row[1]) if place)
    assert key, f"{name} needs a primary key"
    return Table(name, tuple(column for column, _ in rows), key)


class ChangeCapture:
    """Captures the changes of shared rows on one connection. Call it from the thread that writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tables = shared_tables(connection)
        width = max(len(table.key) for table in self._tables)
        # Without this, REPLACE deletes rows without calling triggers.
        connection.execute("PRAGMA recursive_triggers = ON")
        places = ", ".join(f"k{number}" for number in range(width))
        connection.execute(f"CREATE TEMP TABLE changed_rows (t, {places})")
        for number, table in enumerate(self._tables):
            for statement in _triggers(number, table, width):
                connection.execute(statement)

    def pending(self) -> bool:
        """Whether the open transaction changed a shared row."""
        return self._connection.execute("SELECT 1 FROM temp.changed_rows LIMIT 1").fetchone() is not None

    def take(self) -> Changes:
        """Return the changes committed since the last call. Call it outside a transaction."""
        changes: Changes = {}
        numbers = [number for (number,) in self._connection.execute("SELECT DISTINCT t FROM temp.changed_rows")]
        for number in sorted(numbers):
            table = self._tables[number]
            width = len(table.key)
            rows: dict[Row, Row | None] = {}
            for row in self._connection.execute(_reading(number, table)):
                key, found = row[:width], row[width:]
                # Columns of a primary key are never NULL in a row.
                rows[key] = found if found[table.columns.index(table.key[0])] is not None else None
            changes[table.name] = rows
        if numbers:
            self._connection.execute("DELETE FROM temp.changed_rows")
        return changes


def _triggers(number: int, table: Table, width: int) -> Iterator[str]:
    """Yield the temporary triggers of a table. `number`: of the table. `width`: key columns of `changed_rows`."""

    def note(row: str) -> str:
        values = ", ".join([f"{row}.{column}" for column in table.key] + ["NULL"] * (width - len(table.key)))
        return f"INSERT INTO changed_rows VALUES ({number}, {values});"

    def own(row: str) -> str:
        return f"WHEN {_OF_META.format(row=f'{row}.')}" if table.name == "meta" else ""

    new, old, on = note("new"), note("old"), f"ON main.{table.name}"
    yield f"CREATE TEMP TRIGGER inserted_{number} AFTER INSERT {on} {own('new')} BEGIN {new} END"
    yield f"CREATE TEMP TRIGGER updated_{number} AFTER UPDATE {on} {own('new')} BEGIN {old} {new} END"
    yield f"CREATE TEMP TRIGGER deleted_{number} AFTER DELETE {on} {own('old')} BEGIN {old} END"


@functools.cache
def _reading(number: int, table: Table) -> str:
    """The statement that reads the changed rows of a table: the key that changed, then the row or NULLs."""
    keys = ", ".join(f"k{place} AS k{place}" for place in range(len(table.key)))
    joined = " AND ".join(f"r.{column} = c.k{place}" for place, column in enumerate(table.key))
    columns = ", ".join([f"c.k{place}" for place in range(len(table.key))] + [f"r.{name}" for name in table.columns])
    return (
        f"SELECT {columns} FROM (SELECT DISTINCT {keys} FROM temp.changed_rows WHERE t = {number}) c"
        f" LEFT JOIN main.{table.name} r ON {joined}"
    )


def merge(into: Changes, changes: Changes) -> None:
    """Add later changes to earlier ones."""
    for name, rows in changes.items():
        into.setdefault(name, {}).update(rows)


# JSON.


def to_document(changes: Changes, tables: Iterable[Table]) -> list[dict[str, Any]]:
    """Return changes as JSON values, with the names of columns, so that a later version can read them."""
    documents = []
    for table in tables:
        rows = changes.get(table.name)
        if rows:
            present = [[_to_json(value) for value in row] for row in rows.values() if row is not None]
            gone = [[_to_json(value) for value in key] for key, row in rows.items() if row is None]
            documents.append(
                {"table": table.name, "columns": table.columns, "key": table.key, "rows": present, "gone": gone}
            )
    return documents


def _to_json(value: Value) -> Any:
    # A lone surrogate cannot be in a TEXT of SQLite, so that JSON holds every string.
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _from_json(value: Any) -> Value:
    if isinstance(value, dict):
        return base64.b64decode(value["bytes"], validate=True)
    if value is None or isinstance(value, int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} is not a value")


class ChangeWriter:
    """Writes changes into a working copy. Use it as a context manager inside a transaction.

    The state's own triggers are removed meanwhile, because what they did is among the changes. Foreign keys must be
    off.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tables = {table.name: table for table in shared_tables(connection)}
        self._triggers: list[tuple[str, str]] = []

    def __enter__(self) -> ChangeWriter:
        self._triggers = self._connection.execute(
            "SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in self._triggers:
            self._connection.execute(f"DROP TRIGGER main.{_quoted(name)}")
        return self

    def __exit__(self, *error: object) -> None:
        if self._connection.in_transaction:
            for _, sql in self._triggers:
                self._connection.execute(sql)

    def write(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Write the changes of one segment, as `to_document` returned them.

        Raises StateDamaged for a table or a column that the schema does not have, and for values of other kinds.
        """
        parsed = [self._parsed(document) for document in documents]
        try:
            self._write(parsed)
        except (OverflowError, UnicodeEncodeError, sqlite3.IntegrityError) as error:
            raise damaged(f"a segment of its log has a value that no table holds ({error})") from None

    def _write(self, parsed: Iterable[tuple[Table, list[str], list[Row], list[Row]]]) -> None:
        parsed = list(parsed)
        for table, _, _, gone in parsed:
            condition = " AND ".join(f"{column} = ?" for column in table.key)
            self._connection.executemany(f"DELETE FROM main.{table.name} WHERE {condition}", gone)
        for table, columns, rows, _ in parsed:
            # A row that holds a unique value of this one changes in the same segment, or is gone.
            places = ", ".join("?" * len(columns))
            self._connection.executemany(
                f"INSERT OR REPLACE INTO main.{table.name} ({', '.join(columns)}) VALUES ({places})", rows
            )

    def _parsed(self, document: Mapping[str, Any]) -> tuple[Table, list[str], list[Row], list[Row]]:
        """Check one table of a segment against the schema. Nothing of it reaches SQL but names that the schema has."""
        try:
            table = self._tables[document["table"]]
            columns = list(document["columns"])
            if tuple(document["key"]) != table.key or not set(table.key) <= set(columns) <= set(table.columns):
                raise ValueError("other columns")
            rows = [tuple(map(_from_json, row)) for row in document["rows"]]
            gone = [tuple(map(_from_json, key)) for key in document["gone"]]
            if any(len(row) != len(columns) for row in rows) or any(len(key) != len(table.key) for key in gone):
                raise ValueError("too few values")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(f"a segment of its log has changes that the tables do not fit ({error})") from None
        return table, columns, rows, gone


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextlib.contextmanager
def rewriting(connection: sqlite3.Connection) -> Iterator[ChangeWriter]:
    """Run the block as one transaction that writes changes, whole tables or nothing."""
    # A transaction cannot switch them off. The rows of a change satisfy them only together.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        with transaction(connection), ChangeWriter(connection) as writer:
            yield writer
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def copy_tables(connection: sqlite3.Connection, schema: str) -> None:
    """Replace all shared rows of a working copy with those of an attached database with the same tables.

    Call it inside a transaction, in a `ChangeWriter`. Caches, and notes about this copy, stay.
    """
    for table in shared_tables(connection):
        kept = _condition(table)
        columns = ", ".join(table.columns)
        connection.execute(f"DELETE FROM main.{table.name}{kept}")
        connection.execute(
            f"INSERT INTO main.{table.name} ({columns}) SELECT {columns} FROM {schema}.{table.name}{kept}"
        )


def clear_tables(connection: sqlite3.Connection) -> None:
    """Delete all shared rows of a working copy. Call it inside a transaction, in a `ChangeWriter`."""
    for table in shared_tables(connection):
        kept = _condition(table)
        connection.execute(f"DELETE FROM main.{table.name}{kept}")


def _condition(table: Table) -> str:
    return f" WHERE {_OF_META.format(row='')}" if table.name == "meta" else ""


def damaged(what: str, where: str | None = None) -> StateDamaged:
    """Return the error for a shared state that cannot be read. `what` is a clause."""
    return StateDamaged(
        f"the shared state is damaged: {what}",
        where=where,
        remedy="Restore a backup with 'metalake-sync state push', or build a new state from the lake with"
        " 'metalake-sync state rebuild MANIFEST'. It sends nothing.",
    )


def encoded(document: Mapping[str, Any]) -> bytes:
    """Return a document as compact JSON."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
