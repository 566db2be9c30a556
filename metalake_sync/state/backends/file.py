"""The state as a local SQLite file, by default in `.metalake-sync/` beside the manifest, with a lock file.

Owns: where the file is, its folder, its one canonical path, and the lock that admits one run at a time, with a note
that describes its holder. The operating system holds the lock itself, so a killed holder never blocks the next. Must
not: know what rows mean. Longer than 300 lines, because the file, its lock and the note on the holder depend on one
canonical path.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from metalake_sync.errors import StateError, StateLocked
from metalake_sync.state.database import (
    back_up,
    backup_path,
    copy_file,
    explain_errors,
    explain_file_errors,
    files_of,
    identity_of,
    open_database,
    open_temporary,
    sync_log,
)
from metalake_sync.state.names import name_from_db, name_to_db

STATE_FOLDER = ".metalake-sync"


def state_path(base_dir: Path, name: str) -> Path:
    """Return the default path of a manifest's state: beside the manifest, never in a data folder."""
    return base_dir / STATE_FOLDER / f"{name}.db"


def watch_lock(state_path: Path) -> Path:
    """Return the file whose lock a `watch` of the manifest holds, beside the state's file."""
    return state_path.with_name(f"{state_path.stem}.watch.db")


class FileBackend:
    """A `StateBackend` whose working copy is the state itself."""

    def __init__(self, path: Path) -> None:
        self.path = canonical_path(path)

    is_shared = False

    @property
    def location(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return self.path.exists()

    def open(self) -> FileWorkingCopy:
        prepare_folder(self.path)
        connection = open_database(self.path)
        try:
            with explain_errors(self.path):
                _remember_path(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return FileWorkingCopy(self.path, connection)

    def lock(self, *, command: str, timeout_s: float = 0.0, waiting: Callable[[str], None] | None = None) -> FileLock:
        prepare_folder(self.path)
        return FileLock(self.path, command=command, timeout_s=timeout_s, waiting=waiting)

    def lock_holder(self) -> str | None:
        return lock_holder(self.path)

    def break_lock(self, *, force: bool) -> str | None:
        return break_lock(self.path, force=force)

    def set_aside(self) -> Path | None:
        """Move the SQLite file and its -wal and -shm files to the folder `backups`."""
        path = self.path
        with explain_file_errors(path):
            if not path.exists():
                return None
            target = backup_path(path, "set-aside")
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for piece, aside in zip(files_of(path), files_of(target), strict=True):
                if piece.exists():
                    piece.rename(aside)
        return target

    def replace_with(self, source: Path) -> None:
        prepare_folder(self.path)
        draft = self.path.with_name(f"{self.path.name}.new")
        try:
            copy_file(source, draft)
            open_database(draft).close()
            self.set_aside()
            with explain_file_errors(self.path):
                draft.rename(self.path)
        finally:
            for piece in files_of(draft):
                piece.unlink(missing_ok=True)


class FileWorkingCopy:
    """The opened file. It remembers the file's identity to notice that the file was removed or replaced."""

    is_shared = False

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._identity = identity_of(path)
        self._commits = self._synced = 0

    def check(self) -> None:
        # SQLite would continue to write into a deleted file.
        if identity_of(self.path) != self._identity:
            raise removed(str(self.path))

    def keeps_transaction(self) -> bool:
        return True

    def committed(self) -> None:
        self._commits += 1

    def barrier(self) -> None:
        # With synchronous = NORMAL, the operating system decides when a commit reaches the disk.
        commits = self._commits
        if commits == self._synced:
            return
        sync_log(self.path)
        self._synced = max(self._synced, commits)

    def back_up(self, to: Path | None = None) -> Path:
        return back_up(self.connection, self.path, "backup", to)

    def close(self) -> None:
        self.connection.close()


def removed(location: str) -> StateError:
    """Return the error for a state that is not there any more."""
    return StateError(
        "the state was removed or replaced while a command used it",
        where=location,
        remedy="Run the command again, or run 'metalake-sync state rebuild MANIFEST'. Files that the lake has are"
        " adopted and not sent again.",
    )


class TemporaryWorkingCopy(FileWorkingCopy):
    """An empty state that disappears when it is closed. Commands that must not create a state use it."""

    def __init__(self) -> None:
        path = Path("the temporary state")
        super().__init__(path, open_temporary(path))


def canonical_path(path: Path) -> Path:
    """Return one path for a state that may have several names.

    The lock, the write-ahead log and the backups are named after it, so every name must lead to the same path. A
    symbolic link is followed. For a state with several hard links, the path stored in the state itself counts.
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


def prepare_folder(path: Path) -> None:
    """Create the folder of a state with permissions for its owner only, and a `.gitignore` that excludes it."""
    with explain_file_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = path.parent / ".gitignore"
        if path.parent.name == STATE_FOLDER and not ignore.exists():
            ignore.write_text("*\n")


_PATH_KEY = "path"


def _remembered_path(path: Path) -> Path | None:
    """Return the path under which a state was first opened. Reads it without its log, which has another name."""
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
    """Store the state's path in the state, unless the stored path leads to the same file."""
    stored = _stored_path(connection)
    if stored is not None and identity_of(stored) == identity_of(path):
        return
    connection.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_PATH_KEY, name_to_db(os.path.abspath(path))),
    )
    # Move it into the main file: a process that opens another hard link does not find the log.
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


