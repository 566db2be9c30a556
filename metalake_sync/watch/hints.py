"""Hints about changes, and the box that passes them from the triggers to the loop.

Owns: the closed union of hints, and passing them from the triggers' threads to the loop's. Must not: decide when a run
handles them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TypeAlias

from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class FolderTouched:
    """Something in this folder changed."""

    path: str
    removal: bool = False
    """Only removals are known."""


@dataclass(frozen=True, slots=True)
class TreeTouched:
    """A folder appeared, or anything at any depth below it may have changed."""

    path: str
    removal: bool = False


@dataclass(frozen=True, slots=True)
class SourceTouched:
    """An annotation or metadata source changed, which may affect any file."""

    path: str


@dataclass(frozen=True, slots=True)
class ManifestTouched:
    """The manifest, a file of variables or a credentials file changed."""


@dataclass(frozen=True, slots=True)
class EventsLost:
    """Notifications were lost, so anything may have changed."""

    why: str
    """The reason, for the log."""


Hint: TypeAlias = FolderTouched | TreeTouched | SourceTouched | ManifestTouched | EventsLost


class HintBox:
    """Receives hints from any thread and wakes the loop. Equal hints are kept once. Above `limit` hints, one EventsLost
    replaces all of them, so that a burst cannot fill the memory."""

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._hints: dict[Hint, None] = {}
        self._lost: EventsLost | None = None
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def put(self, hint: Hint) -> None:
        with self._lock:
            if isinstance(hint, EventsLost):
                self._lost = hint
            elif len(self._hints) < self._limit:
                self._hints[hint] = None
            else:
                manifest = ManifestTouched()
                self._hints = {manifest: None} if manifest in self._hints or hint == manifest else {}
                self._lost = EventsLost(f"more than {self._limit} folders changed at once")
        self.wake()

    def wake(self) -> None:
        """End the loop's wait. Safe in a signal handler, because it takes no lock."""
        try:
            os.write(self._write_end, b"!")
        except BlockingIOError:
            return  # the pipe is full of unread wake-ups, and one is enough

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the box has a hint."""
        return self._read_end

    def take(self) -> Sequence[Hint]:
        """Return all hints and empty the box."""
        try:
            while os.read(self._read_end, 4096):
                pass
        except BlockingIOError:
            pass
        with self._lock:
            hints: list[Hint] = list(self._hints)
            if self._lost is not None:
                hints.append(self._lost)
            self._hints, self._lost = {}, None
        return hints

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)
