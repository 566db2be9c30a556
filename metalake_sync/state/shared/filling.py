"""Bringing a working copy up to date with the shared state, and what the copy says about itself.

A copy knows the id of its state, its sequence number and the segment with that number, as rows of `meta`. A writer
marks the copy at its start, and sets the rows at its end. So a copy whose writer was killed does not count, and is
filled again from the store. A copy that has more than the store stays as it is: the store lost something.

Must not: write to the store.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from metalake_sync.errors import StateDamaged, StateError
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.state.database import explain_errors
from metalake_sync.state.schema import MIGRATIONS
from metalake_sync.state.shared.changes import clear_tables, damaged, rewriting, transaction
from metalake_sync.state.shared.log import SegmentMissing, newer_version, read_segments, segment_key, unpack
from metalake_sync.state.shared.place import Contents, read_contents, read_id
from metalake_sync.state.shared.snapshots import download, fill, scratch_folder

COPY_ID, COPY_SEQUENCE, COPY_SEGMENT, COPY_WRITER = "copy of", "copy sequence", "copy segment", "copy writer"

PAGE = 64
"""How many segments are written in one transaction."""

ATTEMPTS = 5
"""How often a copy is filled again because another run deleted old segments meanwhile."""


class CopyVersion(NamedTuple):
    """Which state a working copy has."""

    id: str
    sequence: int
    segment: str | None
    """The random number of the segment with that sequence number. None: not known."""
    complete: bool
    """Whether the copy is as of that sequence number. If not, its writer was killed, or is at work."""


def refresh(
    connection: sqlite3.Connection, path: Path, store: KeyStore, contents: Contents | None = None
) -> Contents | None:
    """Make a working copy equal to the state in the store. Returns what the state consists of, or None without one.

    `contents`: what it consists of, if the caller read it and called `check_not_ahead`. Call it while no other process
    writes to the copy. Raises StateError, also for a copy that has more than the store, and StateUnreachable.
    """
    for attempt in range(ATTEMPTS):
        with contextlib.suppress(SegmentMissing):
            if contents is None or attempt:
                contents = read_and_compare(connection, path, store)
                if contents is None:
                    with rewriting(connection):
                        clear_tables(connection)
                    forget_version(connection)
                    return None
            _fill(connection, path, store, contents)
            return contents
    raise StateError(
        "the shared state changed whenever it was read",
        where=store.location,
        remedy="Run the command again.",
    )


def read_and_compare(connection: sqlite3.Connection, path: Path, store: KeyStore) -> Contents | None:
    """Return what the state in the store consists of, or None without one.

    Raises StateError if the store lost what the working copy has, StateUnreachable, and SegmentMissing if another run
    deleted a segment meanwhile.
    """
    # Read before the store, which can only have more afterwards.
    copy = version_of_copy(connection)
    try:
        state_id = read_id(store)
        contents = read_contents(store, state_id) if state_id is not None else None
    except StateDamaged as error:
        if copy is None:
            raise
        raise StateDamaged(
            f"{error.message}. This machine has a copy of the state ({path})",
            where=error.where,
            remedy="Copy that file elsewhere and restore it with 'metalake-sync state push --force MANIFEST FILE'.",
        ) from None
    if copy is not None:
        if contents is None:
            raise gone(store, path)
        _check_not_ahead(copy, contents, store, path)
    return contents


def _check_not_ahead(copy: CopyVersion, contents: Contents, store: KeyStore, path: Path) -> None:
    """Raise StateError if the store lost what a working copy has.

    A state that took the place of another one on purpose begins after the sequence numbers of the one before.
    """
    if copy.id != contents.id.id:
        lost = contents.id.begins_after < copy.sequence
    elif copy.segment is None or copy.sequence not in contents.segments:
        lost = copy.sequence > contents.head
    else:
        body = store.get(segment_key(copy.sequence))
        if body is None:
            raise SegmentMissing
        lost = unpack(body, segment_key(copy.sequence), store.location).get("writer") != copy.segment
    if lost:
        raise StateError(
            f"the store has an older or another state (sequence {contents.head}) than this machine's copy"
            f" (sequence {copy.sequence}, {path})",
            where=store.location,
            remedy="If the store lost something, copy that file elsewhere and restore it with 'metalake-sync state push"
            " MANIFEST FILE'. To use what the store has, delete the file.",
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
    copy = version_of_copy(connection)
    known = copy.sequence if copy is not None and copy.complete and copy.id == contents.id.id else None
    segment_id = copy.segment if copy is not None else None
    if known is None or not contents.start <= known <= contents.head:
        note_incomplete(connection)
        known, segment_id = contents.start, None
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
            segment_id = _id_of(page[-1][1])
            _note(connection, contents.id.id, page[-1][0], segment_id)
    note(connection, contents.id.id, contents.head, segment_id)


def _id_of(segment: dict[str, Any]) -> str | None:
    found = segment.get("writer")
    return found if isinstance(found, str) else None


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


def version_of_copy(connection: sqlite3.Connection) -> CopyVersion | None:
    """Return which state a working copy has. None: none yet."""
    state_id, sequence = noted(connection, COPY_ID), noted(connection, COPY_SEQUENCE)
    if state_id is None or sequence is None or not sequence.isdigit():
        return None
    return CopyVersion(state_id, int(sequence), noted(connection, COPY_SEGMENT), noted(connection, COPY_WRITER) is None)


def sequence_of_copy(path: Path) -> int:
    """Return the sequence number of a file that was a working copy, or 0. Raises StateError."""
    with (
        explain_errors(path),
        contextlib.closing(sqlite3.connect(f"file:{quote(os.fspath(path))}?mode=ro", uri=True)) as connection,
    ):
        copy = version_of_copy(connection)
    return copy.sequence if copy is not None else 0


def note_writer(connection: sqlite3.Connection) -> None:
    """Record that this process writes to the copy, which does not count until the process is done."""
    _note_writer(connection, str(os.getpid()))


def note_incomplete(connection: sqlite3.Connection) -> None:
    """Record that the copy does not count until it is filled."""
    _note_writer(connection, "")


def _note_writer(connection: sqlite3.Connection, who: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (COPY_WRITER, who))


def forget_version(connection: sqlite3.Connection) -> None:
    """Record that a copy holds no state."""
    connection.execute("DELETE FROM meta WHERE key LIKE 'copy %'")


def note(connection: sqlite3.Connection, state_id: str, sequence: int, segment_id: str | None) -> None:
    """Record which state a copy holds, as of which segment."""
    with transaction(connection):
        _note(connection, state_id, sequence, segment_id)


def _note(connection: sqlite3.Connection, state_id: str, sequence: int, segment_id: str | None) -> None:
    """Like `note`, inside a transaction."""
    forget_version(connection)
    rows = [(COPY_ID, state_id), (COPY_SEQUENCE, str(sequence)), (COPY_SEGMENT, segment_id)]
    connection.executemany(
        "INSERT INTO meta (key, value) VALUES (?, ?)", [(key, value) for key, value in rows if value is not None]
    )
