"""`state lock|push|pull|migrate`: move a state between files and the places that several machines share.

Must not: ask the lake.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote

from metalake_sync.engine import Engine
from metalake_sync.errors import GuardStopped, StateError, UsageError
from metalake_sync.operations.state import back_up, require_state
from metalake_sync.state.backends.base import StateBackend
from metalake_sync.state.backends.opening import open_backend
from metalake_sync.state.backends.shared import SharedBackend
from metalake_sync.state.store import StateStore, StateVersion


def pull(engine: Engine, to: Path) -> StateVersion:
    """Copy the state into a new file. Returns which state it is."""
    return version_of(back_up(engine, to))


def push(engine: Engine, source: Path, *, force: bool, lock_timeout_s: float = 0.0) -> StateVersion:
    """Make a state file the state of a manifest. Returns which state it is.

    Raises GuardStopped for a file of another state, or one that is older than the present state, unless `force`.
    """
    given = version_of(source)
    backend = engine.state_backend
    with backend.lock(command="state push", timeout_s=lock_timeout_s):
        _check_newer(backend, given, str(source), force=force)
        backend.replace_with(source)
    return given


def migrate(engine: Engine, to: str, *, force: bool, lock_timeout_s: float = 0.0) -> StateVersion:
    """Copy the state to another place, which it does not name yet. Returns which state it is.

    No run of this manifest can write meanwhile. The state stays where it is.
    """
    require_state(engine)
    source = engine.state_backend
    target = open_backend(to, engine.manifest.base_dir, engine.manifest.name)
    if target.location == source.location:
        raise UsageError(f"the state is at {to} already", remedy="Name another place with --to.")
    with (
        source.lock(command="state migrate", timeout_s=lock_timeout_s),
        target.lock(command="state migrate", timeout_s=lock_timeout_s),
    ):
        with StateStore(source) as state:
            copy = state.back_up()
            given = state.version
        try:
            _check_newer(target, given, source.location, force=force)
            target.replace_with(copy)
        finally:
            copy.unlink(missing_ok=True)
    return given


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


def version_of(source: Path) -> StateVersion:
    """Return which state a file is. Raises StateError if it is not a state."""
    uri = f"file:{quote(str(source))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            rows = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('lineage', 'serial')"))
            return StateVersion(rows.get("lineage"), int(rows.get("serial", 0)))
    except (sqlite3.Error, ValueError) as error:
        raise StateError(
            f"the file is not a state ({error})", where=str(source), remedy="Name a file that 'state pull' wrote."
        ) from None


def _check_newer(backend: StateBackend, given: StateVersion, source: str, *, force: bool) -> None:
    if force:
        return
    try:
        if not backend.exists():
            return
    except StateError as error:
        raise StateError(
            error.message,
            where=error.where,
            remedy="To replace it all the same, add --force. What is there stays in the store.",
        ) from None
    with StateStore(backend) as state:
        present, empty = state.version, not state.collections.lakes()
    if (present.serial == 0 and empty) or (present.lineage == given.lineage and present.serial <= given.serial):
        return
    found = (
        f"a newer one: {present.serial} runs wrote to it, and {given.serial} to {source}"
        if present.lineage == given.lineage
        else f"another one than {source}"
    )
    raise GuardStopped(
        f"the state that is there is {found}",
        where=backend.location,
        remedy="Nothing was done. To replace it all the same, add --force.",
    )
