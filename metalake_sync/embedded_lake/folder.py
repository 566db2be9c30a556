"""The folder of an embedded lake: used by one server at a time, private to its owner, with one database.

Owns: the lock, permissions, opening the database, and the errors of these.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from pathlib import Path

import filelock

from metalake_sync.embedded_lake.schema import bring_up_to_date
from metalake_sync.errors import StateError, StateLocked

DATABASE = "lake.db"
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
