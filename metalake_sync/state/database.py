"""Opening the state file: location, permissions, pragmas, migrations, and what every SQLite error means to a user.

Owns: the connection. Must not: know what rows mean.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from metalake_sync.errors import StateError
from metalake_sync.state.names import name_from_db, name_to_db
from metalake_sync.state.schema import MIGRATIONS, applied_migrations, create, migrate

STATE_FOLDER = ".metalake-sync"


def state_path(base_dir: Path, name: str) -> Path:
    """Where the state of a manifest lives: beside it, never in a data folder."""
    return base_dir / STATE_FOLDER / f"{name}.db"


def canonical_path(path: Path) -> Path:
    """Return the one path of a state, whichever name the caller knows it by.

    The lock, the write-ahead log and the backups are named after it, so every name must lead to the same one. A
    symbolic link is followed. A state with several hard links is known by the path that the state itself stores.
    """
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    try:
        if os.stat(path).st_nlink < 2:
            return path
    except OSError:
        return path
    remembered = _remembered_path(path)
    if remembered is not None and identity_of(remembered) == identity_of(path):
        return remembered
    return path


_PATH_KEY = "path"


def _remembered_path(path: Path) -> Path | None:
    """The path under which a state was opened first, read without its log: that one has another name."""
    uri = f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            return _stored_path(connection)
    except sqlite3.Error:
        return None


def _stored_path(connection: sqlite3.Connection) -> Path | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_PATH_KEY,)).fetchone()
    return Path(name_from_db(row[0])) if row else None


def _remember_path(connection: sqlite3.Connection, path: Path) -> None:
    """Store where the state is, unless the stored path still leads to it."""
    stored = _stored_path(connection)
    if stored is not None and identity_of(stored) == identity_of(path):
        return
    connection.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_PATH_KEY, name_to_db(os.path.abspath(path))),
    )
    # Into the main file: who opens it by another hard link does not find the log.
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def prepare_folder(path: Path) -> None:
    """Create the state's folder for its owner alone, with a note that keeps git out of it."""
    with _explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = path.parent / ".gitignore"
        if path.parent.name == STATE_FOLDER and not ignore.exists():
            ignore.write_text("*\n")


def open_database(path: Path) -> sqlite3.Connection:
    """Open the state, create it where there is none, and bring its tables up to date.

    Raises StateError when it can't be read, is no state, or was written by a newer version.
    """
    prepare_folder(path)
    with _explained(path):
        # SQLite gives the -wal and -shm files the permissions of the main file: so that one is made first.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, timeout=15.0, check_same_thread=False)
    try:
        with explain_errors(path):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                create(connection)
            known = {migration.__name__ for migration in MIGRATIONS}
            applied = applied_migrations(connection)
            if applied - known:
                raise StateError(
                    "the state was written by a newer version of metalake-sync",
                    where=str(path),
                    remedy="Update metalake-sync, or use another state with --state.",
                )
            if known - applied:
                if applied:
                    back_up(connection, path, "before-migration")
                migrate(connection)
            _remember_path(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


NO_PATH = Path("the temporary state")
"""What errors call a state that is not kept."""


def open_temporary() -> sqlite3.Connection:
    """An empty state that goes with its connection. It needs a temporary folder only when it grows large."""
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    with explain_errors(NO_PATH):
        create(connection)
    return connection


def identity_of(path: Path) -> tuple[int, int] | None:
    """Which file stands at a path; None where none does."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def sync_log(path: Path) -> None:
    """Wait until the disk has the write-ahead log of a state. What a checkpoint has moved into the main file is synced
    by SQLite."""
    with _explained(path), contextlib.suppress(FileNotFoundError):
        descriptor = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


BACKUP_FOLDER = "backups"


def backup_path(path: Path, why: str) -> Path:
    """A name for a copy of the state, beside it in `backups`, that no file has."""
    folder = path.parent / BACKUP_FOLDER
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    names = (f"{path.stem}-{why}-{stamp}{number or ''}{path.suffix}" for number in range(1000))
    return next(folder / name for name in names if not (folder / name).exists())


def back_up(connection: sqlite3.Connection, path: Path, why: str, to: Path | None = None) -> Path:
    """Copy the state through SQLite, whole even while it is written to. Returns where it is. Raises StateError."""
    target = to or backup_path(path, why)
    with _explained(target):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(target)) as copy:
            connection.backup(copy)
    return target


def set_aside(path: Path) -> Path | None:
    """Move a state that can't be used, with what SQLite keeps beside it, to the backups. None where there is none."""
    target = backup_path(path, "set-aside")
    with _explained(path):
        if not path.exists():
            return None
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for suffix in ("", "-wal", "-shm"):
            piece = path.with_name(path.name + suffix)
            if piece.exists():
                piece.rename(target.with_name(target.name + suffix))
    return target


@contextlib.contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says into a StateError with a remedy. Everything that touches the state runs inside."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explanation(error, path) from error


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """The same for the file system around the state."""
    try:
        with explain_errors(path):
            yield
    except OSError as error:
        raise StateError(
            f"the state can't be opened: {error.strerror or error}",
            where=str(path),
            remedy="Make the folder writable, free some space, or put the state elsewhere with --state.",
        ) from error


def _explanation(error: sqlite3.Error, path: Path) -> StateError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    where = str(path)
    match code:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return StateError(
                f"the state could not be written ({error}): the disk is full or failing",
                where=where,
                remedy="Free some space and run the command again: what was finished is recorded.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StateError(
                f"the state is damaged ({error})",
                where=where,
                remedy="Run 'metalake-sync state rebuild MANIFEST': it makes one from the lake and sends nothing.",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StateError(
                f"the state can't be written ({error})",
                where=where,
                remedy="Make the file and its folder writable, or put the state elsewhere with --state.",
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StateError(
                "the state is in use by another program",
                where=where,
                remedy="Close whatever has the file open and run the command again.",
            )
        case _:
            return StateError(f"the state could not be used ({error})", where=where)
