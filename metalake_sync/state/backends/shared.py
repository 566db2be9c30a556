"""A state that several machines share, in a bucket or a database, with a working copy on this machine.

Owns: where the copy is, and when it is brought up to date. `metalake_sync.state.shared` has the log and the lease.
Must not: know which key store it is, or what rows mean. Longer than 300 lines, because replacing a state, keeping the
one before and bringing the copy up to date depend on one lease.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from metalake_sync.errors import StateDamaged, StateError, UsageError
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.key_stores.conditional_writes import check_conditional_writes
from metalake_sync.state.backends.base import WorkingCopy
from metalake_sync.state.backends.file import FileLock, break_lock, lock_holder, prepare_folder, removed
from metalake_sync.state.database import (
    SHARED_COPY,
    back_up,
    backup_path,
    copy_file,
    explain_errors,
    files_of,
    open_database,
)
from metalake_sync.state.shared.filling import (
    is_being_written,
    read_and_compare,
    refresh,
    sequence_of_copy,
    version_of_copy,
)
from metalake_sync.state.shared.lease import Lease, newest_lease, release
from metalake_sync.state.shared.log import SegmentMissing, new_segment, pack, segment_key
from metalake_sync.state.shared.place import (
    BACKUPS,
    BACKUPS_KEPT,
    STATE,
    Contents,
    StateId,
    backup_key,
    fence_key,
    last_sequence,
    read_contents,
    read_id,
    snapshot_key,
)
from metalake_sync.state.shared.snapshots import as_current, compress, export, scratch_folder, upload
from metalake_sync.state.shared.soundness import was_sound
from metalake_sync.state.shared.working_copy import ReadingCopy, WritingCopy

COPY_LOCK_TIMEOUT_S = 60.0
"""How long a command waits for another one on this machine that brings the copy up to date."""


def copy_path(folder: Path, location: str) -> Path:
    """Return where the working copy of a shared state is: in `folder`, named after the state."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", location.rstrip("/").rpartition("/")[2])[:40] or "state"
    digest = hashlib.blake2b(location.encode(), digest_size=6).hexdigest()
    return folder / f"{name}{SHARED_COPY}{digest}.db"


