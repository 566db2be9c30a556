"""SQLite connections to a state: pragmas, migrations, backups, and errors that users understand.

Owns: the connection. Must not: know where a state is kept (`backends`) or what its rows mean.
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
from metalake_sync.state.schema import MIGRATIONS, applied_migrations, create, migrate

BACKUP_FOLDER = "backups"


def open_database(path: Path) -> sqlite3.Connection:
    """Open a state in an existing folder. Create it if it is missing, and migrate it if it is old.

    Raises StateError if it cannot be read, is not a state, or was written by a newer version.
    """
    with explain_file_errors(path):
        # SQLite copies the permissions of the main file to the -wal and -shm files, so the main file is created first.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, timeout=15.0, check_same_thread=False)
    try:
        with explain_errors(path):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            _bring_up_to_date(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
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


def open_temporary(path: Path) -> sqlite3.Connection:
    """Open an empty state that disappears with its connection. SQLite writes it to disk only when it grows large.

    `path` is how errors name it.
    """
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    with explain_errors(path):
        create(connection)
    return connection


def sync_log(path: Path) -> None:
    """Flush the write-ahead log of a state to disk. SQLite itself flushes what a checkpoint moves to the main file."""
    with explain_file_errors(path), contextlib.suppress(FileNotFoundError):
        descriptor = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def shrink(connection: sqlite3.Connection) -> None:
    """Return the unused space of a state to the file system if it is most of the file. Call it outside a transaction.

    Without this, SQLite reuses the space for new rows. So an error, such as a full disk, is ignored.
    """
    (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if unused <= pages // 2:
        return
    with contextlib.suppress(sqlite3.Error):
        # VACUUM writes a copy, which can be large.
        connection.execute("PRAGMA temp_store = FILE")
        connection.execute("VACUUM")
    connection.execute("PRAGMA temp_store = MEMORY")


def backup_path(path: Path, why: str) -> Path:
    """Return an unused file name in the folder `backups` beside the state."""
    folder = path.parent / BACKUP_FOLDER
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    names = (f"{path.stem}-{why}-{stamp}{number or ''}{path.suffix}" for number in range(1000))
    return next(folder / name for name in names if not (folder / name).exists())


def back_up(connection: sqlite3.Connection, path: Path, why: str, to: Path | None = None) -> Path:
    """Copy the state with SQLite's backup, which is consistent while others write, and return the copy's path.

    Raises StateError.
    """
    target = to or backup_path(path, why)
    with explain_file_errors(target):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(target)) as copy:
            connection.backup(copy)
    return target


def copy_file(source: Path, target: Path) -> None:
    """Copy a SQLite file with what is in its log into a new file. Raises StateError."""
    with explain_file_errors(source):
        os.close(os.open(target, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with (
            contextlib.closing(sqlite3.connect(f"file:{quote(os.fspath(source))}?mode=ro", uri=True)) as given,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            given.backup(copy)


SQLITE_HEADER = b"SQLite format 3\0"


def can_be_state(path: Path) -> bool:
    """Whether an existing file can be a state: an empty file, or a SQLite file that has the tables of a state, no
    tables, or cannot be read. A file without access counts as one, so that opening it reports the reason."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            header = file.read(len(SQLITE_HEADER))
    except OSError:
        return True
    if header != SQLITE_HEADER:
        return not header
    if path.with_name(f"{path.name}-wal").exists():
        return True
    try:
        uri = f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return True
    return not tables or {"meta", "collections"} <= tables


def files_of(path: Path) -> Iterator[Path]:
    """Yield the files that a state may consist of: the main file and SQLite's -wal and -shm files."""
    for suffix in ("", "-wal", "-shm"):
        yield path.with_name(path.name + suffix)


def size_on_disk(path: Path) -> int:
    """Return the bytes of a state with those of its log, which has most of it while its first run writes."""
    size = 0
    for piece in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(FileNotFoundError):
            size += piece.stat().st_size
    return size


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at a path, or None if no file exists."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into a StateError with a remedy. Everything that touches the state runs inside."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explanation(error, path) from error


@contextlib.contextmanager
def explain_file_errors(path: Path) -> Iterator[None]:
    """Like `explain_errors`, and for errors of the file system around the state too."""
    try:
        with explain_errors(path):
            yield
    except OSError as error:
        raise StateError(
            f"cannot open the state: {error.strerror or error}",
            where=str(path),
            remedy="Make the folder writable, free disk space, or put the state elsewhere with --state.",
        ) from error


SHARED_COPY = ".shared-"
"""In the file name of a working copy of a shared state."""


def _explanation(error: sqlite3.Error, path: Path) -> StateError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    where = str(path)
    match code:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return StateError(
                f"cannot write the state ({error}): the disk is full or failing",
                where=where,
                remedy="Free disk space and run the command again. Finished work is recorded.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StateError(
                f"the {'working copy of the ' if SHARED_COPY in path.name else ''}state is damaged ({error})",
                where=where,
                remedy="Delete this file. The next command fetches the shared state again."
                if SHARED_COPY in path.name
                else "Run 'metalake-sync state rebuild MANIFEST' to build a new one from the lake. It sends nothing.",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StateError(
                f"cannot write the state ({error})",
                where=where,
                remedy="Make the file and its folder writable, or put the state elsewhere with --state.",
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StateError(
                "another program uses the state",
                where=where,
                remedy="Close the program that has the file open and run the command again.",
            )
        case _:
            return StateError(f"cannot use the state ({error})", where=where)
