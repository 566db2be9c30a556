"""The files that runs skip for a while: unsettled ones and failed ones. Also the pauses after failures.

Owns: when a file is settled, which means unchanged for a while and closed, and the arithmetic of growing pauses.
Must not: sleep, or run anything.

The kernel refuses a read lease for a file that a process has open for writing (fcntl(2), F_SETLEASE: EAGAIN). This
works only for the user's own files on local file systems. For other files, only the time without changes counts.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import field
from typing import NamedTuple

from metalake_sync.core.snapshots import FileVersion
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.base import ScannedFile
from metalake_sync.sources.scan import scanned_file

_RETURNED = float("-inf")
"""Replaces the end of a pause that `due` has returned already."""

FIRST_PAUSE_S = 5.0

LONGEST_PAUSE_S = 3600.0

ITEMS_LIMIT = 10_000
"""Above this number, the oldest file is forgotten here, and the next full rescan tries it."""

LONGEST_CHECK_PAUSE_S = 30.0

WAITING_LIMIT = 10_000
"""The number of files that are checked one by one. The full rescan finds the others."""


@dataclass(slots=True)
class Backoff:
    """Pauses that double with each failure. Half of each pause is random, so that many watchers do not return to a lake
    at the same time."""

    first_s: float = 1.0
    longest_s: float = 300.0
    _failures: int = 0

    def failed(self, unit_random: float) -> float:
        """Count a failure and return the pause in seconds. `unit_random`: a random number from 0 to 1."""
        ceiling = min(self.longest_s, self.first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return ceiling * (0.5 + unit_random / 2)

    def succeeded(self) -> None:
        self._failures = 0

    @property
    def failures(self) -> int:
        """The number of failures in a row."""
        return self._failures


class _Item(NamedTuple):
    name: str
    path: str
    stat: FileVersion | None
    attempts: int
    again_at: float


@dataclass(slots=True)
class FailedFiles:
    """Files that failed, by their path on disk. Runs skip each of them for a pause that grows with its failures, from
    five seconds to an hour. A file that changed is tried at once."""

    _items: OrderedDict[str, _Item] = field(default_factory=OrderedDict)

    def failed(self, path: str, name: str, stat: FileVersion | None, now: float) -> None:
        before = self._items.pop(path, None)
        attempts = before.attempts + 1 if before else 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 20))
        self._items[path] = _Item(name, path, stat, attempts, now + pause_s)
        if len(self._items) > ITEMS_LIMIT:
            self._items.popitem(last=False)

    def succeeded(self, path: str) -> None:
        self._items.pop(path, None)

    def holds(self, path: str, file: ScannedFile, now: float) -> bool:
        """Whether the pause of an unchanged file is not over yet."""
        item = self._items.get(path)
        return item is not None and item.again_at > now and item.stat in (None, file.version())

    def attempts(self, path: str) -> int:
        item = self._items.get(path)
        return item.attempts if item is not None else 0

    def names(self) -> frozenset[str]:
        return frozenset(item.name for item in self._items.values())

    def due(self, now: float) -> Iterator[str]:
        """Yield the paths whose pause is over, each of them once."""
        for path, item in list(self._items.items()):
            if _RETURNED < item.again_at <= now:
                self._items[path] = item._replace(again_at=_RETURNED)
                yield path

    def next_at(self) -> float | None:
        return min((item.again_at for item in self._items.values() if item.again_at > _RETURNED), default=None)

    def __len__(self) -> int:
        return len(self._items)


def is_open_for_writing(path: str) -> bool:
    """Whether a process on this machine has the file open for writing, as far as this can be checked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


def ignore_lease_breaks() -> None:
    """Ignore SIGIO. The system sends it if a writer opens a file during the short lease, and by default it ends the
    process. Call this once, in the main thread."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


class _Check(NamedTuple):
    """The last check of a file that is not settled: its version, since when it is unchanged, and the next check."""

    stat: FileVersion
    since: float
    again_at: float
    pause_s: float


@dataclass(slots=True)
class Settling:
    """The files that are not settled. Callers pass the time: `now` in seconds of a clock that only goes forward, and
    `wall_ns` in nanoseconds of the clock that stamps files."""

    settle_s: float
    """Seconds that a file must be unchanged."""
    _times_lie_until: float = float("-inf")
    _waiting: OrderedDict[str, _Check] = field(default_factory=OrderedDict)
    _settled: OrderedDict[str, FileVersion] = field(default_factory=OrderedDict)
    """Files that were seen unchanged for long enough, so that the next run includes them."""

    def unsettled(self, path: str, file: ScannedFile, now: float, wall_ns: int) -> bool:
        """Whether to skip a file for now. If so, it waits here.

        A file is quiet if its times are old enough, or if it was seen unchanged for long enough. A time ahead of the
        clock means nothing, because other clocks, cameras and memory cards without a time zone set it.
        """
        check = self._waiting.get(path)
        past_ns = [time_ns for time_ns in (file.mtime_ns, file.ctime_ns) if time_ns <= wall_ns]
        old = bool(past_ns) and (wall_ns - max(past_ns)) / 1e9 >= self.settle_s and now >= self._times_lie_until
        quiet = old or self._settled.get(path) == file.version()
        if check is not None and check.stat == file.version():
            quiet = quiet or now - check.since >= self.settle_s
            since = check.since
        else:
            since = now
        if quiet and not is_open_for_writing(path):
            self._waiting.pop(path, None)
            if not old:
                self._settled[path] = file.version()
                self._settled.move_to_end(path)
                if len(self._settled) > WAITING_LIMIT:
                    self._settled.popitem(last=False)
            return False
        self._settled.pop(path, None)
        pause_s = min(
            check.pause_s * 2 if check is not None and quiet else max(self.settle_s, 0.05), LONGEST_CHECK_PAUSE_S
        )
        self._waiting[path] = _Check(file.version(), since, now + pause_s, pause_s)
        if len(self._waiting) > WAITING_LIMIT:
            self._waiting.popitem(last=False)
        return True

    def clock_was_set(self, now: float) -> None:
        """The clock that stamps files jumped. For one settle time, the age of a file does not count."""
        self._times_lie_until = now + self.settle_s

    def next_at(self) -> float | None:
        return min((check.again_at for check in self._waiting.values()), default=None)

    def settled_folders(self, now: float, wall_ns: int) -> set[str]:
        """Check the files that are due. Returns the folders of files that settled or disappeared."""
        folders: set[str] = set()
        for path in [path for path, check in self._waiting.items() if check.again_at <= now]:
            try:
                found = os.stat(path)
            except OSError:
                del self._waiting[path]
                folders.add(os.path.dirname(path))
                continue
            if not self.unsettled(path, scanned_file(os.path.basename(path), found), now, wall_ns):
                folders.add(os.path.dirname(path))
        return folders

    def __len__(self) -> int:
        return len(self._waiting)
