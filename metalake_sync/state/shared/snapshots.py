"""Snapshots of a shared state: its SQLite file, compressed, as of one sequence number.

A snapshot is read as data, never opened as the state: its rows are copied into tables of our own. So a file that
another program put there can bring wrong rows, but no trigger, view or function of its own.

Owns: writing and reading snapshots. Must not: decide when one is made.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from metalake_sync.errors import StateError
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.state.database import explain_file_errors, open_database
from metalake_sync.state.schema import MIGRATIONS, applied_migrations, create, schema_after, schema_of
from metalake_sync.state.shared.changes import copy_tables, damaged, rewriting
from metalake_sync.state.shared.log import SegmentMissing
from metalake_sync.state.shared.place import snapshot_key

COPY_BYTES = 1 << 20
LEVEL = 3
"""Of gzip: higher ones take twice the time and save a twentieth."""


@contextlib.contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A folder for temporary files beside a working copy, readable by its owner only."""
    with explain_file_errors(beside):
        folder = Path(tempfile.mkdtemp(prefix=".shared-", dir=beside.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def export(copy: Path, target: Path) -> None:
    """Write the shared rows of a working copy into a new SQLite file. `copy`: its path. Raises StateError.

    Only committed rows are read.
    """
    with begin_export(copy, target) as exported:
        exported.finish()


class Exported:
    """An export that has begun: it will have the rows that the working copy had at that moment."""

    def __init__(self, made: sqlite3.Connection, target: Path) -> None:
        self._made = made
        self._target = target

    def finish(self) -> None:
        """Copy the rows. Any thread may call this while others write to the working copy. Raises StateError."""
        with explain_file_errors(self._target):
            copy_tables(self._made, "source")


@contextlib.contextmanager
def begin_export(copy: Path, target: Path) -> Iterator[Exported]:
    """Begin an export. Leaving the context, in any thread, completes the file. Raises StateError.

    Entering reads nothing but the state of SQLite's log, which stays as it is until the end: commits after it are not
    in the file. So it may be called where a wait would delay a run.
    """
    with explain_file_errors(target), contextlib.closing(open_new(target)) as made:
        # The transaction of `rewriting` begins on both files at once. On a file that is read only, it reads.
        made.execute("ATTACH DATABASE ? AS source", (f"file:{quote(os.fspath(copy))}?mode=ro",))
        with rewriting(made):
            made.execute("SELECT 1 FROM source.meta LIMIT 1").fetchone()
            yield Exported(made, target)


def open_new(target: Path) -> sqlite3.Connection:
    """Open a new SQLite file with the tables of a state, for a moment: a power failure may damage it."""
    made = sqlite3.connect(f"file:{quote(os.fspath(target))}", uri=True, isolation_level=None, check_same_thread=False)
    made.execute("PRAGMA synchronous = OFF")
    made.execute("PRAGMA journal_mode = MEMORY")
    create(made)
    return made


def fill(connection: sqlite3.Connection, source: Path) -> None:
    """Replace all shared rows of an open state with those of another state's file."""
    connection.execute("ATTACH DATABASE ? AS source", (os.fspath(source),))
    try:
        with rewriting(connection):
            copy_tables(connection, "source")
    finally:
        connection.execute("DETACH DATABASE source")


def compress(source: Path, target: Path) -> None:
    """Compress a file. Raises StateError for a full disk."""
    with explain_file_errors(target), source.open("rb") as file, gzip.open(target, "wb", LEVEL) as packed:
        shutil.copyfileobj(file, packed, COPY_BYTES)


def upload(store: KeyStore, packed: Path, key: str, folder: Path) -> None:
    """Store a compressed snapshot, and read it back. Raises StateError if something else came back."""
    store.put_file(key, packed)
    back = folder / "read-back"
    if not store.get_file(key, back) or _bytes_differ(packed, back):
        raise StateError(
            f"{key} of the shared state was read back with other bytes than were stored",
            where=store.location,
            remedy="Nothing is lost: the log and earlier snapshots are kept. Check the store.",
        )
    back.unlink()


def _bytes_differ(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            left, right = first.read(COPY_BYTES), second.read(COPY_BYTES)
            if left != right:
                return True
            if not left:
                return False


def download(store: KeyStore, sequence: int, state_id: str, folder: Path) -> Path:
    """Return a snapshot as a SQLite file with today's tables. Raises SegmentMissing if it was deleted meanwhile."""
    key = snapshot_key(sequence, state_id)
    packed, target = folder / "snapshot.gz", folder / "snapshot.db"
    if not store.get_file(key, packed):
        raise SegmentMissing
    with explain_file_errors(target), target.open("wb") as file:
        try:
            with gzip.open(packed, "rb") as unpacked:
                shutil.copyfileobj(unpacked, file, COPY_BYTES)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise damaged(f"{key} cannot be decompressed ({error})", store.location) from None
    packed.unlink()
    return as_current(target, f"{store.location}/{key}")


def as_current(path: Path, shown_as: str) -> Path:
    """Check that a SQLite file is a state, and bring it up to date. Returns its path.

    Raises StateError if it is damaged, has tables of another form, or was written by a newer version.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(os.fspath(path))}?mode=ro", uri=True)) as connection:
            applied = applied_migrations(connection)
            newer = applied - {migration.__name__ for migration in MIGRATIONS}
            ours = newer or schema_of(connection) == schema_after(applied)
    except sqlite3.Error as error:
        raise damaged(f"{shown_as} cannot be read ({error})") from None
    if not ours:
        raise damaged(f"{shown_as} has other tables than a state")
    try:
        open_database(path).close()
    except StateError as error:
        raise StateError(error.message, where=shown_as, remedy=error.remedy) from None
    return path
