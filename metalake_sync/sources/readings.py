"""A cache of facts read from single files, by fingerprint, so that a plan opens only files that changed.

Owns: the port of the cache, and when a reading may be cached. Must not: know where it is stored.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.sources.hashing import is_racy

Reading = Mapping[str, Any]


class ReadingCache(Protocol):
    """Stores readings. `reader` names the code that read, with its version. `path` is that of the file."""

    def get(self, reader: str, path: str, fingerprint: Fingerprint) -> Reading | None: ...

    def put(self, reader: str, path: str, fingerprint: Fingerprint, reading: Reading) -> None: ...


class NoCache:
    """Stores nothing."""

    def get(self, reader: str, path: str, fingerprint: Fingerprint) -> Reading | None:
        return None

    def put(self, reader: str, path: str, fingerprint: Fingerprint, reading: Reading) -> None: ...


def read_cached(cache: ReadingCache, reader: str, path: str, read: Callable[[str], Reading]) -> Reading | None:
    """Return the reading of a regular file, cached or new. None if there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    fingerprint = Fingerprint.of(found)
    reading = cache.get(reader, path, fingerprint)
    if reading is None:
        looked_at_ns = time.time_ns()
        reading = read(path)
        if not is_racy(fingerprint, looked_at_ns):
            cache.put(reader, path, fingerprint, reading)
    return reading
