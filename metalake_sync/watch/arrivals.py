"""The latency of a file: the time from its last change, or its arrival, until the lake confirmed it.

Owns: the latency of files in a folder that was moved in, whose own times are old. Must not: read clocks.
"""

from __future__ import annotations

import os
from dataclasses import field

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.lazy_dataclass import dataclass

FOLDERS_LIMIT = 10_000


@dataclass(slots=True)
class Arrivals:
    """Folders that appeared. All times are nanoseconds of the clock that stamps files."""

    started_ns: int
    """Start of the watch. Files that were closed before it have no latency."""
    _appeared: dict[str, int] = field(default_factory=dict)

    def folder_appeared(self, path: str, now_ns: int) -> None:
        """A folder was created, moved in or mounted."""
        if len(self._appeared) < FOLDERS_LIMIT:
            self._appeared[path] = now_ns

    def latency_s(self, path: str, fingerprint: Fingerprint, now_ns: int) -> float | None:
        """Return the latency in seconds, or None for a file that existed before the watch began."""
        # A time ahead of the clock comes from another clock.
        changed_ns = max((one for one in (fingerprint.ctime_ns, fingerprint.mtime_ns) if one <= now_ns), default=now_ns)
        folder = os.path.dirname(path)
        while self._appeared and folder != os.path.dirname(folder):
            changed_ns = max(changed_ns, self._appeared.get(folder, 0))
            folder = os.path.dirname(folder)
        return max(0.0, (now_ns - changed_ns) / 1e9) if changed_ns > self.started_ns else None

    def forget(self) -> None:
        """Forget the folders, because a run has covered all of them."""
        self._appeared.clear()
