"""Failed items on standard error: each by name, but only the first few of each reason.

Owns: when further items are counted instead of named. Must not: drop items from JSON or the history.
"""

from __future__ import annotations

from collections import Counter

from metalake_sync.cli.log_lines import log_error
from metalake_sync.core.actions import Action
from metalake_sync.core.selection import WHOLE_LAKE

SHOWN_OF_A_KIND = 10
"""How many items are named for one reason, without `--verbose`."""


class Failures:
    """The failed items of one command. Close it to print the counts."""

    def __init__(self, *, everything: bool, json_log: bool) -> None:
        self._everything = everything or json_log
        self._json_log = json_log
        self._reasons: Counter[str] = Counter()

    def report(self, item: str, reason: str) -> None:
        self._reasons[reason] += 1
        if self._everything or self._reasons[reason] <= SHOWN_OF_A_KIND:
            log_error(f"failed: {item}: {reason}", json_log=self._json_log)

    def close(self) -> None:
        """Print how many items were not named."""
        for reason, times in self._reasons.items():
            if not self._everything and times > SHOWN_OF_A_KIND:
                log_error(f"failed: … and {times - SHOWN_OF_A_KIND} more: {reason}", json_log=False)
        self._reasons.clear()


def item_of(action: Action) -> str:
    """Return the file that an action concerns, with its collection in front."""
    item = action.file_name or "the collection"
    return item if action.collection.name == WHOLE_LAKE else f"{action.collection.name}/{item}"
