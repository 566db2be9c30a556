"""Migrations that came after shared states: they may add, and rewrite no row.

Segments of the log are as old as their runs. A machine with a later version replays them into its own tables. A
migration that rewrites rows would not reach them: its rows would come back in the old form. Such a migration needs a
new snapshot of every shared state first, which is not built.
"""

from __future__ import annotations

import re
import sqlite3

import pytest

from metalake_sync.state.schema import MIGRATIONS, Migration

BEFORE_SHARED_STATES = "run_places_2026_11_30"
"""The newest migration of the first version that had shared states."""

NAMES = [migration.__name__ for migration in MIGRATIONS]
LATER = MIGRATIONS[NAMES.index(BEFORE_SHARED_STATES) + 1 :]

ADDS = re.compile(
    r"CREATE (TABLE|INDEX|UNIQUE INDEX|TRIGGER)\b|DROP (INDEX|TRIGGER)\b|ALTER TABLE \w+ ADD COLUMN\b",
    re.IGNORECASE,
)


class Statements:
    """Carries out the statements of a migration, and keeps them."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.made: list[str] = []

    def execute(self, sql: str, /) -> object:
        self.made.append(" ".join(sql.split()))
        return self.connection.execute(sql)


def rewrites(migration: Migration) -> list[str]:
    """The statements of a migration that do not only add."""
    statements = Statements()
    for earlier in MIGRATIONS:
        if earlier is migration:
            break
        earlier(statements)
    statements.made.clear()
    migration(statements)
    statements.connection.close()
    return [sql for sql in statements.made if not ADDS.match(sql)]


@pytest.mark.parametrize("migration", LATER, ids=lambda one: one.__name__)
def test_a_later_migration_rewrites_no_row(migration: Migration) -> None:
    assert rewrites(migration) == []


def test_the_check_finds_a_rewriting_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    def shortens_names(db: Statements) -> None:
        db.execute("ALTER TABLE runs ADD COLUMN more TEXT")
        db.execute("UPDATE runs SET id = substr(id, 1, 8)")

    assert rewrites(shortens_names) == ["UPDATE runs SET id = substr(id, 1, 8)"]  # type: ignore[arg-type]


def test_a_later_column_has_a_default_for_older_segments() -> None:
    """A segment has the columns of its own version: the others get their defaults."""
    before, after = (sqlite3.connect(":memory:", isolation_level=None) for _ in range(2))
    for connection, migrations in ((before, MIGRATIONS[: -len(LATER) or None]), (after, MIGRATIONS)):
        for migration in migrations:
            migration(connection)
    old = {
        (table, column)
        for (table,) in before.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (column,) in before.execute("SELECT name FROM pragma_table_info(?)", (table,))
    }
    for table in {table for table, _ in old}:
        for name, required, default, key in after.execute(
            'SELECT name, "notnull", dflt_value, pk FROM pragma_table_info(?)', (table,)
        ):
            if (table, name) not in old:
                assert not key
                assert default is not None or not required, f"{table}.{name}"
    before.close()
    after.close()
