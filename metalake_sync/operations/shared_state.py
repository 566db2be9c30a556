"""`state lock|push|pull|migrate`: move a state between files and the places that several machines share.

Must not: ask the lake.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from metalake_sync.engine import Engine
from metalake_sync.errors import GuardStopped, StateError, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.operations.state import back_up, require_state
from metalake_sync.state.backends.base import StateBackend
from metalake_sync.state.backends.opening import open_backend
from metalake_sync.state.backends.shared import SharedBackend
from metalake_sync.state.database import copy_file
from metalake_sync.state.store import MARK, StateStore, StateVersion


def pull(engine: Engine, to: Path) -> StateVersion:
    """Copy the state into a new file. Returns which state it is."""
    return read_history(back_up(engine, to)).version


def push(engine: Engine, source: Path, *, force: bool, lock_timeout_s: float = 0.0) -> StateVersion:
    """Make a state file the state of a manifest. Returns which state it is.

    Raises GuardStopped for a file that lacks a run of the present state, or is another state, unless `force`.
    """
    backend = engine.state_backend
    read_history(source)
    with backend.lock(command="state push", timeout_s=lock_timeout_s):
        return _replace(backend, source, str(source), force=force)


def migrate(engine: Engine, to: str, *, force: bool, lock_timeout_s: float = 0.0) -> StateVersion:
    """Copy the state to another place, which it does not name yet. Returns which state it is.

    No run of this manifest can write meanwhile. The state stays where it is.
    """
    require_state(engine)
    source = engine.state_backend
    target = open_backend(to, engine.manifest.base_dir, engine.manifest.name)
    if _place(target) == _place(source):
        raise UsageError("the state is already there", where=target.location, remedy="Name another place with --to.")
    with (
        source.lock(command="state migrate", timeout_s=lock_timeout_s),
        target.lock(command="state migrate", timeout_s=lock_timeout_s),
    ):
        with StateStore(source) as state:
            copy = state.back_up()
        try:
            return _replace(target, copy, source.location, force=force)
        finally:
            copy.unlink(missing_ok=True)


def _place(backend: StateBackend) -> str:
    """Return a text that is equal for two backends of one place."""
    return backend.location if backend.is_shared else os.path.realpath(backend.path)


def _replace(backend: StateBackend, source: Path, shown_as: str, *, force: bool) -> StateVersion:
    """Make a state file the state of a backend, whose lock is held. Returns which state it is.

    Without `force`, the file must have everything that the present state has. With `force`, it gets a serial above
    that of the present state: a plan that was saved for one of them never fits the other.
    """
    difference = _find_difference(backend, source, shown_as, force=force)
    if difference is None:
        backend.replace_with(source)
        return read_history(source).version
    with tempfile.TemporaryDirectory(prefix="metalake-sync-") as folder:
        renumbered = Path(folder) / "state.db"
        copy_file(source, renumbered)
        with StateStore(renumbered) as state:
            with state.write():
                state.advance_serial(above=difference)
            version = state.version
        backend.replace_with(renumbered)
        return version


def lock(engine: Engine, *, lock_timeout_s: float = 0.0) -> None:
    """Keep every run from writing to a shared state, until `state unlock`."""
    backend = engine.state_backend
    if not isinstance(backend, SharedBackend):
        raise UsageError(
            "only a shared state can be locked by hand: the lock of a file ends with the process that holds it",
            where=backend.location,
            remedy="Stop the runs, or move the state with 'metalake-sync state migrate MANIFEST --to URL'.",
        )
    backend.lock_by_hand(command="state lock", timeout_s=lock_timeout_s)


@dataclass(frozen=True, slots=True)
class History:
    """What tells whether one state has everything that another one has."""

    version: StateVersion
    mark: str | None
    """The random value of the serial. None: an earlier version wrote the state."""
    last_run: tuple[str, str] | None
    """The id and the start of the last run, also of one that was killed and did not change the serial."""
    is_empty: bool


def read_history(source: Path) -> History:
    """Return the history of a state file. Raises StateError if it is not a state."""
    with _read_only(source) as connection:
        rows = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('lineage', 'serial')"))
        version = StateVersion(rows.get("lineage"), int(rows.get("serial", 0)))
        last = connection.execute("SELECT id, started_at FROM runs ORDER BY started_at DESC, id DESC LIMIT 1")
        last_run: tuple[str, str] | None = last.fetchone()
        known = connection.execute("SELECT 1 FROM collections LIMIT 1").fetchone() is not None
        return History(version, _mark(connection, version.serial), last_run, is_empty=version.serial == 0 and not known)


def _lacks_something(source: Path, present: History) -> bool:
    """Whether a state file of the same lineage lacks a change that the present state has."""
    with _read_only(source) as connection:
        if present.mark is not None and _mark(connection, present.version.serial) != present.mark:
            return True
        if present.last_run is None:
            return False
        run_id, started_at = present.last_run
        # A state deletes old runs (`history: {keep}`). They are not missing.
        return not connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() and bool(
            connection.execute("SELECT 1 FROM runs WHERE started_at <= ? LIMIT 1", (started_at,)).fetchone()
            or not connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone()
        )


def _mark(connection: sqlite3.Connection, serial: int) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (f"{MARK}{serial}",)).fetchone()
    return str(row[0]) if row else None


@contextlib.contextmanager
def _read_only(source: Path) -> Iterator[sqlite3.Connection]:
    uri = f"file:{quote(os.fspath(source))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            yield connection
    except (sqlite3.Error, ValueError) as error:
        raise StateError(
            f"the file is not a state ({error})", where=str(source), remedy="Name a file that 'state pull' wrote."
        ) from None


@contextlib.contextmanager
def _present_state(backend: StateBackend) -> Iterator[Path]:
    """A file with the present state, as its place has it: not the working copy of this machine, which may differ."""
    if isinstance(backend, SharedBackend):
        with backend.fetched() as path:
            yield path
    else:
        yield backend.path


def _find_difference(backend: StateBackend, source: Path, shown_as: str, *, force: bool) -> int | None:
    """Return the serial of the present state if a state file lacks something of it, or None. Then it raises
    GuardStopped without `force`, and StateError if the present state cannot be read."""
    try:
        if not backend.exists():
            return None
        with _present_state(backend) as path:
            present = read_history(path)
    except StateError as error:
        if force:
            return read_history(source).version.serial
        raise StateError(
            error.message,
            where=error.where,
            remedy="To replace it all the same, add --force. What is there stays in the store.",
        ) from None
    given = read_history(source)
    if present.is_empty:
        return None
    if present.version.lineage != given.version.lineage:
        found = f"another one than {shown_as}"
    elif present.version.serial > given.version.serial:
        found = f"a newer one: {present.version.serial} runs wrote to it, and {given.version.serial} to {shown_as}"
    elif _lacks_something(source, present):
        last = f", such as the run {present.last_run[0]}" if present.last_run is not None else ""
        found = f"another version of {shown_as}: it has changes that {shown_as} does not have{last}"
    else:
        return None
    if force:
        return present.version.serial
    raise GuardStopped(
        f"the state that is there is {found}",
        where=backend.location,
        remedy="Nothing was done. To replace it all the same, add --force.",
    )