class FileLock:
    """Holds the lock of a state while used as a context manager.

    `state` is the canonical path of the state, in a folder that exists. The lock file is created beside it. `timeout_s`
    is how long to wait for another holder; 0 fails at once. `waiting` receives whom it waits for. Entering raises
    StateLocked and names the holder.
    """

    def __init__(
        self, state: Path, *, command: str, timeout_s: float = 0.0, waiting: Callable[[str], None] | None = None
    ) -> None:
        # Only commands that write pay for this import: 30 ms.
        import filelock

        self._state = state
        self._command = command
        self._timeout_s = timeout_s
        self._waiting = waiting
        self._note = state.with_suffix(".lock.json")
        self._lock = filelock.FileLock(state.with_suffix(".lock"), mode=0o600, thread_local=False)

    def __enter__(self) -> FileLock:
        import filelock

        try:
            self._acquire()
        except filelock.Timeout:
            raise StateLocked(
                f"another run holds the state{self._holder()}",
                where=str(self._state),
                remedy="Wait for it to end, or wait here with --lock-timeout SECONDS. If you are sure that it is dead,"
                " free the lock with 'state unlock'.",
            ) from None
        except OSError as error:
            raise StateError(
                f"cannot lock the state: {error.strerror or error}",
                where=str(self._state),
                remedy="Make the folder writable, or put the state elsewhere with --state.",
            ) from error
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "command": self._command}
        self._written = json.dumps(note)
        with open(self._note, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as note_file:
            note_file.write(self._written)
        return self

    def _acquire(self) -> None:
        """Take the lock. Raises filelock.Timeout."""
        import filelock

        if self._timeout_s > 0 and self._waiting is not None:
            with contextlib.suppress(filelock.Timeout):
                self._lock.acquire(timeout=0)
                return
            self._waiting(f"the lock of {self._state}{self._holder()}")
        self._lock.acquire(timeout=self._timeout_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a forced unlock, the note may belong to the next holder.
        with contextlib.suppress(OSError):
            if self._note.read_text() == self._written:
                self._note.unlink()
        self._lock.release()

    def _holder(self) -> str:
        holder = _read_note(self._note)
        return f": {holder}" if holder else ""


def lock_holder(state: Path) -> str | None:
    """Describe the run that holds the lock of a state, or return None if the lock is free."""
    if not state.with_suffix(".lock").exists():
        return None
    import filelock

    lock = filelock.FileLock(state.with_suffix(".lock"), mode=0o600, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return _read_note(state.with_suffix(".lock.json")) or "an unknown run"
    lock.release()
    return None


def break_lock(state: Path, *, force: bool) -> str | None:
    """Free a lock and return a description of its holder, or None if it was free.

    The operating system frees the lock when its holder dies; then only the note is left to remove. With `force`, the
    lock file itself is removed and the next run creates another one, even while the holder is alive. Raises
    StateLocked if the lock is held and `force` is false.
    """
    holder = lock_holder(state)
    if holder is None:
        state.with_suffix(".lock.json").unlink(missing_ok=True)
        return None
    if not force:
        raise StateLocked(
            f"another run holds the state: {holder}",
            where=str(state),
            remedy="Stop that run. If you are sure that it is dead, on another machine or a shared disk, add --force.",
        )
    state.with_suffix(".lock").unlink(missing_ok=True)
    state.with_suffix(".lock.json").unlink(missing_ok=True)
    return holder


def _read_note(note_file: Path) -> str | None:
    """Describe the holder by its note. None if the note is missing or half written."""
    try:
        note: dict[str, Any] = json.loads(note_file.read_text())
        age_s = max(0, round(time.time() - float(note["since"])))
        return f"'{note['command']}' with pid {note['pid']} on {note['host']}, since {age_s} s"
    except (OSError, ValueError, KeyError, TypeError):
        return None
