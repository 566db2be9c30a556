"""Whether a file is settled: unchanged for a while, and closed as far as this can be checked.

Owns: this check, and the files that are not settled yet. Must not: run anything.

The kernel refuses a read lease for a file that a process has open for writing (fcntl(2), F_SETLEASE: EAGAIN). This
works only for the user's own files on local file systems. For other files, only the time without changes counts.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections import OrderedDict
from dataclasses import field
from typing import NamedTuple

from metalake_sync.core.snapshots import FileVersion
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.base import ScannedFile
from metalake_sync.sources.scan import scanned_file

LONGEST_CHECK_PAUSE_S = 30.0
WAITING_LIMIT = 10_000
"""The number of files that are checked one by one. The full rescan finds the others."""


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
        pause_s = min(check.pause_s * 2 if check is not None and quiet else max(self.settle_s, 0.05), LONGEST_CHECK_PAUSE_S)
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
