"""The tables of the state, as a list of migrations.

Owns: migrations. Must not: read or write rows of other modules' tables. Every migration is one function. Its name is
recorded in users' states, so after a release it is neither renamed nor edited. A state with an unknown migration was
written by a newer version and is refused.

The table `_sqlite_migrations` belongs to sqlite-utils, which applies migrations to an older state. A new state gets the
same table from here, without sqlite-utils, because importing that library takes 30 ms (90 ms with numpy installed) and
`plan` may not load more for a new state than for an old one (tests/costs/test_start_costs.py). Released states have the
table, so it cannot be replaced either. tests/state/test_store.py compares both ways, so a change in sqlite-utils is
found.

Longer than 300 lines, because it is the whole history of the tables, in order.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Set
from datetime import UTC, datetime
from typing import Protocol

MIGRATION_SET = "metalake-sync"


class Executes(Protocol):
    """The part of a database that a migration uses. Both sqlite3 and sqlite-utils have it."""

    def execute(self, sql: str, /) -> object: ...


Migration = Callable[[Executes], None]

# Names and paths are TEXT if they are UTF-8, else BLOB (see `names`). Their columns have no declared type, so that
# SQLite does not convert them.
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
    """Execute statements one by one, because `executescript` would end the transaction."""
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
    """Markers of the last refresh of a collection that agreed with the records, and digests of sets as read back."""
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
    """Facts read from single files, and what was sent to unmanaged files."""
    _each(_SOURCES_AND_ADDRESSES, db)


def set_memo(db: Executes) -> None:
    """Parsed annotation sets by a key of what they were parsed from."""
    db.execute(
        "CREATE TABLE set_memo (key BLOB PRIMARY KEY, digest BLOB NOT NULL, shape_count INTEGER NOT NULL,"
        " labels TEXT NOT NULL, used_on INTEGER NOT NULL) WITHOUT ROWID"
    )


def made_room(db: Executes) -> None:
    """Files that were trashed for a replacement, and the tags that other clients had put on them."""
    db.execute(
        "CREATE TABLE made_room (collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,"
        " name NOT NULL, lake_id TEXT NOT NULL, tags TEXT NOT NULL, PRIMARY KEY (collection, name)) WITHOUT ROWID"
    )


def checked_downloads_2026_11_30(db: Executes) -> None:
    """Whether a downloaded file was compared with the lake's size or the store's MD5."""
    db.execute("ALTER TABLE downloads ADD COLUMN checked INTEGER NOT NULL DEFAULT 0")


def attached_runs_2026_11_30(db: Executes) -> None:
    """Model runs that were attached to projects of the annotation studio."""
    db.execute(
        "CREATE TABLE attached_runs (lake TEXT NOT NULL, operation TEXT NOT NULL, project TEXT NOT NULL,"
        " PRIMARY KEY (lake, operation, project)) WITHOUT ROWID"
    )


_ANNOTATION_BASES = """
CREATE TABLE annotation_bases (id INTEGER PRIMARY KEY, body BLOB NOT NULL);

CREATE TABLE shared_texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);

ALTER TABLE annotation_sets ADD COLUMN base INTEGER;

ALTER TABLE addressed_sets ADD COLUMN base INTEGER;

CREATE INDEX annotation_sets_without_base ON annotation_sets (file) WHERE base IS NULL AND shape_count > 0;

CREATE TRIGGER annotation_sets_deleted AFTER DELETE ON annotation_sets WHEN old.base IS NOT NULL
BEGIN DELETE FROM annotation_bases WHERE id = old.base; END;

CREATE TRIGGER annotation_sets_updated AFTER UPDATE OF base ON annotation_sets
WHEN old.base IS NOT NULL AND old.base IS NOT new.base
BEGIN DELETE FROM annotation_bases WHERE id = old.base; END;

CREATE TRIGGER addressed_sets_deleted AFTER DELETE ON addressed_sets WHEN old.base IS NOT NULL
BEGIN DELETE FROM annotation_bases WHERE id = old.base; END;

CREATE TRIGGER addressed_sets_updated AFTER UPDATE OF base ON addressed_sets
WHEN old.base IS NOT NULL AND old.base IS NOT new.base
BEGIN DELETE FROM annotation_bases WHERE id = old.base; END;
"""


def annotation_bases_2026_11_30(db: Executes) -> None:
    """The shapes of each confirmed set. A set without a base was recorded by an earlier version.

    The bodies are in a table of their own, so that a plan does not read them with the digests. Triggers delete a body
    with its set, whichever table and cascade deletes it.
    """
    _each(_ANNOTATION_BASES, db)


def kept_sets_2026_11_30(db: Executes) -> None:
    """The digest of another client's set that was kept in the lake in place of the manifest's."""
    db.execute("ALTER TABLE annotation_sets ADD COLUMN kept TEXT")
    db.execute("ALTER TABLE addressed_sets ADD COLUMN kept TEXT")


def run_provenance_2026_11_30(db: Executes) -> None:
    """Who started a run, where and with which command line, as JSON."""
    db.execute("ALTER TABLE runs ADD COLUMN provenance TEXT")


_RUN_SETS = """
ALTER TABLE annotation_bases ADD COLUMN in_history INTEGER NOT NULL DEFAULT 0;

CREATE TABLE run_sets (
    action INTEGER PRIMARY KEY REFERENCES run_actions (id) ON DELETE CASCADE,
    operation TEXT NOT NULL,
    before INTEGER,
    after INTEGER
);

DROP TRIGGER annotation_sets_deleted;

DROP TRIGGER annotation_sets_updated;

DROP TRIGGER addressed_sets_deleted;

DROP TRIGGER addressed_sets_updated;

