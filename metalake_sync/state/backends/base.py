"""The port between the state and the place where it is kept.

Owns: what a backend must do. Must not: know any backend, or what the tables hold.

Every backend gives the store a SQLite file to work on, its *working copy*. A file backend works on the state itself. A
shared backend fills a copy of its own, and sends each commit to a log (`shared`).

`tests/state/test_backends.py` has the conformance suite that every backend must pass.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class WorkingCopy(Protocol):
    """An open SQLite database with the state in it. One thread writes; any thread may call `barrier`."""

    @property
    def path(self) -> Path:
        """The SQLite file, as errors show it."""

    @property
    def is_shared(self) -> bool:
        """Whether other machines use this state too."""

    @property
    def connection(self) -> sqlite3.Connection:
        """A connection in autocommit mode whose tables are up to date."""

    def check(self) -> None:
        """Raise StateError if this process must not write any more.

        The store calls it before each transaction. A file backend fails if the file was removed or replaced. A backend
        with leases fails if another process holds a newer lease.
        """

    def keeps_transaction(self) -> bool:
        """Return whether the open transaction may be committed. The store calls it before each COMMIT.

        If not, the store rolls it back, without an error: a shared state that is open without its lock keeps changes
        of caches only.
        """

    def committed(self) -> None:
        """Take note of a finished transaction. The store calls it after each COMMIT."""

    def barrier(self) -> None:
        """Return when everything committed so far would survive the loss of this machine's power.

        A backend that keeps the state elsewhere returns when everything committed so far is there. The caller calls
        it before a step that cannot be undone. Raises StateError.
        """

    def back_up(self, to: Path | None = None) -> Path:
        """Write a consistent copy to `to`, or to a new file, and return its path. Raises StateError."""

    def close(self) -> None:
        """Close the connection. The working copy cannot be used afterwards.

        A backend that keeps the state elsewhere first sends what is left. Raises StateLocked and StateUnreachable if it
        cannot.
        """


class StateBackend(Protocol):
    """The place of one state. Creating a backend touches nothing."""

    @property
    def path(self) -> Path:
        """The SQLite file on this machine. Backups are beside it. It may not exist yet."""

    @property
    def is_shared(self) -> bool:
        """Whether other machines use this state too."""

    @property
    def location(self) -> str:
        """The place as users write it. Errors and `state show` print it, so it must not contain credentials."""

    def exists(self) -> bool:
        """Return whether a state was created here."""

    def open(self) -> WorkingCopy:
        """Open the state, or create an empty one. Needs no lock. What is written without the lock may be dropped.

        Raises StateError if it cannot be read, is not a state, or was written by a newer version.
        """

    def lock(
        self, *, command: str, timeout_s: float = 0.0, waiting: Callable[[str], None] | None = None
    ) -> AbstractContextManager[object]:
        """Return a context manager that keeps all other runs from writing to this state.

        `command` is shown to other runs. `timeout_s` is how long entering waits for another holder; 0 fails at once.
        `waiting` receives what it waits for, before it waits.
        Entering raises StateLocked and names the holder. A holder that was killed must not block the next run forever.
        """

    def lock_holder(self) -> str | None:
        """Describe the run that holds the lock, or return None if it is free."""

    def break_lock(self, *, force: bool) -> str | None:
        """Free the lock and return a description of its holder, or None if it was free.

        Raises StateLocked if the holder is alive and `force` is false.
        """

    def replace_with(self, source: Path) -> None:
        """Make a copy of a state file the state. The state before is in `backups`, or gone from a shared place.

        Call it while holding the lock, with no working copy open. Raises StateError if `source` is not a state.
        """

    def set_aside(self) -> Path | None:
        """Move the state away, so that `open` creates an empty one. Return where it is now, or None if there was none.

        Call it while holding the lock.
        """
