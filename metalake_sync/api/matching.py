"""How many entries of a source met a file in the lake. A lake passes over those that meet none, and says no word.

Owns: what may be claimed. Must not: send.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TypeAlias

from metalake_sync.api.results import FailedItem, SomeFailed, WriteResult
from metalake_sync.lazy_dataclass import dataclass

WhatIsThere: TypeAlias = Callable[[Sequence[str]], set[str]]
"""Of these names, those that the lake has. It costs calls, so it is asked only where there is doubt."""


@dataclass(slots=True)
class Written:
    """Gathers what became of the entries. `there`: None where nobody can ask the lake for names."""

    there: WhatIsThere | None
    sent: list[str] = field(default_factory=list)
    _updated: int = 0
    _told: bool = True

    def page(self, names: Sequence[str], updated: int | None) -> None:
        """The lake took a page. `updated`: how many files it says it met, None where it does not say."""
        self.sent += names
        self._told &= updated is not None
        self._updated += updated or 0

    def result(
        self, failed: Sequence[FailedItem], notes: Sequence[str] = (), unmatched: Sequence[str] = ()
    ) -> WriteResult:
        """`unmatched`: entries that were not even sent. Raises SomeFailed."""
        unconfirmed = 0
        written = self._updated
        if not self._told or self._updated != len(self.sent):
            if self.there is not None:
                there = self.there(self.sent)
                missing = [name for name in self.sent if name not in there]
                unmatched = [*unmatched, *missing]
                written = len(self.sent) - len(missing)
            else:
                written = self._updated if self._told else 0
                unconfirmed = len(self.sent) - written
        result = WriteResult(written, tuple(unmatched), tuple(notes), unconfirmed)
        if failed:
            raise SomeFailed(tuple(failed), result)
        return result
