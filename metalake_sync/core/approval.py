"""Approved plans: what a saved plan promised, and whether it still holds.

Owns: which facts of an approved plan must still hold, and what is left out of a plan that was made since. Which actions
need approval is declared by each action. Must not: ask for approval (`cli`) or stop a run (`project`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from metalake_sync.core.actions import Action
from metalake_sync.core.base_action import ActionKey, Facts
from metalake_sync.core.plan import Plan
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Approved:
    """A plan that a user approved."""

    manifest_digest: str
    state_serial: int
    """The version of the state from which the plan was made."""
    actions: Mapping[ActionKey, Facts]
    """The facts of each action that must still hold."""


def find_stale_facts(approved: Approved, plan: Plan, manifest_digest: str) -> Iterator[str]:
    """Yield, as clauses, why an approved plan no longer holds. `plan`: the plan as it would be made now."""
    if approved.manifest_digest != manifest_digest:
        yield "the manifest has changed"
        return
    if approved.state_serial != plan.state_serial:
        yield f"another run changed the state from version {approved.state_serial} to {plan.state_serial}"
        return
    current = {action.key: action.facts() for action in plan.actions()}
    for key, before in approved.actions.items():
        now = current.get(key)
        if now is None:
            yield f"the action '{key}' is no longer needed"
        elif now != before:
            changed = (name for name in {**before, **now} if before.get(name) != now.get(name))
            yield f"'{key}': " + ", ".join(f"{name} {before.get(name)} → {now.get(name)}" for name in changed)


def keep_approved(approved: Approved, plan: Plan) -> Plan:
    """Return the plan with the approved actions only, trash rules and attachments included.

    Downloads stay: they remove nothing, and fetch what the lake has now.
    """

    def was_approved(action: Action) -> bool:
        # Two items may have one name. The lake id among the facts says which of them was approved.
        return approved.actions.get(action.key) == action.facts()

    return replace(
        plan.keep(was_approved),
        trash_rules=tuple(replace(rule, items=tuple(filter(was_approved, rule.items))) for rule in plan.trash_rules),
        attachments=tuple(filter(was_approved, plan.attachments)),
    )
