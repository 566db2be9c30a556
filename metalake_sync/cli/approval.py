"""The prompt that asks for approval of a plan, with the numbers of what it destroys.

Must not: decide what needs approval (`core.base_action`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from metalake_sync.cli.terminal import can_ask, confirm, count
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.cli.listeners import Listener
    from metalake_sync.core.plan import Plan

_WORDS = (
    ("trash", "trash", "file"),
    ("replace", "replace", "file"),
    ("remove_annotations", "clear", "annotation set"),
    ("remove_downloaded", "remove", "local file"),
    ("upload", "upload again", "trashed file"),
    ("annotate", "overwrite", "annotation set"),
    ("update_metadata", "overwrite the metadata of", "file or collection"),
)
"""Action, verb and noun, in the order in which the question names them."""

_PLURALS = {"file or collection": "files or collections"}


@dataclass(frozen=True, slots=True)
class Approval:
    """Approves a plan: by a flag, or by the answer to a prompt."""

    listener: Listener
    approved: bool
    """Whether --auto-approve was given."""
    asks: bool
    """Whether a user can answer."""

    @classmethod
    def of(cls, listener: Listener, manifest: str, *, approved: bool, as_json: bool) -> Approval:
        """Return the approval of a command. A manifest on standard input leaves no stream for the answer."""
        return cls(listener, approved, manifest != "-" and can_ask(as_json=as_json))

    def __call__(self, plan: Plan) -> bool:
        if self.approved or not self.asks:
            return self.approved
        self.listener.pause()
        return confirm(approval_question(plan))


def approval_question(plan: Plan) -> str:
    """Return the question: `This will trash 3 files and clear 2 annotation sets. Continue?`"""
    numbers: Counter[str] = Counter()
    of_others: Counter[str] = Counter()
    for action in plan.actions():
        if action.needs_approval:
            numbers[action.action_name] += action.items_counted
            of_others[action.action_name] += bool(getattr(action, "overwrites", False))
    parts = []
    for name, verb, noun in _WORDS:
        if number := numbers[name]:
            of_them = ""
            if theirs := of_others[name]:
                whose = "that another client wrote"
                of_them = f" {whose}" if theirs == number else f" ({theirs} of them {whose})"
            parts.append(f"{verb} {count(number, noun, _PLURALS.get(noun))}{of_them}")
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
    return f"This will {listed}. Continue?"
