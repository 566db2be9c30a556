"""Finds the files that pages of metadata and annotations address: by name in a collection or an upload, by storage path
in a bucket, or by unique name.

A missing file is not an error, because a page is written for the files that exist.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from metalake_sync.embedded_lake.rejections import not_acceptable, not_found

DEFAULT_BUCKET = "DEFAULT"

Lookup = Callable[[str], str | None]
"""Returns the item's id for an address, or None."""


def by_unique_name(db: sqlite3.Connection) -> Lookup:
    return lambda unique_name: _one(db, "unique_name = ?", unique_name)


def by_storage_path(db: sqlite3.Connection, bucket: str | None, own_bucket: str) -> Lookup:
    """Find files by storage path. `bucket`: None is the lake's own, which can also be addressed by its name.

    The published client writes some paths with a leading slash, some without.
    """
    if bucket in (None, "", DEFAULT_BUCKET, own_bucket):
        return lambda path: _one(db, "storage_path = ? AND bucket IS NULL", path.lstrip("/"))
    if db.execute("SELECT 1 FROM items WHERE bucket = ? AND trashed = 0", (bucket,)).fetchone() is None:
        raise not_acceptable(f"No such bucket: {bucket!r}")
    return lambda path: _one(db, "storage_path = ? AND bucket = ?", path.lstrip("/"), str(bucket))


def by_name(db: sqlite3.Connection, collection: str) -> Lookup:
    return lambda name: _one(db, "collection = ? AND name = ?", collection, name)


def by_job(db: sqlite3.Connection, job_id: str) -> Lookup:
    """Find files by name in the upload of a job: those that its session named or began, sent or existing."""
    session = db.execute("SELECT upload_id, collection, names FROM sessions WHERE job_id = ?", (job_id,)).fetchone()
    if session is None:
        raise not_found("No such job")
    upload_id, collection, names = session
    names_of_job = {
        name
        for (name,) in db.execute(
            "SELECT value FROM json_each(?) UNION SELECT name FROM uploads WHERE upload_id = ?", (names, upload_id)
        )
    }
    in_collection = by_name(db, collection)
    return lambda name: in_collection(name) if name in names_of_job else None


def _one(db: sqlite3.Connection, condition: str, *values: str) -> str | None:
    row = db.execute(f"SELECT id FROM items WHERE {condition} AND trashed = 0", values).fetchone()  # noqa: S608
    return str(row[0]) if row else None