CREATE TRIGGER annotation_sets_deleted AFTER DELETE ON annotation_sets WHEN old.base IS NOT NULL
BEGIN DELETE FROM annotation_bases WHERE id = old.base AND in_history = 0; END;

CREATE TRIGGER annotation_sets_updated AFTER UPDATE OF base ON annotation_sets
WHEN old.base IS NOT NULL AND old.base IS NOT new.base
BEGIN DELETE FROM annotation_bases WHERE id = old.base AND in_history = 0; END;

CREATE TRIGGER addressed_sets_deleted AFTER DELETE ON addressed_sets WHEN old.base IS NOT NULL
BEGIN DELETE FROM annotation_bases WHERE id = old.base AND in_history = 0; END;

CREATE TRIGGER addressed_sets_updated AFTER UPDATE OF base ON addressed_sets
WHEN old.base IS NOT NULL AND old.base IS NOT new.base
BEGIN DELETE FROM annotation_bases WHERE id = old.base AND in_history = 0; END;
"""


def run_sets_2026_11_30(db: Executes) -> None:
    """The shapes of each set before and after a run sent it. NULL: not known. 0: no set.

    The history shares the bodies of bases with the sets. A body in the history is not deleted with its set.
    """
    _each(_RUN_SETS, db)


_RUN_PLACES = """
ALTER TABLE runs ADD COLUMN lake TEXT;

ALTER TABLE run_actions ADD COLUMN type TEXT;

ALTER TABLE run_actions ADD COLUMN address TEXT;

ALTER TABLE run_actions ADD COLUMN confirmed TEXT;

ALTER TABLE run_sets ADD COLUMN kind TEXT;

ALTER TABLE run_sets ADD COLUMN confirmed INTEGER;
"""


def run_places_2026_11_30(db: Executes) -> None:
    """Where each action of a run found its file, and what the lake had confirmed to us before.

    `confirmed` is NULL where it is what the lake had. Otherwise another client had written what the lake had.
    """
    _each(_RUN_PLACES, db)


_DOWNLOADED_FILES = """
ALTER TABLE downloads ADD COLUMN written INTEGER NOT NULL DEFAULT 0;

CREATE TABLE download_files (
    lake TEXT NOT NULL,
    folder NOT NULL,
    path NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    PRIMARY KEY (lake, folder, path)
) WITHOUT ROWID;

CREATE TABLE download_classes (
    lake TEXT NOT NULL,
    folder NOT NULL,
    classes TEXT NOT NULL,
    PRIMARY KEY (lake, folder)
) WITHOUT ROWID;
"""


def download_files_2026_11_30(db: Executes) -> None:
    """What downloads wrote into their folders: annotation files, earlier names of files, and the order of class ids.

    `written` in `downloads` is 0 for files that were in the folder before. Older versions did not record which these
    are.
    `size_bytes` in `download_files` is -1 for a file that a run began to write.
    """
    _each(_DOWNLOADED_FILES, db)


_PENDING_WRITES = """
CREATE TABLE pending_sets (
    lake TEXT NOT NULL,
    place TEXT NOT NULL,
    operation TEXT NOT NULL,
    name NOT NULL,
    lake_id TEXT,
    kind TEXT NOT NULL,
    digest TEXT,
    shape_count INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    base INTEGER,
    kept TEXT,
    PRIMARY KEY (lake, place, operation, name)
) WITHOUT ROWID;

CREATE TABLE pending_metadata (
    lake TEXT NOT NULL,
    place TEXT NOT NULL,
    name NOT NULL,
    lake_id TEXT,
    sent_digest TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (lake, place, name)
) WITHOUT ROWID;
"""


def pending_writes_2026_12_01(db: Executes) -> None:
    """Annotation sets and metadata that were sent and that the lake has not confirmed yet.

    `digest`: of what to record then; NULL for a set whose record is deleted. `sent`, `base` of a set: its shapes in
    `annotation_bases`, and those to record where they differ. `kept`: as in the tables of sets. `sent_digest` of
    metadata: of the fields that were written.
    """
    _each(_PENDING_WRITES, db)


MIGRATIONS: tuple[Migration, ...] = (
    first_tables,
    downloads,
    what_was_seen,
    sources_and_addresses,
    set_memo,
    made_room,
    checked_downloads_2026_11_30,
    attached_runs_2026_11_30,
    annotation_bases_2026_11_30,
    kept_sets_2026_11_30,
    run_provenance_2026_11_30,
    run_sets_2026_11_30,
    run_places_2026_11_30,
    download_files_2026_11_30,
    pending_writes_2026_12_01,
)
"""Oldest first. States record them by function name."""


def applied_migrations(connection: sqlite3.Connection) -> set[str]:
    """Return the names of the migrations that were applied to a state."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return set()
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (MIGRATION_SET,))
    return {name for (name,) in rows}


def schema_of(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """Return the tables, indexes and triggers of a state: type, name, and the statement that makes it."""
    rows = connection.execute("SELECT type, name, sql FROM main.sqlite_master WHERE sql IS NOT NULL")
    return {(kind, name, " ".join(sql.split())) for kind, name, sql in rows}


def schema_after(applied: Set[str]) -> set[tuple[str, str, str]]:
    """Return the schema of a state to which these migrations were applied."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for migration in MIGRATIONS:
            if migration.__name__ in applied:
                migration(connection)
        _each(_MIGRATIONS_TABLE, connection)
        return schema_of(connection)


# As sqlite-utils creates it (see above).
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
    """Create the tables of a new state in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another command may have created them since the caller looked.
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
    """Apply the migrations that are missing in an older state."""
    from sqlite_utils import Database, Migrations

    migrations = Migrations(MIGRATION_SET)
    for migration in MIGRATIONS:
        migrations(name=migration.__name__)(migration)
    migrations.apply(Database(connection))
