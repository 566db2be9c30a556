"""The tables, and how older ones become newer ones.

Owns: migrations. Must not: read or write rows. Every migration is a function of its own and is never edited after a
release; a state that holds a migration unknown here was written by a newer version and is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

MIGRATION_SET = "metalake-sync"


class Executes(Protocol):
    """As much of a database as a migration needs."""

    def execute(self, sql: str, /) -> object: ...


Migration = Callable[[Executes], None]

# Names and paths are TEXT where they are UTF-8 and BLOB where they are not (see `names`); so those columns have no
# declared type, which keeps SQLite from converting them.
_FIRST_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE collections (
    id INTEGER PRIMARY KEY,
    lake TEXT NOT NULL,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    lake_id TEXT NOT NULL,
    storage_path TEXT NOT NULL,
    head_digest TEXT,
    UNIQUE (lake, type, name)
);

CREATE TABLE metadata_sets (digest TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    folder NOT NULL,
    filename NOT NULL,
    name NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    metadata_digest TEXT NOT NULL,
    lake_id TEXT NOT NULL,
    unique_name TEXT NOT NULL,
    origin TEXT NOT NULL,
    run_id TEXT NOT NULL,
    UNIQUE (collection, name)
);
CREATE INDEX files_by_folder ON files (collection, folder, filename);

CREATE TABLE annotation_sets (
    file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    operation TEXT NOT NULL,
    kind TEXT NOT NULL,
    digest TEXT NOT NULL,
    shape_count INTEGER NOT NULL,
    PRIMARY KEY (file, operation)
) WITHOUT ROWID;

CREATE TABLE hash_cache (
    path PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    content_hash TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE upload_sessions (
    upload_id TEXT PRIMARY KEY,
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    job_id TEXT NOT NULL,
    storage TEXT NOT NULL,
    metadata_digest TEXT NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE upload_files (
    upload_id TEXT NOT NULL REFERENCES upload_sessions (upload_id) ON DELETE CASCADE,
    name NOT NULL,
    path NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    file_id TEXT,
    file_key TEXT,
    part_size INTEGER,
    content_hash TEXT,
    sent INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (upload_id, name)
) WITHOUT ROWID;

CREATE TABLE upload_parts (
    file_id TEXT NOT NULL,
    part_number INTEGER NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (file_id, part_number)
) WITHOUT ROWID;

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    command TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    outcome TEXT,
    summary TEXT
) WITHOUT ROWID;

CREATE TABLE run_actions (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    action TEXT NOT NULL,
    collection TEXT NOT NULL,
    file,
    reason TEXT NOT NULL,
    before TEXT,
    after TEXT
);
CREATE INDEX run_actions_by_run ON run_actions (run_id);

CREATE TABLE failures (
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    name NOT NULL,
    action TEXT NOT NULL,
    error TEXT NOT NULL,
    retryable INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (collection, name, action)
) WITHOUT ROWID;
"""


def _each(statements: str, db: Executes) -> None:
    """Execute statements one by one: `executescript` would end the transaction."""
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)


def first_tables(db: Executes) -> None:
    _each(_FIRST_TABLES, db)


def downloads(db: Executes) -> None:
    db.execute(
        "CREATE TABLE downloads (lake TEXT NOT NULL, folder NOT NULL, unique_name TEXT NOT NULL, lake_id TEXT NOT NULL,"
        " filename NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,"
        " ctime_ns INTEGER NOT NULL, PRIMARY KEY (lake, folder, unique_name)) WITHOUT ROWID"
    )


def what_was_seen(db: Executes) -> None:
    """Markers of the last look at a collection that agreed with the records, and what the lake gave back for a set."""
    db.execute("ALTER TABLE collections ADD COLUMN listed_count INTEGER")
    db.execute("ALTER TABLE collections ADD COLUMN listed_newest TEXT")
    db.execute("ALTER TABLE collections ADD COLUMN looked_until TEXT")
    db.execute("ALTER TABLE annotation_sets ADD COLUMN seen TEXT")


