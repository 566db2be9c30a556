"""The folder and the database of a lake: used by one server at a time, private to its owner.

Owns: the lock, permissions, opening the database, transactions (one per request that writes), ids and time. The modules
for uploads, jobs, items, annotations and selections build on it. Everything runs in the event loop's thread.
Acknowledged changes are committed, so they survive a kill of the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
from sqlite_utils import Database

from metalake_sync.embedded_lake import LakeSettings
from metalake_sync.embedded_lake.names import Spellings
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import not_acceptable
from metalake_sync.embedded_lake.schema import DATABASE, bring_up_to_date
from metalake_sync.embedded_lake.storage.files import FileStorage, Signer
from metalake_sync.embedded_lake.storage.interface import FILE, ObjectStorage
from metalake_sync.errors import StateError, StateLocked

_LOCK = "server.lock"
_NOTE = "server.json"
_OWN_NAMES = frozenset({DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", _LOCK, _NOTE, "objects", "parts"})


class LakeFolder:
    """Opens a lake's folder for one server. Close it. `connection` is its database.

    Raises StateLocked if another server uses the folder, StateError if it is unusable or contains other files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path / _NOTE
        self._lock = filelock.FileLock(path / _LOCK, mode=0o600, thread_local=False)
        try:
            self._prepare()
            self._take_lock()
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            self._leave_note()
            self.connection = self._open()
        except OSError as error:
            self._lock.release()
            raise _unusable(path, error) from error
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        self.connection.close()
        self._note.unlink(missing_ok=True)
        self._lock.release()

    def _prepare(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        present = set(os.listdir(self.path))
        if DATABASE not in present and present - _OWN_NAMES:
            raise StateError(
                "the folder contains other files and no lake",
                where=str(self.path),
                remedy="Use an empty folder, or one that does not exist yet.",
            )

    def _take_lock(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise StateLocked(
                f"another server uses the lake's folder{self._holder()}",
                where=str(self.path),
                remedy="Use its address, or stop it.",
            ) from None

    def _leave_note(self) -> None:
        """Write who holds the lock, for the error message of a second server."""
        note = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        with open(self._note, "w", opener=_private) as file:
            file.write(note)

    def _holder(self) -> str:
        try:
            note = json.loads(self._note.read_text())
            return f": pid {int(note['pid'])} on {str(note['host'])!r}"
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _open(self) -> sqlite3.Connection:
        path = self.path / DATABASE
        # SQLite gives the -wal and -shm files the permissions of the main file, so this creates the main file first.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = None
        try:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            bring_up_to_date(connection, str(path))
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise _unreadable(path, error) from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        return connection


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _unusable(folder: Path, error: OSError) -> StateError:
    return StateError(
        f"the lake's folder cannot be used ({error.strerror or error})",
        where=str(folder),
        remedy="Make it writable and free some space, or use another folder.",
    )


def _unreadable(path: Path, error: sqlite3.Error) -> StateError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StateError(
            f"the lake's database is damaged ({error})",
            where=str(path),
            remedy="Restore it from a backup, or move the folder away to start a new lake.",
        )
    return StateError(
        f"the lake's database cannot be used ({error})",
        where=str(path),
        remedy="Make the folder and its files writable, and check that the disk is not full.",
    )


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
        from metalake_sync.embedded_lake.storage.bucket import open_bucket

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
