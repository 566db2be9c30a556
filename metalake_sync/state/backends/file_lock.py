"""A lock file that admits one run at a time, with a note that describes its holder.

Owns: the lock file and its note. The operating system holds the lock itself, so a killed holder never blocks the next.
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


class FileLock:
    """Holds the lock of a state while used as a context manager.

    `state` is the canonical path of the state, in a folder that exists. The lock file is created beside it. `timeout_s`
    is how long to wait for another holder; 0 fails at once. Entering raises StateLocked and names the holder.
    """

    def __init__(self, state: Path, *, command: str, timeout_s: float = 0.0) -> None:
        # Only commands that write pay for this import: 30 ms.
        import filelock

        self._state = state
        self._command = command
        self._timeout_s = timeout_s
        self._note = state.with_suffix(".lock.json")
        self._lock = filelock.FileLock(state.with_suffix(".lock"), mode=0o600, thread_local=False)

    def __enter__(self) -> FileLock:
        import filelock

        try:
            self._lock.acquire(timeout=self._timeout_s)
        except filelock.Timeout:
            raise StateLocked(
                f"another run holds the state{self._holder()}",
                where=str(self._state),
                remedy="Wait for it to end, or wait here with --lock-timeout SECONDS. If you are sure that it is dead,"
                " free the lock with 'state unlock'.",
            ) from None
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "command": self._command}
        self._written = json.dumps(note)
        with open(self._note, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as note_file:
            note_file.write(self._written)
        return self

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