_SOURCES_AND_ADDRESSES = """
CREATE TABLE readings (
    path NOT NULL,
    reader TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (path, reader)
) WITHOUT ROWID;

CREATE TABLE addressed_sets (
    lake TEXT NOT NULL,
    address TEXT NOT NULL,
    operation TEXT NOT NULL,
    entry NOT NULL,
    kind TEXT NOT NULL,
    digest TEXT NOT NULL,
    shape_count INTEGER NOT NULL,
    lake_id TEXT,
    PRIMARY KEY (lake, address, operation, entry)
) WITHOUT ROWID;

CREATE TABLE addressed_metadata (
    lake TEXT NOT NULL,
    address TEXT NOT NULL,
    entry NOT NULL,
    digest TEXT NOT NULL,
    lake_id TEXT,
    PRIMARY KEY (lake, address, entry)
) WITHOUT ROWID;
"""


def sources_and_addresses(db: Executes) -> None:
    """What was read from single files, and what was sent to files that the manifest does not upload."""
    _each(_SOURCES_AND_ADDRESSES, db)


def set_memo(db: Executes) -> None:
    """What became of the shapes in annotation sources, by what they were read from."""
    db.execute(
        "CREATE TABLE set_memo (key BLOB PRIMARY KEY, digest BLOB NOT NULL, shape_count INTEGER NOT NULL,"
        " labels TEXT NOT NULL, used_on INTEGER NOT NULL) WITHOUT ROWID"
    )


def made_room(db: Executes) -> None:
    """Files that were trashed to be replaced, and the Tags that others had set on them."""
    db.execute(
        "CREATE TABLE made_room (collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,"
        " name NOT NULL, lake_id TEXT NOT NULL, tags TEXT NOT NULL, PRIMARY KEY (collection, name)) WITHOUT ROWID"
    )


def checked_downloads_2026_11_30(db: Executes) -> None:
    """Whether a downloaded file was compared with the lake's size or the store's MD5, as older versions did not."""
    db.execute("ALTER TABLE downloads ADD COLUMN checked INTEGER NOT NULL DEFAULT 0")


def attached_runs_2026_11_30(db: Executes) -> None:
    """Model runs that were attached to projects of the annotation studio."""
    db.execute(
        "CREATE TABLE attached_runs (lake TEXT NOT NULL, operation TEXT NOT NULL, project TEXT NOT NULL,"
        " PRIMARY KEY (lake, operation, project)) WITHOUT ROWID"
    )


MIGRATIONS: tuple[Migration, ...] = (
    first_tables,
    downloads,
    what_was_seen,
    sources_and_addresses,
    set_memo,
    made_room,
    checked_downloads_2026_11_30,
    attached_runs_2026_11_30,
)
"""Oldest first. Each is known by its function's name."""


def applied_migrations(connection: sqlite3.Connection) -> set[str]:
    """The names of those that a state has seen; empty for a new one."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return set()
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (MIGRATION_SET,))
    return {name for (name,) in rows}


# As sqlite-utils makes it.
_MIGRATIONS_TABLE = """
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
"""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of a new state, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another command may have made them meanwhile.
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            for migration in MIGRATIONS:
                migration(connection)
            _each(_MIGRATIONS_TABLE, connection)
            now = str(datetime.now(UTC))
            connection.executemany(
                "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)",
                [(MIGRATION_SET, migration.__name__, now) for migration in MIGRATIONS],
            )
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that a state has not seen."""
    # A state that is new or up to date does without: this import takes 30 ms; where numpy is installed, 90.
    from sqlite_utils import Database, Migrations

    migrations = Migrations(MIGRATION_SET)
    for migration in MIGRATIONS:
        migrations(name=migration.__name__)(migration)
    migrations.apply(Database(connection))
