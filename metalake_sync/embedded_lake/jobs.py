"""Jobs of completed upload sessions: when a job is done, the session's files appear in the collection.

Owns: jobs, and how an upload becomes an item. Jobs are in the database and are finished lazily, at the first request
after they are due, so a restart loses nothing.
"""

from __future__ import annotations

import json
import sqlite3

from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import not_found
from metalake_sync.embedded_lake.store import LakeStore, merged, now, to_json
from metalake_sync.protocol.wire import JobStatus

_NEVER = float("inf")

# Files of a session whose name another session has added to the collection in the meantime.
_LOST = """
SELECT {blob} FROM uploads u WHERE u.upload_id = ? AND u.unique_name IS NOT NULL AND u.shown = 0
AND EXISTS (SELECT 1 FROM items i WHERE i.collection = ? AND i.name = u.name AND i.trashed = 0)
"""

# All others become items. `new_id` is the store's.
_SHOW = """
INSERT INTO items
  (id, collection, kind, name, unique_name, storage_path, blob, size_bytes, metadata, created, updated)
SELECT new_id(), ?, ?,
  u.name, u.unique_name, u.file_key, {blob}, u.size_bytes, ?, ?, ?
FROM uploads u WHERE u.upload_id = ? AND u.unique_name IS NOT NULL AND u.shown = 0
AND NOT EXISTS (SELECT 1 FROM items i WHERE i.collection = ? AND i.name = u.name AND i.trashed = 0)
ORDER BY u.name
"""


