"""Counts how many entries of a source match a file in the lake, which skips entries that match none without an error.

Must not: send entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TypeAlias

from metalake_sync.api.results import FailedItem, SomeFailed, WriteResult
from metalake_sync.lazy_dataclass import dataclass

WhatIsThere: TypeAlias = Callable[[Sequence[str]], set[str]]
"""Returns the names that the lake has. It costs calls, so it is used only if the lake's own count is not enough."""


@dataclass(slots=True)
class Written:
    """Collects the results of sending entries."""

    there: WhatIsThere | None
    """None if the lake can't be searched for the names."""
    sent: list[str] = field(default_factory=list)
    _updated: int = 0
    _counted: bool = True

    def page(self, names: Sequence[str], updated: int | None) -> None:
        """Add a page of entries that the lake accepted. `updated`: how many files it changed, or None if unknown."""
        self.sent += names
        self._counted &= updated is not None
        self._updated += updated or 0

    def result(
        self, failed: Sequence[FailedItem], notes: Sequence[str] = (), unmatched: Sequence[str] = ()
    ) -> WriteResult:
        """Return the result. `unmatched`: entries that were not sent. Raises SomeFailed."""
        unconfirmed = 0
        written = self._updated
        if not self._counted or self._updated != len(self.sent):
            if self.there is not None:
                there = self.there(self.sent)
                missing = [name for name in self.sent if name not in there]
                unmatched = [*unmatched, *missing]
                written = len(self.sent) - len(missing)
            else:
                written = self._updated if self._counted else 0
                unconfirmed = len(self.sent) - written
        result = WriteResult(written, tuple(unmatched), tuple(notes), unconfirmed)
        if failed:
            raise SomeFailed(tuple(failed), result)
        return result
