"""Bringing a working copy up to date with the shared state, and what the copy says about itself.

A copy knows the id of its state and its sequence number, as rows of `meta`. A writer removes them at its start, and
sets them at its end. So a copy whose writer was killed does not count, and is filled again from the store.

Must not: write to the store.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from pathlib import Path
from typing import Any

from metalake_sync.errors import StateError
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.state.schema import MIGRATIONS
from metalake_sync.state.shared.changes import clear_tables, damaged, rewriting, transaction
from metalake_sync.state.shared.log import SegmentMissing, newer_version, read_segments, segment_key
from metalake_sync.state.shared.place import Contents, read_contents, read_id
from metalake_sync.state.shared.snapshots import download, fill, scratch_folder

COPY_ID, COPY_SEQUENCE, COPY_WRITER = "copy of", "copy sequence", "copy writer"

PAGE = 64
"""How many segments are written in one transaction."""

ATTEMPTS = 5
"""How often a copy is filled again because another run deleted old segments meanwhile."""


def refresh(
    connection: sqlite3.Connection, path: Path, store: KeyStore, contents: Contents | None = None
) -> Contents | None:
    """Make a working copy equal to the state in the store. Returns what the state consists of, or None without one.

    `contents`: what it consists of, if the caller knows. Call it while no other process writes to the copy. Raises
    StateError and StateUnreachable.
    """
    for attempt in range(ATTEMPTS):
        if contents is None or attempt:
            state_id = read_id(store)
            if state_id is None:
                if noted(connection, COPY_ID) is not None:
                    raise gone(store, path)
                with rewriting(connection):
                    clear_tables(connection)
                note(connection, None, None)
                return None
            contents = read_contents(store, state_id)
        with contextlib.suppress(SegmentMissing):
            _fill(connection, path, store, contents)
            return contents
    raise StateError(
        "the shared state changed whenever it was read",
        where=store.location,
        remedy="Run the command again.",
    )


def gone(store: KeyStore, path: Path) -> StateError:
    """Return the error for a store that lost the state of which this machine has a copy."""
    return StateError(
        f"the state is gone, and this machine has a copy of it ({path})",
        where=store.location,
        remedy="If it should be there, copy that file elsewhere and restore it with 'metalake-sync state push"
        " MANIFEST FILE'. To begin with an empty state, delete the file.",
    )


def _fill(connection: sqlite3.Connection, path: Path, store: KeyStore, contents: Contents) -> None:
    at = noted(connection, COPY_SEQUENCE)
    known = int(at) if at is not None and noted(connection, COPY_ID) == contents.id.id else None
    if known is None or not contents.start <= known <= contents.head:
        note(connection, None, None)
        known = contents.start
        if contents.snapshot is None:
            with rewriting(connection):
                clear_tables(connection)
        else:
            with scratch_folder(path) as folder:
                source = download(store, contents.snapshot, contents.id.id, folder)
                fill(connection, source)
    wanted = [number for number in contents.segments if number > known]
    segments = read_segments(store, wanted)
    # Segments come from the store outside of the transaction that writes them, so that no other process waits for it.
    while page := list(itertools.islice(segments, PAGE)):
        with rewriting(connection) as writer:
            for number, segment in page:
                check_segment(segment, number, store.location)
                writer.write(segment["tables"])
            _note(connection, contents.id.id, page[-1][0])
    note(connection, contents.id.id, contents.head)


def check_segment(segment: dict[str, Any], number: int, location: str) -> None:
    """Raise StateError for a segment of a newer version, or of another place in the log."""
    if segment.get("sequence") != number:
        raise damaged(f"{segment_key(number)} has the content of another segment", location)
    if segment.get("migration") not in {migration.__name__ for migration in MIGRATIONS}:
        raise newer_version(segment_key(number), location)


def noted(connection: sqlite3.Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else None


def is_being_written(connection: sqlite3.Connection) -> bool:
    """Whether a run on this machine writes to the copy, which is then more recent than the log."""
    found = noted(connection, COPY_WRITER)
    if found is None or not found.isdigit():
        return False
    try:
        os.kill(int(found), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def note_writer(connection: sqlite3.Connection) -> None:
    """Record that this process writes to the copy, which does not count until the process is done."""
    note(connection, None, None)
    connection.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (COPY_WRITER, str(os.getpid())))


def note(connection: sqlite3.Connection, state_id: str | None, sequence: int | None) -> None:
    """Record which state a copy holds, as of which sequence number. None: a copy that does not count."""
    with transaction(connection):
        _note(connection, state_id, sequence)


def _note(connection: sqlite3.Connection, state_id: str | None, sequence: int | None) -> None:
    """Like `note`, inside a transaction."""
    connection.execute("DELETE FROM meta WHERE key IN (?, ?, ?)", (COPY_ID, COPY_SEQUENCE, COPY_WRITER))
    if state_id is not None and sequence is not None:
        connection.executemany(
            "INSERT INTO meta (key, value) VALUES (?, ?)", [(COPY_ID, state_id), (COPY_SEQUENCE, str(sequence))]
        )
