"""One run at a time for each state: an OS lock, with a note that says who holds it.

Owns: the lock file and its note. The lock itself is the operating system's, so a killed holder never blocks the next.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from metalake_sync.errors import StateLocked
from metalake_sync.state.database import canonical_path, prepare_folder


class StateLock:
    """Holds the lock while used as a context manager.

    `timeout_s`: how long to wait for another holder; 0 gives up at once. Raises StateLocked, naming the holder.
    """

    def __init__(self, state: Path, *, command: str, timeout_s: float = 0.0) -> None:
        # Only who writes pays for it: 30 ms.
        import filelock

        state = canonical_path(state)
        self._state = state
        self._command = command
        self._timeout_s = timeout_s
        self._note = state.with_suffix(".lock.json")
        self._lock = filelock.FileLock(state.with_suffix(".lock"), mode=0o600, thread_local=False)

    def __enter__(self) -> StateLock:
        import filelock

        prepare_folder(self._state)
        try:
            self._lock.acquire(timeout=self._timeout_s)
        except filelock.Timeout:
            raise StateLocked(
                f"another run holds the state{self._holder()}",
                where=str(self._state),
                remedy="Wait for it, or give --lock-timeout SECONDS to wait here. If it is dead for sure, free the lock"
                " with 'state unlock'.",
            ) from None
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "command": self._command}
        self._written = json.dumps(note)
        with open(self._note, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as note_file:
            note_file.write(self._written)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a forced unlock the note may be the next holder's.
        with contextlib.suppress(OSError):
            if self._note.read_text() == self._written:
                self._note.unlink()
        self._lock.release()

    def _holder(self) -> str:
        holder = _read_note(self._note)
        return f": {holder}" if holder else ""


def lock_holder(state: Path) -> str | None:
    """Who holds the lock of a state, None if nobody does."""
    state = canonical_path(state)
    if not state.with_suffix(".lock").exists():
        return None
    import filelock

    lock = filelock.FileLock(state.with_suffix(".lock"), mode=0o600, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return _read_note(state.with_suffix(".lock.json")) or "somebody"
    lock.release()
    return None


def break_lock(state: Path, *, force: bool) -> str | None:
    """Free a lock. Returns who held it, None if nobody did.

    The lock is the operating system's, which frees it when its holder dies: what is left behind then is a note. With
    `force` the lock file itself is removed, and the next run makes a new one, whatever the holder does. Raises
    StateLocked without it.
    """
    state = canonical_path(state)
    holder = lock_holder(state)
    if holder is None:
        state.with_suffix(".lock.json").unlink(missing_ok=True)
        return None
    if not force:
        raise StateLocked(
            f"another run holds the state: {holder}",
            where=str(state),
            remedy="Stop it. If it is dead for sure, on another machine or a shared disk, give --force.",
        )
    state.with_suffix(".lock").unlink(missing_ok=True)
    state.with_suffix(".lock.json").unlink(missing_ok=True)
    return holder


def _read_note(note_file: Path) -> str | None:
    """Who holds a lock, as far as the note can tell: it may be gone, or half written."""
    try:
        note: dict[str, Any] = json.loads(note_file.read_text())
        age_s = max(0, round(time.time() - float(note["since"])))
        return f"'{note['command']}' with pid {note['pid']} on {note['host']}, since {age_s} s"
    except (OSError, ValueError, KeyError, TypeError):
        return None