class Jobs:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db
        self._next_due = 0.0
        self._db.create_function("new_id", 0, store.new_id)
        self._blob = "u.file_key" if store.storage.keys_are_names else "u.file_id"
        self._to_fail: set[str] = set()
        self._delays_s: dict[str, float] = {}
        """For fault plans: additional seconds of jobs, by session. `_to_fail` has the sessions whose job fails."""

    def finalized_blobs(self, upload_id: str) -> list[str]:
        """Return the objects of a session that have not become items yet."""
        rows = self._db.execute(
            f"SELECT {self._blob} FROM uploads u WHERE upload_id = ? AND size_bytes IS NOT NULL AND shown = 0",  # noqa: S608
            (upload_id,),
        )
        return [blob for (blob,) in rows]

    def complete(self, upload_id: str) -> list[str]:
        """Start the session's job. Returns the unique names that its files have, or will have when the job is done.

        A session may be completed again, which also adds the files that were finalized in between.
        """
        collection, path, job_id, names = self._session(upload_id)
        time = now()
        due = time + self._store.job_delay_s + self._delays_s.pop(upload_id, 0.0)
        with self._store.write() as db:
            waiting = db.execute(
                "SELECT file_id, name, file_key FROM uploads WHERE upload_id = ? AND size_bytes IS NOT NULL"
                " AND unique_name IS NULL",
                (upload_id,),
            ).fetchall()
            db.executemany(
                "UPDATE uploads SET unique_name = ? WHERE file_id = ?",
                (
                    (unique_name_for(self._store, collection, path, name, key), file_id)
                    for file_id, name, key in waiting
                ),
            )
            db.execute(
                "UPDATE jobs SET status = ?, started = ?, due = ? WHERE id = ? AND (status = ? OR (status = ? AND ?))",
                (
                    JobStatus.IN_PROGRESS,
                    time,
                    due,
                    job_id,
                    JobStatus.QUEUED,
                    JobStatus.COMPLETED,
                    bool(waiting),
                ),
            )
        self._next_due = min(self._next_due, due)
        self.settle()
        return self._unique_names(upload_id, collection, names)

    def let_fail(self, upload_id: str) -> None:
        """Make the job of a session fail when the session is completed."""
        self._to_fail.add(upload_id)

    def delay(self, upload_id: str, seconds: float | None) -> None:
        """Extend the job of a session when the session is completed. None means forever."""
        self._delays_s[upload_id] = _NEVER if seconds is None else seconds

    def settle(self) -> None:
        """Finish the jobs that are due. Called before every request."""
        time = now()
        if time < self._next_due:
            return
        due = self._db.execute(
            "SELECT id, upload_id FROM jobs WHERE status = 1 AND due <= ? ORDER BY due, id", (time,)
        ).fetchall()
        for job_id, upload_id in due:
            with self._store.write() as db:
                status, lost = self._finish(db, upload_id)
                db.execute("UPDATE jobs SET status = ? WHERE id = ?", (status, job_id))
            self._store.storage.discard(lost)
        (next_due,) = self._db.execute("SELECT min(due) FROM jobs WHERE status = 1").fetchone()
        self._next_due = _NEVER if next_due is None else next_due

    def status(self, job_id: str) -> tuple[JobStatus, float]:
        """Return a job's status and its progress in percent."""
        row = self._db.execute("SELECT status, started, due FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise not_found("No such job")
        status = JobStatus(row[0])
        if status is JobStatus.IN_PROGRESS:
            share = (now() - row[1]) / max(row[2] - row[1], 1e-9)
            return status, round(min(99.0, max(0.0, 100 * share)), 2)
        return status, 0.0 if status is JobStatus.QUEUED else 100.0

    def upload_progress(self, collection_name: str) -> float | None:
        """Return the percentage of finalized files in a collection's sessions, or None without a session."""
        row = self._db.execute(
            "SELECT count(u.size_bytes), count(*) FROM uploads u JOIN sessions s USING (upload_id)"
            " JOIN collections c ON c.id = s.collection WHERE c.name = ? AND c.trashed = 0",
            (collection_name,),
        ).fetchone()
        return round(100 * row[0] / row[1], 2) if row[1] else None

    def _finish(self, db: sqlite3.Connection, upload_id: str) -> tuple[JobStatus, list[str]]:
        """Turn a session's files into items. Returns the job's status, and the objects that are not needed."""
        collection, metadata, override, names, kind, trashed = db.execute(
            "SELECT s.collection, s.metadata, s.override, s.names, c.kind, c.trashed FROM sessions s"
            " JOIN collections c ON c.id = s.collection WHERE s.upload_id = ?",
            (upload_id,),
        ).fetchone()
        time = now()
        if trashed or upload_id in self._to_fail:
            self._to_fail.discard(upload_id)
            lost = self.finalized_blobs(upload_id)
            db.execute("UPDATE uploads SET shown = 1 WHERE upload_id = ?", (upload_id,))
            return JobStatus.FAILED, lost
        if override:
            self._override(db, collection, json.loads(metadata), names, time)
        lost = [blob for (blob,) in db.execute(_LOST.format(blob=self._blob), (upload_id, collection))]
        db.execute(_SHOW.format(blob=self._blob), (collection, kind, metadata, time, time, upload_id, collection))
        db.execute("UPDATE uploads SET shown = 1 WHERE upload_id = ? AND unique_name IS NOT NULL", (upload_id,))
        return JobStatus.COMPLETED, lost

    @staticmethod
    def _override(db: sqlite3.Connection, collection: str, update: dict[str, object], names: str, time: float) -> None:
        """Write the session's metadata to the existing files that it names."""
        there = db.execute(
            "SELECT i.id, i.metadata FROM json_each(?) n JOIN items i ON i.name = n.value"
            " WHERE i.collection = ? AND i.trashed = 0",
            (names, collection),
        ).fetchall()
        db.executemany(
            "UPDATE items SET metadata = ?, updated = ? WHERE id = ?",
            ((merged(metadata, update), time, item) for item, metadata in there),
        )

    def _unique_names(self, upload_id: str, collection: str, names: str) -> list[str]:
        begun = dict(
            self._db.execute(
                "SELECT name, unique_name FROM uploads WHERE upload_id = ? AND unique_name IS NOT NULL", (upload_id,)
            ).fetchall()
        )
        there = self._db.execute(
            "SELECT i.name, i.unique_name FROM items i WHERE i.collection = ?1 AND i.trashed = 0"
            " AND i.name IN (SELECT value FROM json_each(?2) UNION SELECT value FROM json_each(?3))",
            (collection, names, to_json(list(begun))),
        )
        begun.update(there.fetchall())
        return [begun[name] for name in sorted(begun)]

    def _session(self, upload_id: str) -> tuple[str, str, str, str]:
        row = self._db.execute(
            "SELECT s.collection, c.storage_path, s.job_id, s.names FROM sessions s"
            " JOIN collections c ON c.id = s.collection WHERE s.upload_id = ?",
            (upload_id,),
        ).fetchone()
        if row is None:
            raise not_found("No such upload session")
        return row[0], row[1], row[2], row[3]


def unique_name_for(store: LakeStore, collection: str, path: str, name: str, key: str) -> str:
    """Return a name that no other file of the lake has or will have.

    `path`: the collection's storage path. `key`: the file's own.
    """
    wanted = key if Quirk.UNIQUE_NAMES_ARE_PATHS in store.quirks else f"{path}_{name}"
    candidate, number = wanted, 0
    # Stated explicitly, so that SQLite uses the index of rows that are not trashed.
    not_trashed = "" if store.keeps_trashed_names else " AND trashed = 0"
    while store.db.execute(
        f"SELECT 1 FROM items WHERE unique_name = ?1{not_trashed} AND NOT (collection = ?2 AND name = ?3)"  # noqa: S608
        " UNION ALL SELECT 1 FROM uploads u JOIN sessions s USING (upload_id)"
        " WHERE u.unique_name = ?1 AND u.shown = 0 AND NOT (s.collection = ?2 AND u.name = ?3)",
        (candidate, collection, name),
    ).fetchone():
        number += 1
        candidate = f"{wanted}_{number}"
    return candidate
