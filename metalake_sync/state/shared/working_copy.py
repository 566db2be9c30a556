"""The working copy of a shared state: its SQLite file on this machine, for a run that writes or for one that reads.

Owns: sending the changes of commits to the log in order, and snapshots at the right moment. `filling` brings the copy
up to date. Longer than 300 lines, because writers and readers of a copy share its file, its key and its cleaning up.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from metalake_sync.errors import StateError, SyncError
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.key_stores.conditional_writes import check_conditional_writes
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.database import back_up, explain_errors, identity_of
from metalake_sync.state.shared.changes import ChangeCapture, Changes, merge, shared_tables, to_document
from metalake_sync.state.shared.filling import gone, note, note_writer, read_and_compare, refresh
from metalake_sync.state.shared.lease import Lease
from metalake_sync.state.shared.log import SegmentMissing, new_segment, pack, segment_key
from metalake_sync.state.shared.place import STATE, Contents, StateId, fence_key, read_contents, read_id, snapshot_key
from metalake_sync.state.shared.snapshots import begin_export, compress, scratch_folder, upload
from metalake_sync.state.shared.soundness import remember_sound

GATHER_S = 0.25
"""How long commits are gathered for one segment while no caller waits at a barrier."""

SNAPSHOT_AFTER_SEGMENTS = 200
SNAPSHOT_IN_RUN_AFTER_SEGMENTS = 2000
MOST_SEGMENTS = 20_000
"""A run makes a snapshot at the latest after so many segments: each costs a new machine a request."""
SMALL_LOG_BYTES = 1 << 20
"""Below this, a log is never too long for its bytes."""
COMPRESSION = 3
"""About how much smaller a snapshot is than its SQLite file."""


class ReadingCopy:
    """A working copy without the lease. It keeps changes of caches only, so that it always equals the shared state."""

    is_shared = True

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._capture = ChangeCapture(connection)

    def check(self) -> None:
        """Do nothing: nothing that is written here can do harm."""

    def keeps_transaction(self) -> bool:
        return not self._capture.pending()

    def committed(self) -> None:
        """Do nothing, because only caches were changed."""

    def barrier(self) -> None:
        """Do nothing, because nothing shared was committed."""

    def back_up(self, to: Path | None = None) -> Path:
        return back_up(self.connection, self.path, "backup", to)

    def close(self) -> None:
        self.connection.close()
        remember_sound(self.path)


@dataclass(slots=True)
class Waiting:
    """Changes that are not in the log yet."""

    changes: Changes
    commits: int = 0
    """How many commits they are."""
    since: float = 0.0


class WritingCopy:
    """A working copy whose commits go to the log. Its run holds the lease.

    A thread creates the segments, one at a time. What is committed meanwhile becomes the next segment.
    """

    is_shared = True

    def __init__(self, path: Path, connection: sqlite3.Connection, store: KeyStore, lease: Lease) -> None:
        self.path = path
        self.connection = connection
        self._store = store
        self._lease = lease
        self._capture: ChangeCapture | None = None
        self._identity = identity_of(path)
        self._tables = shared_tables(connection)
        self._changed = threading.Condition()
        self._waiting = Waiting({})
        self._commits = self._sent = self._urgent = 0
        self._error: SyncError | None = None
        self._closing = False
        self.closed = False
        self._segment_id = ""
        """The random number of the last segment."""
        with explain_errors(path):
            contents = self._begin()
        self._id = contents.id.id
        self._sequence = contents.head
        self._unsaved = len(contents.segments)
        """The number of segments after the newest snapshot."""
        self._log_bytes = 0
        self._snapshots: list[threading.Thread] = []
        with explain_errors(path):
            self._capture = ChangeCapture(connection)
        self._thread = threading.Thread(target=self._send_segments, name="state-log-writer", daemon=True)
        self._thread.start()

    # Opening.

    def _begin(self) -> Contents:
        """Create the first segment of this holder, and bring the copy up to date with it."""
        while True:
            try:
                known = read_and_compare(self.connection, self.path, self._store)
            except SegmentMissing:
                continue
            if known is None:
                check_conditional_writes(self._store)
                self._store.create(STATE, StateId(secrets.token_hex(8)).encode())
                continue
            head = known.head
            if self._lease.took_over:
                self._store.put(fence_key(head + 1), b"")
            first = self._segment(head + 1, {})
            if self._store.create(segment_key(head + 1), pack(first)):
                break
            # The holder before still writes. It is fenced off as soon as one of its sequence numbers is taken.
            self._lease.check()
        # The new segment is empty, and shows that no other run wrote meanwhile.
        contents = refresh(self.connection, self.path, self._store, known)
        if contents is not None and contents.head == head:
            contents = replace(contents, segments=[*contents.segments, head + 1])
        if contents is None or contents.head != head + 1:
            raise self._lease.lose()
        self._segment_id = first["writer"]
        note_writer(self.connection)
        self._lease.fenced = True
        return contents

    def _segment(self, sequence: int, changes: Changes) -> dict[str, Any]:
        return new_segment(sequence, self._lease.epoch, to_document(changes, self._tables))

    # Working.

    def check(self) -> None:
        self._lease.check()
        if identity_of(self.path) != self._identity:
            raise StateError(
                "the working copy of the state was removed while a command used it",
                where=str(self.path),
                remedy="Run the command again. What the lake confirmed is in the shared state, or will be adopted.",
            )
        if self._error is not None:
            raise self._error

    def keeps_transaction(self) -> bool:
        return True

    def committed(self) -> None:
        assert self._capture is not None
        changes = self._capture.take()
        if not changes:
            return
        with self._changed:
            self._commits += 1
            if not self._waiting.commits:
                self._waiting.since = time.monotonic()
            self._waiting.commits += 1
            merge(self._waiting.changes, changes)
            self._changed.notify_all()
        if self._needs_snapshot_in_run() and not any(one.is_alive() for one in self._snapshots):
            self.barrier()
            self._start_snapshot()

    def barrier(self) -> None:
        with self._changed:
            commits = self._commits
            self._urgent = max(self._urgent, commits)
            self._changed.notify_all()
            while self._sent < commits and self._error is None:
                self._changed.wait()
        if self._sent < commits:
            self.check()

    def _send_segments(self) -> None:
        """Create one segment after the other, until the copy is closed. Runs in a thread."""
        while True:
            with self._changed:
                while not self._due():
                    if self._closing and not self._waiting.commits:
                        return
                    self._changed.wait(self._wait_s())
                batch, self._waiting = self._waiting, Waiting({})
            try:
                self._append(batch)
            except SyncError as error:
                self.stop(error)
                return
            except Exception as error:  # noqa: BLE001 - callers that wait at a barrier receive it
                self.stop(StateError(f"the state could not be sent to the store ({type(error).__name__}: {error})"))
                return

    def _due(self) -> bool:
        waiting = self._waiting
        if not waiting.commits:
            return False
        return self._closing or self._urgent > self._sent or time.monotonic() - waiting.since >= GATHER_S

    def _wait_s(self) -> float | None:
        if not self._waiting.commits:
            return None
        return max(0.0, self._waiting.since + GATHER_S - time.monotonic())

    def _append(self, batch: Waiting) -> None:
        segment = self._segment(self._sequence + 1, batch.changes)
        body = pack(segment)
        if not self._store.create(segment_key(self._sequence + 1), body):
            raise self._lease.lose()
        with self._changed:
            self._sequence += 1
            self._segment_id = segment["writer"]
            self._unsaved += 1
            self._log_bytes += len(body)
            self._sent += batch.commits
            self._changed.notify_all()

    def stop(self, error: SyncError) -> None:
        """Send nothing more. `error`: raised by everything that writes from now on."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    # Snapshots.

    def _start_snapshot(self) -> None:
        """Store the present rows as a snapshot, in a thread. Call it where rows are written, while the log has all
        commits."""
        stack = contextlib.ExitStack()
        folder = stack.enter_context(scratch_folder(self.path))
        export = contextlib.ExitStack()
        try:
            exported = export.enter_context(begin_export(self.path, folder / "snapshot.db"))
        except SyncError:
            stack.close()
            raise
        sequence, self._unsaved, self._log_bytes = self._sequence, 0, 0

        def store_it() -> None:
            with stack, contextlib.suppress(SyncError):
                with export:
                    exported.finish()
                self._store_snapshot(folder, sequence)

        thread = threading.Thread(target=store_it, name="state-snapshot", daemon=True)
        self._snapshots.append(thread)
        thread.start()

    def _store_snapshot(self, folder: Path, sequence: int) -> None:
        compress(folder / "snapshot.db", folder / "snapshot.gz")
        upload(self._store, folder / "snapshot.gz", snapshot_key(sequence, self._id), folder)
        self._lease.check()
        state_id = read_id(self._store)
        if state_id is not None and state_id.id == self._id:
            self._store.delete(read_contents(self._store, state_id).stale)

    def back_up(self, to: Path | None = None) -> Path:
        return back_up(self.connection, self.path, "backup", to)

    def close(self) -> None:
        """Send what is left, make a snapshot if the log became long, and close the copy.

        Raises StateLocked or StateUnreachable if commits could not be sent.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        for thread in self._snapshots:
            thread.join()
        self.closed = True
        try:
            if self._sent == self._commits:
                # A snapshot that fails costs later runs some time. The next run makes one.
                with contextlib.suppress(SyncError):
                    if self._error is None and self._is_log_long():
                        self._start_snapshot()
                        self._snapshots[-1].join()
                with contextlib.suppress(sqlite3.Error):
                    note(self.connection, self._id, self._sequence, self._segment_id)
        finally:
            self.connection.close()
            remember_sound(self.path)
        if self._sent < self._commits and self._error is not None:
            raise self._error
        if self._commits and self._error is None:
            self._check_still_there()

    def _check_still_there(self) -> None:
        """Raise StateError if the state was removed from the store meanwhile: the log that is left is worth nothing."""
        found = read_id(self._store)
        if found is None or found.id != self._id:
            raise gone(self._store, self.path)

    def _needs_snapshot_in_run(self) -> bool:
        """Whether the run wrote so much that a new machine would read more of the log than of a snapshot.

        The bytes of all snapshots of a run grow with those of its log, not with their square.
        """
        if self._unsaved < SNAPSHOT_IN_RUN_AFTER_SEGMENTS:
            return False
        return self._unsaved >= MOST_SEGMENTS or self._log_bytes > self._size_bytes() // COMPRESSION

    def _size_bytes(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def _is_log_long(self) -> bool:
        if self._unsaved >= SNAPSHOT_AFTER_SEGMENTS:
            return True
        return self._log_bytes > max(SMALL_LOG_BYTES, self._size_bytes() // COMPRESSION // 4)
