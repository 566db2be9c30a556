"""One run at a time for each state: an OS lock, with a note that says who holds it.

Owns: the lock file and its note. The lock itself is the operating system's, so a killed holder never blocks the next.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from metalake_sync.errors import StateLocked
from metalake_sync.state.database import prepare_folder


class StateLock:
    """Holds the lock while used as a context manager.

    `timeout_s`: how long to wait for another holder; 0 gives up at once. Raises StateLocked, naming the holder.
    """

    def __init__(self, state: Path, *, command: str, timeout_s: float = 0.0) -> None:
        # Only who writes pays for it: 30 ms.
        import filelock

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
                remedy="Wait for it, or give --lock-timeout SECONDS to wait here.",
            ) from None
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "command": self._command}
        self._note.write_text(json.dumps(note))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._note.unlink(missing_ok=True)
        self._lock.release()

    def _holder(self) -> str:
        """Who holds it, as far as the note can tell: it may be gone, or half written."""
        try:
            note: dict[str, Any] = json.loads(self._note.read_text())
            age_s = max(0, round(time.time() - float(note["since"])))
            return f": '{note['command']}' with pid {note['pid']} on {note['host']}, since {age_s} s"
        except (OSError, ValueError, KeyError, TypeError):
            return ""
