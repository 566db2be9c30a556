"""How long to wait after a failure: of the lake as a whole, and of single files.

Owns: the arithmetic of growing pauses. Must not: sleep, or know what failed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import field
from typing import NamedTuple

from metalake_sync.core.snapshots import FileVersion
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.base import ScannedFile


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


_RETURNED = float("-inf")
"""Replaces the end of a pause that `due` has returned already."""

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 3600.0
ITEMS_LIMIT = 10_000
"""Above this number, the oldest file is forgotten here, and the next full rescan tries it."""


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
