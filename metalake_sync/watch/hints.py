"""What a trigger can say, and the box through which it says it to the loop.

Owns: the closed union of hints and the crossing from the triggers' threads to the loop's. Must not: decide when
anything is done about them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TypeAlias

from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class FolderTouched:
    """Something in this folder changed; `removal`: all that is known is that something went away."""

    path: str
    removal: bool = False


@dataclass(frozen=True, slots=True)
class TreeTouched:
    """A folder came, or anything at any depth below it may have changed."""

    path: str
    removal: bool = False


@dataclass(frozen=True, slots=True)
class SourceTouched:
    """A source of annotations or metadata changed: any file may be concerned."""

    path: str


@dataclass(frozen=True, slots=True)
class ManifestTouched:
    """The manifest, or a file of variables."""


@dataclass(frozen=True, slots=True)
class EventsLost:
    """Notifications were lost: anything may have changed. `why`: a clause."""

    why: str


Hint: TypeAlias = FolderTouched | TreeTouched | SourceTouched | ManifestTouched | EventsLost


class HintBox:
    """Takes hints from any thread, and wakes the loop. Hints are a set: an event that comes twice is one hint. Past
    `limit` of them they are given up for one EventsLost, so that a storm can't fill the memory."""

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
                self._lost = EventsLost(f"more than {self._limit} folders were touched at once")
        self.wake()

    def wake(self) -> None:
        """End the loop's wait. Safe in a signal handler: it takes no lock."""
        try:
            os.write(self._write_end, b"!")
        except BlockingIOError:
            return  # the pipe is full of wake-ups that were not read yet; one is enough

    def fileno(self) -> int:
        """Becomes readable when something was put in."""
        return self._read_end

    def take(self) -> Sequence[Hint]:
        """Empty the box."""
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
