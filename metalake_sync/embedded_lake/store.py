"""The lake's database: one connection, and one transaction per request that writes.

Owns: transactions, ids and time. The modules for uploads, jobs, items, metadata, annotations and trash build on it.
Everything runs in the event loop's thread. Acknowledged changes are committed, so they survive a kill of the process.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlite_utils import Database

from metalake_sync.embedded_lake.folder import LakeFolder
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import not_acceptable
from metalake_sync.embedded_lake.settings import LakeSettings
from metalake_sync.embedded_lake.signing import Signer
from metalake_sync.embedded_lake.spellings import Spellings
from metalake_sync.embedded_lake.storage.address import FILE
from metalake_sync.embedded_lake.storage.files import FileStorage
from metalake_sync.embedded_lake.storage.ports import ObjectStorage
from metalake_sync.errors import StateError


class LakeStore:
    """Opens the folder of `settings`. Close it. `tables`: the same database with sqlite-utils, for small tables."""

    def __init__(self, settings: LakeSettings) -> None:
        self.quirks = settings.quirks
        self._folder = LakeFolder(settings.dir)
        self.db: sqlite3.Connection = self._folder.connection
        try:
            self.tables = Database(self.db)
            self._check_storage(settings)
            self.spellings = Spellings(self.db, settings.quirks)
            self.signer = Signer(self._signing_key(), settings.url_lifetime_s)
            self.storage = self._open_storage(settings)
        except BaseException:
            self._folder.close()
            raise
        self.job_delay_s = settings.job_delay_s

    @property
    def keeps_trashed_names(self) -> bool:
        """Whether the names of trashed files and collections remain reserved."""
        return not self.quirks.isdisjoint({Quirk.TRASHED_NAMES_TAKEN, Quirk.TRASHED_NAMES_REFUSED})

    def new_id(self) -> str:
        """Return a new id: 24 hex digits, from the time and random. With the quirk, an opaque text."""
        if Quirk.OPAQUE_IDS in self.quirks:
            return f"{secrets.token_urlsafe(12)}.{secrets.token_hex(2)}"
        return f"{int(time.time()) & 0xFFFFFFFF:08x}{secrets.token_hex(8)}"

    def close(self) -> None:
        self.storage.close()
        self._folder.close()

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run the block in a transaction."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    def _open_storage(self, settings: LakeSettings) -> ObjectStorage:
        if settings.storage is None:
            return FileStorage(settings.dir, self.db, self.signer)
        from metalake_sync.embedded_lake.storage.opening import open_bucket

        return open_bucket(settings.storage, settings.url_lifetime_s)

    def _check_storage(self, settings: LakeSettings) -> None:
        """Raise StateError if the lake's objects are not where these settings say."""
        # A lake with objects and without this row is from before buckets were supported.
        before = self._setting("storage", lambda: FILE if self.db.execute("SELECT 1 FROM uploads").fetchone() else None)
        wanted = str(settings.storage) if settings.storage else FILE
        if before is None:
            self._setting("storage", lambda: wanted)
        elif before != wanted:
            raise StateError(
                f"the lake's objects are in {before}, not in {wanted}",
                where=str(settings.dir),
                remedy="Serve it with its original storage, or use another --dir.",
            )

    def _signing_key(self) -> bytes:
        key = self._setting("signing_key", lambda: secrets.token_hex(32))
        assert key is not None
        return bytes.fromhex(key)

    def _setting(self, key: str, first: Callable[[], str | None]) -> str | None:
        """Return a setting. If it is not set, set it to `first()`, if that returns a value."""
        row = self.db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return str(row[0])
        value = first()
        if value is not None:
            self.db.execute("INSERT INTO settings (key, value) VALUES (?, ?)", (key, value))
        return value


def now() -> float:
    return time.time()


def iso_time(seconds: float) -> str:
    """Return a time in the form of the lake's answers: 2026-01-31T12:00:00.000Z."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_json(value: object) -> str:
    """Return JSON for the database. Rejects numbers that are not finite."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        raise not_acceptable("A number is not finite") from None


def merged(metadata: str, update: Mapping[str, Any]) -> str:
    """Return stored metadata with an update: fields are merged, and Tags replaced as a whole."""
    return to_json({**json.loads(metadata), **update})
