"""When to run, and on what: a pure state machine. Every call receives the time.

Owns: quiet periods, the maximum delay, the collapse of bursts, and that deletes come last. Must not: read the disk or a
clock.

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


class Coverage(IntEnum):
    """How much a run covers."""

    FOLDERS = 0
    """Folders with hints. The run trusts the records about the lake."""
    DISK = 1
    """The whole disk. The run trusts the records about the lake."""
    FULL = 2
    """The whole disk and the lake."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a run covers. `folders` and `trees` are empty unless the coverage is FOLDERS."""

    coverage: Coverage
    folders: frozenset[str] = frozenset()
    """Absolute paths of folders, without their subfolders."""
    trees: frozenset[str] = frozenset()
    """Absolute paths of folders, with their subfolders."""

    def merged(self, other: Work | None) -> Work:
        """Return work that covers both."""
        if other is None:
            return self
        coverage = max(self.coverage, other.coverage)
        if coverage is not Coverage.FOLDERS:
            return Work(coverage)
        return Work(coverage, self.folders | other.folders, self.trees | other.trees)


@dataclass(frozen=True, slots=True)
class Timing:
    """When hints are due."""

    quiet_s: float = 2.0
    """A folder is due when it had no hint for this many seconds."""
    cap_s: float = 30.0
    """A folder is due at the latest this many seconds after its first hint."""
    places: int = 500
    """More places than this are replaced by their common parent folder."""


@dataclass(slots=True)
class _Waiting:
    first: float
    last: float
    deep: bool
    removal: bool


@dataclass(slots=True)
class Debouncer:
    """Collects hints and returns those that are due."""

    timing: Timing
    _places: dict[str, _Waiting] = field(default_factory=dict)
    _whole: _Waiting | None = None
    _whole_coverage: Coverage = Coverage.FOLDERS

    def hint(self, hint: Hint, now: float) -> None:
        """Add a hint."""
        match hint:
            case FolderTouched():
                self._touch(hint.path, now, deep=False, removal=hint.removal)
            case TreeTouched():
                self._touch(hint.path, now, deep=True, removal=hint.removal)
            case SourceTouched() | EventsLost():
                self._schedule_whole(Coverage.DISK, now)
            case ManifestTouched():
                self._schedule_whole(Coverage.FULL, now)
            case _:
                assert_never(hint)

    def want(self, coverage: Coverage, now: float) -> None:
        """Schedule a run over everything at once, for example after a clock jump."""
        assert coverage is not Coverage.FOLDERS
        self._schedule_whole(coverage, now - self.timing.quiet_s)

    def put_back(self, work: Work, now: float) -> None:
        """Add the work of a failed run again."""
        if work.coverage is not Coverage.FOLDERS:
            self._schedule_whole(work.coverage, now)
        for path in work.folders:
            self._touch(path, now, deep=False, removal=False)
        for path in work.trees:
            self._touch(path, now, deep=True, removal=False)

    def due_at(self, *, settling: bool = False) -> float | None:
        """Return the time at which `take` returns work if no further hint arrives, or None if nothing waits."""
        if self._whole is not None:
            return self._due(self._whole)
        adding = [self._due(waiting) for waiting in self._places.values() if not waiting.removal]
        removing = [self._due(waiting) for waiting in self._places.values() if waiting.removal]
        if removing and (adding or settling):
            caps = [waiting.first + self.timing.cap_s for waiting in self._places.values() if waiting.removal]
            return min([*adding, *caps])
        return min(adding or removing, default=None)

    def take(self, now: float, *, settling: bool = False) -> Work | None:
        """Return the work that is due. A run over everything includes all places.

        Places with only removals wait until no other place waits. So a moved file is found at its new place before it
        is missed at the old one. `settling`: whether files elsewhere are not settled yet.
        """
        if self._whole is not None:
            if self._due(self._whole) > now:
                return None
            work = Work(self._whole_coverage)
            self._whole, self._whole_coverage = None, Coverage.FOLDERS
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
            Coverage.FOLDERS,
            frozenset(path for path, waiting in taken.items() if not waiting.deep),
            frozenset(path for path, waiting in taken.items() if waiting.deep),
        )

    def __len__(self) -> int:
        """The number of waiting places. A run over everything counts as one."""
        return len(self._places) + (self._whole is not None)

    def _due(self, waiting: _Waiting) -> float:
        return min(waiting.last + self.timing.quiet_s, waiting.first + self.timing.cap_s)

    def _schedule_whole(self, coverage: Coverage, now: float) -> None:
        if self._whole is None:
            self._whole = _Waiting(now, now, deep=True, removal=False)
        else:
            self._whole.last = max(self._whole.last, now)
        self._whole_coverage = max(self._whole_coverage, coverage)

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
        """Replace many places by their common parent folder. If that is the root folder, run over everything."""
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
            self._schedule_whole(Coverage.DISK, together.first)
            self._schedule_whole(Coverage.DISK, together.last)
        else:
            self._places[top] = together
