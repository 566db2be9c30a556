"""Whether a file is at rest: quiet for a while, and closed where that can be seen.

Owns: that question, and the files that wait for their rest. Must not: run anything.

A file that somebody still has open for writing can't be given a read lease (fcntl(2), F_SETLEASE: EAGAIN). Only local
filesystems and one's own files can be asked so; for the others, quiet has to do.
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

LONGEST_PAUSE_S = 30.0
WAITING_LIMIT = 10_000
"""So many files are looked at again one by one; beyond, the full rescan finds them."""


def is_open_for_writing(path: str) -> bool:
    """Whether somebody on this machine has the file open for writing, as far as that can be seen."""
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
    """A writer that comes while a lease is held for an instant makes the system send SIGIO, which ends a process that
    does not ignore it. Call it once, in the main thread."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


class _Look(NamedTuple):
    """What a file was, since when, and when it is looked at again."""

    stat: FileVersion
    since: float
    again_at: float
    pause_s: float


@dataclass(slots=True)
class Settling:
    """`settle_s`: how long a file must be quiet. Times are told: `now` of a clock that only goes forward, `wall_ns` of
    the one that stamps files."""

    settle_s: float
    _times_lie_until: float = float("-inf")
    _waiting: OrderedDict[str, _Look] = field(default_factory=OrderedDict)
    _settled: OrderedDict[str, FileVersion] = field(default_factory=OrderedDict)
    """What was seen to stay the same for long enough, so that the run that follows takes it."""

    def unsettled(self, path: str, file: ScannedFile, now: float, wall_ns: int) -> bool:
        """Whether to leave a file alone for now; if so, it waits here. A file is quiet if its times say so, or if it
        was seen to stay the same for long enough. A time ahead of the clock says nothing: other clocks, cameras and
        memory cards without a time zone set it."""
        look = self._waiting.get(path)
        past_ns = [time_ns for time_ns in (file.mtime_ns, file.ctime_ns) if time_ns <= wall_ns]
        old = bool(past_ns) and (wall_ns - max(past_ns)) / 1e9 >= self.settle_s and now >= self._times_lie_until
        quiet = old or self._settled.get(path) == file.version()
        if look is not None and look.stat == file.version():
            quiet = quiet or now - look.since >= self.settle_s
            since = look.since
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
        pause_s = min(look.pause_s * 2 if look is not None and quiet else max(self.settle_s, 0.05), LONGEST_PAUSE_S)
        self._waiting[path] = _Look(file.version(), since, now + pause_s, pause_s)
        if len(self._waiting) > WAITING_LIMIT:
            self._waiting.popitem(last=False)
        return True

    def clock_was_set(self, now: float) -> None:
        """The clock that stamps files jumped: for a while a file's age says nothing, and eyes alone are trusted."""
        self._times_lie_until = now + self.settle_s

    def next_at(self) -> float | None:
        return min((look.again_at for look in self._waiting.values()), default=None)

    def settled_folders(self, now: float, wall_ns: int) -> set[str]:
        """Look again at the files that are due; the folders of those that have come to rest, or went away."""
        folders: set[str] = set()
        for path in [path for path, look in self._waiting.items() if look.again_at <= now]:
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
