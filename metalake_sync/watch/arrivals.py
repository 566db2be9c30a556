"""How long a file took from when it was closed, or came, until the lake confirmed it.

Owns: what a folder that was moved in means for the files in it, whose own times are of long ago. Must not: read clocks.
"""

from __future__ import annotations

import os
from dataclasses import field

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.lazy_dataclass import dataclass

FOLDERS_LIMIT = 10_000


@dataclass(slots=True)
class Arrivals:
    """`started_ns`: what was closed before has no latency: nobody watched. All times are of the clock that stamps
    files."""

    started_ns: int
    _came: dict[str, int] = field(default_factory=dict)

    def folder_came(self, path: str, now_ns: int) -> None:
        """A folder was made, moved in or mounted."""
        if len(self._came) < FOLDERS_LIMIT:
            self._came[path] = now_ns

    def latency_s(self, path: str, fingerprint: Fingerprint, now_ns: int) -> float | None:
        """In seconds; None for a file that was there before the watch began."""
        # A time ahead of the clock is another clock's.
        changed_ns = max((one for one in (fingerprint.ctime_ns, fingerprint.mtime_ns) if one <= now_ns), default=now_ns)
        folder = os.path.dirname(path)
        while self._came and folder != os.path.dirname(folder):
            changed_ns = max(changed_ns, self._came.get(folder, 0))
            folder = os.path.dirname(folder)
        return max(0.0, (now_ns - changed_ns) / 1e9) if changed_ns > self.started_ns else None

    def forget(self) -> None:
        """All that came was looked at."""
        self._came.clear()
