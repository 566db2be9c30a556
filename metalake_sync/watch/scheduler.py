"""When the next run starts and what it covers: hints, settling files, failed files, rescans, pauses and clock jumps.

Owns: all of the daemon's times. Must not: run anything, read the manifest, or report.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import field

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.base import ScannedFile
from metalake_sync.watch.debounce import Coverage, Debouncer, Timing, Work
from metalake_sync.watch.hints import FolderTouched, Hint, ManifestTouched
from metalake_sync.watch.skipped_files import Backoff, FailedFiles, Settling

SUPERVISE_S = 5.0
"""Seconds between two checks of the watches."""

JUMP_S = 5.0
"""If the wall clock moves this many seconds against the monotonic clock, it was set, or the machine slept."""


@dataclass(frozen=True, slots=True)
class WatchTiming:
    """Times in seconds."""

    settle_s: float = 2.0
    """How long a file or folder must be unchanged before it is synced."""
    rescan_s: float = 600.0
    """Time between two full rescans."""

    def debounce(self) -> Timing:
        return Timing(quiet_s=self.settle_s, cap_s=max(30.0, self.settle_s * 10))


@dataclass(slots=True)
class Scheduler:
    """Collects reasons for a run and returns the work that is due."""

    timing: WatchTiming
    clock: Callable[[], float]
    """Seconds of a clock that only goes forward."""
    wall: Callable[[], float]
    """Seconds since 1970, from the clock that stamps files."""
    unit_random: Callable[[], float]
    """Random numbers from 0 to 1, for the jitter of pauses."""
    failed_files: FailedFiles = field(default_factory=FailedFiles)
    _debouncer: Debouncer = field(init=False)
    _settling: Settling = field(init=False)
    _lake: Backoff = field(default_factory=Backoff)
    """Pauses after runs that failed as a whole."""
    _stopped: Backoff = field(default_factory=lambda: Backoff(first_s=5.0))
    """Pauses after runs that something broken in the sources stopped."""
    _not_before: float = 0.0
    """No run starts before this time."""
    _later: Work | None = None
    """Work that waits for a fix in the sources, and is tried again at `_later_at`."""
    _later_at: float = 0.0
    _rescan_at: float = 0.0
    _supervise_at: float = 0.0
    _offset: float = 0.0
    """Wall clock minus monotonic clock at the last check."""

    def __post_init__(self) -> None:
        self._debouncer = Debouncer(self.timing.debounce())
        self._settling = Settling(self.timing.settle_s)

    def start(self) -> None:
        """Schedule the first full run for now."""
        self._offset = self.wall() - self.clock()
        self._rescan_at = self.clock()

    # Reasons for a run.

    def hint(self, hint: Hint, now: float) -> None:
        """Add a hint. A change of the manifest also ends a pause, because it may fix the problem."""
        if isinstance(hint, ManifestTouched):
            self._not_before = now
        self._debouncer.hint(hint, now)

    def reload(self, now: float) -> None:
        """Schedule a full run at once, and end any pause."""
        self._not_before = now
        self._debouncer.want(Coverage.FULL, now)

    def add_due(self, now: float) -> None:
        """Add settled files, failed files whose pause is over, and postponed work."""
        for folder in self._settling.settled_folders(now, time.time_ns()):
            self._debouncer.hint(FolderTouched(folder), now - self.timing.settle_s)
        for path in self.failed_files.due(now):
            if self.failed_files.attempts(path) > 1:
                # Trusting the records did not help, so the next run lists the lake.
                self._debouncer.want(Coverage.FULL, now)
            else:
                self._debouncer.hint(FolderTouched(os.path.dirname(path)), now - self.timing.settle_s)
        if self._later is not None and now >= self._later_at:
            self._debouncer.put_back(self._later, now - self.timing.settle_s)
            self._later = None

    def clock_jump_s(self, now: float) -> float | None:
        """Return the seconds by which the wall clock jumped since the last call, or None. A jump causes a full run."""
        offset = self.wall() - now
        moved_s, self._offset = offset - self._offset, offset
        if abs(moved_s) > min(JUMP_S, self.timing.settle_s / 2):
            self._settling.clock_was_set(now)
        if abs(moved_s) <= JUMP_S:
            return None
        self._debouncer.want(Coverage.FULL, now)
        return moved_s

    def rescan_is_due(self, now: float) -> bool:
        """Whether a full rescan starts now. If so, schedule it and the next one."""
        if now < self._rescan_at:
            return False
        self._debouncer.want(Coverage.FULL, now)
        self._rescan_at = now + self.timing.rescan_s
        return True

    def supervision_is_due(self, now: float) -> bool:
        """Whether the watches must be checked now."""
        if now < self._supervise_at:
            return False
        self._supervise_at = now + SUPERVISE_S
        return True

    # Due work.

    def next_work(self, now: float) -> Work | None:
        """Return the work that is due, if any."""
        if now < self._not_before:
            return None
        return self._debouncer.take(now, settling=len(self._settling) > 0)

    def pause_s(self, now: float) -> float:
        """Return the seconds until something is due, if no hint and no signal arrives."""
        due = self._debouncer.due_at(settling=len(self._settling) > 0)
        moments = [
            max(due, self._not_before) if due is not None else None,
            self._settling.next_at(),
            self.failed_files.next_at(),
            self._later_at if self._later is not None else None,
            self._rescan_at,
            self._supervise_at,
        ]
        return max(0.0, min(moment for moment in moments if moment is not None) - now)

    def is_held(self, path: str, file: ScannedFile) -> bool:
        """Whether a run must skip a file, because it failed or is not settled yet."""
        path = os.path.abspath(path)
        now = self.clock()
        return self.failed_files.holds(path, file, now) or self._settling.unsettled(path, file, now, time.time_ns())

    @property
    def waiting(self) -> int:
        """How many places wait for a run."""
        return len(self._debouncer) + len(self._settling)

    @property
    def postponed(self) -> bool:
        """Whether work waits for a fix in the sources."""
        return self._later is not None

    # Results of runs.

    def succeeded(self, work: Work) -> None:
        """A run came to its end and found nothing broken."""
        self._lake.succeeded()
        if work.coverage is Coverage.FULL:
            self._stopped.succeeded()
            # This run covered the postponed work, too.
            self._later = None
        elif work.coverage is Coverage.DISK:
            # Nothing on disk is broken any more, so postponed work need not wait longer.
            self._later_at = self.clock()

    def some_broken(self, work: Work) -> float:
        """A run came to its end, and skipped something broken. Returns the seconds until the work is tried again."""
        self._lake.succeeded()
        return self.postpone(work)

    def postpone(self, work: Work) -> float:
        """Try this work again after a growing pause, and other work without a pause. A pause that has begun stays.

        Returns the seconds until the work is tried again.
        """
        now = self.clock()
        if self._later is None:
            self._later_at = now + self._stopped.failed(self.unit_random())
        self._later = work.merged(self._later)
        return self._later_at - now

    def put_back(self, work: Work) -> float:
        """A run failed as a whole: all work waits, and no hint is lost. Returns the pause in seconds."""
        now = self.clock()
        self._debouncer.put_back(work, now)
        pause_s = self._lake.failed(self.unit_random())
        self._not_before = now + pause_s
        return pause_s

    @property
    def failures(self) -> int:
        """How many runs in a row failed as a whole."""
        return self._lake.failures
