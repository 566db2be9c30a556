"""When to run, and on what: a pure state machine. Every call is told the time; there is no clock in here.

Owns: quiet periods, the hard cap, the collapse of bursts, and that deletes come last. Must not: look at the disk.

Times are seconds of a clock that only goes forward.
"""

from __future__ import annotations

import os
from dataclasses import field
from enum import IntEnum
from typing import assert_never

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.watch.hints import (
    EventsLost,
    FolderTouched,
    Hint,
    ManifestTouched,
    SourceTouched,
    TreeTouched,
)


class Width(IntEnum):
    """How much a run looks at: hinted folders; the whole disk, believing the records about the lake; the lake too."""

    FOLDERS = 0
    DISK = 1
    FULL = 2


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is to look at. `folders` and `trees` are absolute paths, and empty where the width says more."""

    width: Width
    folders: frozenset[str] = frozenset()
    trees: frozenset[str] = frozenset()

    def merged(self, other: Work | None) -> Work:
        """Work that does both."""
        if other is None:
            return self
        width = max(self.width, other.width)
        if width is not Width.FOLDERS:
            return Work(width)
        return Work(width, self.folders | other.folders, self.trees | other.trees)


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds. `quiet_s`: a folder is due when nothing was heard of it for so long. `cap_s`: and at the latest so
    long after its first hint. `places`: more hinted places than that are collapsed to the folder above them all."""

    quiet_s: float = 2.0
    cap_s: float = 30.0
    places: int = 500


@dataclass(slots=True)
class _Waiting:
    first: float
    last: float
    deep: bool
    removal: bool


@dataclass(slots=True)
class Debouncer:
    """Collects hints, and says when which of them are due."""

    timing: Timing
    _places: dict[str, _Waiting] = field(default_factory=dict)
    _whole: _Waiting | None = None
    _whole_width: Width = Width.FOLDERS

    def hint(self, hint: Hint, now: float) -> None:
        """Hear of a change."""
        match hint:
            case FolderTouched():
                self._touch(hint.path, now, deep=False, removal=hint.removal)
            case TreeTouched():
                self._touch(hint.path, now, deep=True, removal=hint.removal)
            case SourceTouched() | EventsLost():
                self._widen(Width.DISK, now)
            case ManifestTouched():
                self._widen(Width.FULL, now)
            case _:
                assert_never(hint)

    def want(self, width: Width, now: float) -> None:
        """Ask for a wide run at once: the timer, the start, a clock that jumped."""
        assert width is not Width.FOLDERS
        self._widen(width, now - self.timing.quiet_s)

    def put_back(self, work: Work, now: float) -> None:
        """A run did not come through: all that it was to look at waits again."""
        if work.width is not Width.FOLDERS:
            self._widen(work.width, now)
        for path in work.folders:
            self._touch(path, now, deep=False, removal=False)
        for path in work.trees:
            self._touch(path, now, deep=True, removal=False)

    def due_at(self, *, settling: bool = False) -> float | None:
        """When `take` will have something, if nothing more is heard. None while nothing waits."""
        if self._whole is not None:
            return self._due(self._whole)
        adding = [self._due(waiting) for waiting in self._places.values() if not waiting.removal]
        removing = [self._due(waiting) for waiting in self._places.values() if waiting.removal]
        if removing and (adding or settling):
            caps = [waiting.first + self.timing.cap_s for waiting in self._places.values() if waiting.removal]
            return min([*adding, *caps])
        return min(adding or removing, default=None)

    def take(self, now: float, *, settling: bool = False) -> Work | None:
        """What is due. A wide run takes everything with it. Places that only lost something wait until nothing else
        does, so that a file that moved is seen at its new place no later than it is missed at the old one. `settling`:
        files are known that come to rest elsewhere."""
        if self._whole is not None:
            if self._due(self._whole) > now:
                return None
            work = Work(self._whole_width)
            self._whole, self._whole_width = None, Width.FOLDERS
            self._places.clear()
            return work
        due = {path: waiting for path, waiting in self._places.items() if self._due(waiting) <= now}
        adding = {path for path, waiting in self._places.items() if not waiting.removal}
        resting = not settling and adding <= due.keys()
        taken = {
            path: waiting
            for path, waiting in due.items()
            if not waiting.removal or resting or waiting.first + self.timing.cap_s <= now
        }
        if not taken:
            return None
        for path in taken:
            del self._places[path]
        return Work(
            Width.FOLDERS,
            frozenset(path for path, waiting in taken.items() if not waiting.deep),
            frozenset(path for path, waiting in taken.items() if waiting.deep),
        )

    def __len__(self) -> int:
        """How many places wait; a wide run counts as one."""
        return len(self._places) + (self._whole is not None)

    def _due(self, waiting: _Waiting) -> float:
        return min(waiting.last + self.timing.quiet_s, waiting.first + self.timing.cap_s)

    def _widen(self, width: Width, now: float) -> None:
        if self._whole is None:
            self._whole = _Waiting(now, now, deep=True, removal=False)
        else:
            self._whole.last = max(self._whole.last, now)
        self._whole_width = max(self._whole_width, width)

    def _touch(self, path: str, now: float, *, deep: bool, removal: bool) -> None:
        waiting = self._places.get(path)
        if waiting is not None:
            waiting.last = max(waiting.last, now)
            waiting.deep = waiting.deep or deep
            waiting.removal = waiting.removal and removal
            return
        self._places[path] = _Waiting(now, now, deep, removal)
        if len(self._places) > self.timing.places:
            self._collapse()

    def _collapse(self) -> None:
        """Make one place of many: the folder above them all. At the top of the disk that is a run over everything."""
        places = self._places.values()
        together = _Waiting(
            min(waiting.first for waiting in places),
            max(waiting.last for waiting in places),
            deep=True,
            removal=all(waiting.removal for waiting in places),
        )
        top = os.path.commonpath(list(self._places))
        self._places.clear()
        if top == "/":
            self._widen(Width.DISK, together.first)
            self._widen(Width.DISK, together.last)
        else:
            self._places[top] = together
