"""Failures as people are told of them: each by name, but not a thousand times for one reason.

Owns: when the rest is only counted. Must not: lose one: JSON and `history` have them all.
"""

from __future__ import annotations

from collections import Counter

from metalake_sync.cli.log_lines import complain
from metalake_sync.core.actions import Action
from metalake_sync.core.selection import WHOLE_LAKE

SHOWN_OF_A_KIND = 10
"""How many items are named for one reason, unless all are asked for."""


class Failures:
    """Those of one command. `everything`: name every item. Close it, so that the rest is counted."""

    def __init__(self, *, everything: bool, json_log: bool) -> None:
        self._everything = everything or json_log
        self._json_log = json_log
        self._reasons: Counter[str] = Counter()

    def tell(self, item: str, reason: str) -> None:
        self._reasons[reason] += 1
        if self._everything or self._reasons[reason] <= SHOWN_OF_A_KIND:
            complain(f"failed: {item}: {reason}", json_log=self._json_log)

    def close(self) -> None:
        """Count what was not named."""
        for reason, times in self._reasons.items():
            if not self._everything and times > SHOWN_OF_A_KIND:
                complain(f"failed: … and {times - SHOWN_OF_A_KIND} more: {reason}", json_log=False)
        self._reasons.clear()


def item_of(action: Action) -> str:
    """What an action is about, with its collection in front, if it has one."""
    item = action.file_name or "the collection"
    return item if action.collection.name == WHOLE_LAKE else f"{action.collection.name}/{item}"
