"""How long to wait after something failed: for the lake as a whole, and for single items.

Owns: growing pauses, as arithmetic. Must not: sleep, or know what failed.
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
    """Pauses that double from `first_s` up to `longest_s`, with jitter: half of each pause is drawn by lot, so that
    many watchers do not come back to a lake at once."""

    first_s: float = 1.0
    longest_s: float = 300.0
    _failures: int = 0

    def failed(self, unit_random: float) -> float:
        """The pause after one more failure, in seconds. `unit_random`: 0 to 1."""
        ceiling = min(self.longest_s, self.first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return ceiling * (0.5 + unit_random / 2)

    def came_through(self) -> None:
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many times in a row."""
        return self._failures


class _Item(NamedTuple):
    name: str
    path: str
    stat: FileVersion | None
    attempts: int
    again_at: float


_GIVEN = float("-inf")
"""Stands for the end of a pause that was told already."""

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 3600.0
ITEMS_LIMIT = 10_000
"""Beyond so many, the oldest is forgotten here, and the next full rescan tries it."""


@dataclass(slots=True)
class SetAside:
    """Files that failed, by their path on disk. Each is left alone for a pause that grows with its failures, from five
    seconds to an hour; a file that changed is tried at once."""

    _items: OrderedDict[str, _Item] = field(default_factory=OrderedDict)

    def failed(self, path: str, name: str, stat: FileVersion | None, now: float) -> None:
        before = self._items.pop(path, None)
        attempts = before.attempts + 1 if before else 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 20))
        self._items[path] = _Item(name, path, stat, attempts, now + pause_s)
        if len(self._items) > ITEMS_LIMIT:
            self._items.popitem(last=False)

    def came_through(self, path: str) -> None:
        self._items.pop(path, None)

    def holds(self, path: str, file: ScannedFile, now: float) -> bool:
        """Whether a file's pause is not over yet."""
        item = self._items.get(path)
        return item is not None and item.again_at > now and item.stat in (None, file.version())

    def attempts(self, path: str) -> int:
        item = self._items.get(path)
        return item.attempts if item is not None else 0

    def names(self) -> frozenset[str]:
        return frozenset(item.name for item in self._items.values())

    def due(self, now: float) -> Iterator[str]:
        """Paths whose pause is over; each is given once."""
        for path, item in list(self._items.items()):
            if _GIVEN < item.again_at <= now:
                self._items[path] = item._replace(again_at=_GIVEN)
                yield path

    def next_at(self) -> float | None:
        return min((item.again_at for item in self._items.values() if item.again_at > _GIVEN), default=None)

    def __len__(self) -> int:
        return len(self._items)
