"""The tables of the embedded lake, and their migrations.

Owns: the version of a lake's database. Must not: read or write rows. A released migration is never edited.
"""

from __future__ import annotations

import sqlite3

from metalake_sync.errors import StateError

DATABASE = "lake.db"
"""The name of the database in the lake's folder."""

APPLICATION_ID = 0x4D4C616B
"""Identifies a database as a lake's, in the header of the SQLite file."""

_FIRST_TABLES = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE collections (
    id TEXT PRIMARY KEY,
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    storage_path TEXT NOT NULL,
    prefix TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    trashed INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX collection_names ON collections (kind, name) WHERE trashed = 0;
CREATE UNIQUE INDEX collection_paths ON collections (storage_path) WHERE trashed = 0;

CREATE TABLE items (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    collection TEXT NOT NULL REFERENCES collections (id),
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    unique_name TEXT NOT NULL,
    storage_path TEXT NOT NULL,
    blob TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    trashed INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX item_names ON items (collection, name) WHERE trashed = 0;
CREATE UNIQUE INDEX item_unique_names ON items (unique_name) WHERE trashed = 0;
CREATE INDEX item_storage_paths ON items (storage_path) WHERE trashed = 0;
CREATE INDEX items_by_age ON items (collection, created, seq) WHERE trashed = 0;
CREATE INDEX items_by_change ON items (collection, updated, seq) WHERE trashed = 0;
CREATE INDEX all_items_by_age ON items (kind, created, seq) WHERE trashed = 0;
CREATE INDEX all_items_by_change ON items (kind, updated, seq) WHERE trashed = 0;

CREATE TABLE sessions (
    upload_id TEXT PRIMARY KEY,
    collection TEXT NOT NULL REFERENCES collections (id),
    job_id TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    metadata TEXT NOT NULL,
    override INTEGER NOT NULL,
    names TEXT NOT NULL,
    opened REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_of_collections ON sessions (collection);

-- `size_bytes` is there once the file is finalized, `unique_name` once its session is completed; `shown` is 1 once its
-- job has put it into the collection, or found that the name was taken meanwhile.
CREATE TABLE uploads (
    file_id TEXT PRIMARY KEY,
    upload_id TEXT NOT NULL REFERENCES sessions (upload_id),
    name TEXT NOT NULL,
    file_key TEXT NOT NULL,
    size_bytes INTEGER,
    unique_name TEXT,
    shown INTEGER NOT NULL DEFAULT 0,
    UNIQUE (upload_id, name)
) WITHOUT ROWID;
CREATE INDEX reserved_unique_names ON uploads (unique_name) WHERE unique_name IS NOT NULL AND shown = 0;

CREATE TABLE parts (
    file_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    etag TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (file_id, number)
) WITHOUT ROWID;

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    upload_id TEXT NOT NULL REFERENCES sessions (upload_id),
    status INTEGER NOT NULL,
    started REAL,
    due REAL
) WITHOUT ROWID;
CREATE INDEX jobs_under_way ON jobs (due) WHERE status = 1;

CREATE TABLE labels (label TEXT PRIMARY KEY, ref TEXT NOT NULL, color TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE label_attributes (
    label TEXT NOT NULL,
    name TEXT NOT NULL,
    ref TEXT NOT NULL,
    PRIMARY KEY (label, name)
) WITHOUT ROWID;
CREATE TABLE label_values (
    attribute TEXT NOT NULL,
    value TEXT NOT NULL,
    ref TEXT NOT NULL,
    PRIMARY KEY (attribute, value)
) WITHOUT ROWID;

CREATE TABLE annotation_sets (
    item TEXT NOT NULL REFERENCES items (id),
    operation TEXT NOT NULL,
    mode INTEGER NOT NULL,
    shapes TEXT NOT NULL,
    PRIMARY KEY (item, operation)
) WITHOUT ROWID;
CREATE TABLE annotation_labels (
    item TEXT NOT NULL,
    operation TEXT NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (item, operation, label)
) WITHOUT ROWID;
CREATE INDEX items_by_label ON annotation_labels (label, item);

CREATE TABLE selections (
    tag TEXT PRIMARY KEY,
    items TEXT NOT NULL,
    collections TEXT NOT NULL,
    missing INTEGER NOT NULL,
    outcome TEXT
) WITHOUT ROWID;

CREATE TABLE client_jobs (session_id TEXT PRIMARY KEY, report TEXT NOT NULL) WITHOUT ROWID;
"""

# `ticket`: how the store of a bucket knows an upload. `bucket`: NULL is the lake's own. A size of NULL: not an image.
_BUCKETS = """
ALTER TABLE uploads ADD COLUMN ticket TEXT NOT NULL DEFAULT '';
CREATE INDEX uploads_by_key ON uploads (file_key);

ALTER TABLE items ADD COLUMN bucket TEXT;
CREATE INDEX items_by_blob ON items (blob);
DROP INDEX item_storage_paths;
CREATE INDEX item_storage_paths ON items (storage_path);

CREATE TABLE picture_sizes (blob TEXT PRIMARY KEY, width INTEGER, height INTEGER) WITHOUT ROWID;
"""

# The ETag that S3 would give for an object in a file.
_ETAGS = """
CREATE TABLE object_etags (blob TEXT PRIMARY KEY, etag TEXT NOT NULL) WITHOUT ROWID;
"""

# The members of a virtual collection belong to other collections. Collections of videos may share a name. `spellings`:
# the first spelling of each tag (kind 'tag') and metadata field (kind 'field'), by normal form;
# `embedded_lake.names` fills it for existing metadata.
_GENERATION_3 = """
ALTER TABLE collections ADD COLUMN virtual INTEGER NOT NULL DEFAULT 0;
CREATE TABLE virtual_members (
    collection TEXT NOT NULL REFERENCES collections (id),
    item TEXT NOT NULL REFERENCES items (id),
    PRIMARY KEY (collection, item)
) WITHOUT ROWID;

DROP INDEX collection_names;
CREATE UNIQUE INDEX collection_names ON collections (kind, name) WHERE trashed = 0 AND kind <> 4;
CREATE INDEX collections_by_name ON collections (kind, name);

CREATE TABLE spellings (
    kind TEXT NOT NULL,
    normal TEXT NOT NULL,
    spelling TEXT NOT NULL,
    PRIMARY KEY (kind, normal)
) WITHOUT ROWID;
INSERT INTO settings (key, value) SELECT 'spellings_to_fill', '1' WHERE EXISTS (SELECT 1 FROM collections);
"""

# Model runs that are attached to projects of the annotation studio.
_STUDIO = """
CREATE TABLE attached_runs (
    project TEXT NOT NULL,
    operation TEXT NOT NULL,
    PRIMARY KEY (project, operation)
) WITHOUT ROWID;
"""

_STEPS = (_FIRST_TABLES, _BUCKETS, _ETAGS, _GENERATION_3, _STUDIO)


def bring_up_to_date(connection: sqlite3.Connection, where: str) -> None:
    """Create the tables of a new database, or migrate an older one.

    Raises StateError if the database is not a lake's, or was written by a newer version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise StateError("the database is not a lake's", where=where, remedy="Use a separate folder for the lake.")
    if version > len(_STEPS):
        raise StateError(
            "the lake was written by a newer version of metalake-sync",
            where=where,
            remedy="Update metalake-sync, or use another folder.",
        )
    for number, step in enumerate(_STEPS[version:], start=version + 1):
        pragmas = f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {number};"
        connection.executescript(f"BEGIN IMMEDIATE;\n{step}\n{pragmas}\nCOMMIT;")