class SharedBackend:
    """A `StateBackend` over a key store. `folder`: of the working copy. `open_store`: opens the store. `open_outer`:
    opens the place that has this one among its keys, if it is a state.

    One object serves all commands of a run, because the run that holds the lock opens the state through it.
    """

    is_shared = True

    def __init__(
        self, folder: Path, open_store: Callable[[], KeyStore], open_outer: Callable[[], KeyStore] | None = None
    ) -> None:
        self._open_store = open_store
        self._open_outer = open_outer
        self._opened: KeyStore | None = open_store()
        self.location = self._opened.location
        self.path = copy_path(folder, self.location)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lease: Lease | None = None
        self._writer_thread: int | None = None
        self._writing: WritingCopy | None = None

    @property
    def store(self) -> KeyStore:
        if self._opened is None:
            self._opened = self._open_store()
        return self._opened

    def _close_store(self) -> None:
        """Close the connections, which the next use opens again, unless the run that holds the lock needs them."""
        if self._opened is not None and self._lease is None:
            self._opened.close()
            self._opened = None

    def exists(self) -> bool:
        contents = self.contents()
        return contents is not None and not contents.is_empty

    def contents(self) -> Contents | None:
        """Return what the state consists of, or None if there never was one."""
        try:
            state_id = read_id(self.store)
            return read_contents(self.store, state_id) if state_id is not None else None
        finally:
            self._close_store()

    def check_copy(self) -> None:
        """Raise StateError if the store lost what the working copy of this machine has. Changes nothing."""
        if not self.path.is_file() or lock_holder(self.path) is not None:
            return
        # A copy that cannot be read is fetched again.
        with contextlib.suppress(sqlite3.Error, SegmentMissing):
            uri = f"file:{quote(os.path.abspath(self.path))}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
                read_and_compare(connection, self.path, self.store)
        self._close_store()

    def _prepare(self) -> None:
        """Make sure that the working copy can be written: in a temporary folder if the checkout is read-only."""
        try:
            prepare_folder(self.path)
            if not os.access(self.path.parent, os.W_OK):
                raise StateError("read-only")
        except StateError:
            if self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="metalake-sync-", ignore_cleanup_errors=True)
            self.path = Path(self._temporary.name) / self.path.name

    def _open_copy(self) -> sqlite3.Connection:
        """Open the working copy, or a new one in place of one that cannot be used: it only saves time."""
        sound = was_sound(self.path)
        try:
            connection = open_database(self.path)
            try:
                if not sound:
                    with explain_errors(self.path):
                        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                    if found != "ok":
                        raise StateError(found)
            except BaseException:
                connection.close()
                raise
            return connection
        except StateError:
            if self._lease is None and lock_holder(self.path) is not None:
                raise
            self._discard_copy()
            return open_database(self.path)

    def _discard_copy(self) -> None:
        for path in files_of(self.path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def open(self) -> WorkingCopy:
        self._prepare()
        connection = self._open_copy()
        try:
            with explain_errors(self.path):
                # Other threads only read: the run that took the lease writes.
                if self._lease is None or self._writer_thread != threading.get_ident():
                    with self._refresh_lock():
                        if not (is_being_written(connection) and lock_holder(self.path) is not None):
                            refresh(connection, self.path, self.store)
                    self._close_store()
                    return ReadingCopy(self.path, connection)
                if self._writing is not None and not self._writing.closed:
                    return ReadingCopy(self.path, connection)
            with self._refresh_lock():
                self._writing = WritingCopy(self.path, connection, self.store, self._lease)
        except BaseException:
            connection.close()
            raise
        return self._writing

    def _refresh_lock(self) -> FileLock:
        """The lock of the command that fills the copy. It is not that of runs, which readers must never delay."""
        beside = self.path.with_suffix(".refresh.db")
        return FileLock(beside, command="refresh", timeout_s=COPY_LOCK_TIMEOUT_S)

    @contextlib.contextmanager
    def lock(
        self,
        *,
        command: str,
        timeout_s: float = 0.0,
        waiting: Callable[[str], None] | None = None,
    ) -> Iterator[Lease]:
        self._prepare()
        self._check_not_inside()
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            stack.callback(self._close_store)
            # Two commands on this machine share the copy. The lock of it costs no request, so that it comes first.
            stack.enter_context(FileLock(self.path, command=command, timeout_s=timeout_s, waiting=waiting))
            left_s = max(0.0, timeout_s - (time.monotonic() - started))
            lease = Lease(self.store, self.location, command=command, timeout_s=left_s, waiting=waiting)
            self._lease = stack.enter_context(lease)
            self._writer_thread = threading.get_ident()
            stack.callback(self._forget_lease)
            yield lease

    def _check_not_inside(self) -> None:
        """Raise UsageError if this place is among the keys of another state."""
        if self._open_outer is None:
            return
        with contextlib.closing(self._open_outer()) as outer:
            if outer.get(STATE) is None:
                return
        raise UsageError(
            f"the prefix has the keys of the state {outer.location}",
            where=self.location,
            remedy="Nothing was done. Use a prefix that is not inside another state.",
        )

    def _forget_lease(self) -> None:
        self._lease = None

    def lock_by_hand(self, *, command: str, timeout_s: float = 0.0) -> None:
        """Take the lease, and keep it until it is released by `break_lock`."""
        check_conditional_writes(self.store)
        self._check_not_inside()
        lease = Lease(self.store, self.location, command=command, timeout_s=timeout_s, manual=True)
        lease.__enter__()
        if read_id(self.store) is not None:
            # A run that is paused, and lost the lease before, finds that its next segment is taken.
            self._append_nothing(lease)
        self._close_store()

    def lock_holder(self) -> str | None:
        found = newest_lease(self.store)
        self._close_store()
        return None if found is None or found[1].released else found[1].describe(time.time())

    def break_lock(self, *, force: bool) -> str | None:
        holder = release(self.store, self.location, force=force)
        self._close_store()
        if not force:
            return holder
        here = break_lock(self.path, force=True)
        if here is not None:
            # Its run stops when it finds that its copy is gone.
            self._discard_copy()
        return holder or here

    def set_aside(self) -> Path | None:
        """Copy the state into the folder `backups` of this machine and into the store, and begin an empty one.

        What cannot be read stays in the store as it is.
        """
        lease = self._require_lease()
        self._prepare()
        try:
            contents = self.contents()
            if contents is None or contents.is_empty:
                return None
            self._end_writing()
            target = self._back_up(contents)
        except StateDamaged:
            target = None
        head = max(self._keep_what_is_ahead(), self._append_nothing(lease))
        self.store.put(STATE, StateId(secrets.token_hex(8), head, keeps_old=target is None).encode())
        return target

    def _back_up(self, contents: Contents) -> Path:
        """Keep the present state in the store and on this machine. Returns the local copy. Raises StateError."""
        target = backup_path(self.path, "set-aside")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.fetched() as present, scratch_folder(self.path) as folder:
            export(present, target)
            compress(target, folder / "backup.gz")
            upload(self.store, folder / "backup.gz", backup_key(contents.head, contents.id.id), folder)
        self.store.delete(self.store.keys(BACKUPS)[:-BACKUPS_KEPT])
        return target

    @contextlib.contextmanager
    def fetched(self) -> Iterator[Path]:
        """The state as the store has it, in a temporary file. Does not read or change the working copy.

        Raises StateError and StateUnreachable.
        """
        self._prepare()
        with scratch_folder(self.path) as folder:
            path = folder / "fetched.db"
            with contextlib.closing(open_database(path)) as connection, explain_errors(path):
                refresh(connection, path, self.store)
            self._close_store()
            yield path

    def _keep_what_is_ahead(self) -> int:
        """Copy the working copy to `backups` if it has more than the store. Returns its sequence number.

        The state that takes the place of the present one begins after that number, so that no number is used twice.
        """
        if not self.path.is_file():
            return 0
        with contextlib.closing(self._open_copy()) as connection, explain_errors(self.path):
            copy = version_of_copy(connection)
            if copy is None:
                return 0
            if copy.sequence > last_sequence(self.store):
                back_up(connection, self.path, "ahead-of-the-store")
            return copy.sequence

    def replace_with(self, source: Path) -> None:
        lease = self._require_lease()
        check_conditional_writes(self.store)
        self._prepare()
        with scratch_folder(self.path) as folder:
            given = folder / "given.db"
            copy_file(source, given)
            as_current(given, str(source))
            export(given, folder / "snapshot.db")
            compress(folder / "snapshot.db", folder / "snapshot.gz")
            self._end_writing()
            readable = True
            try:
                contents = self.contents()
                if contents is not None and not contents.is_empty:
                    self._back_up(contents)
            except StateDamaged:
                readable = False
            head = max(self._keep_what_is_ahead(), self._append_nothing(lease), sequence_of_copy(given))
            fresh = StateId(secrets.token_hex(8), head, has_snapshot=True, keeps_old=not readable)
            upload(self.store, folder / "snapshot.gz", snapshot_key(head, fresh.id), folder)
            lease.check()
            self.store.put(STATE, fresh.encode())
            self.store.delete(read_contents(self.store, fresh).stale)

    def _end_writing(self) -> None:
        """Send what the open copy still has, and let it write nothing more."""
        if self._writing is not None and not self._writing.closed:
            self._writing.barrier()
            self._writing.stop(removed(self.location))

    def _append_nothing(self, lease: Lease) -> int:
        """Create an empty segment, which shows that no other run took over. Returns its sequence number."""
        sequence = last_sequence(self.store) + 1
        if lease.took_over:
            self.store.put(fence_key(sequence), b"")
        if not self.store.create(segment_key(sequence), pack(new_segment(sequence, lease.epoch, []))):
            raise lease.lose()
        lease.fenced = True
        return sequence

    def _require_lease(self) -> Lease:
        assert self._lease is not None, "the caller holds the lock"
        self._lease.check()
        return self._lease
