"""Checks between a plan and its execution: refusals, actions without approval, and saved plans that are stale.

Owns: what stops a run, and what is left out of it. Must not: carry out anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from metalake_sync.core.actions import Action
from metalake_sync.core.guards import Approved, find_stale_facts, keep_approved
from metalake_sync.core.notes import GUARDS, Note
from metalake_sync.core.plan import Plan
from metalake_sync.errors import GuardStopped, SyncError

STALE_SHOWN = 5

REFUSALS_SHOWN = 5

OnHeld = Callable[[Sequence[Action], Sequence[Note]], None]
"""Receives the actions that were left out of a run, and the notes that refuse the plan."""


def hold_back(plan: Plan, approve: Callable[[Plan], bool], on_held: OnHeld) -> Plan:
    """Return the plan without the actions that are not approved, and without the notes that refuse it."""
    if not plan.refusals and (not plan.destructive or approve(plan)):
        return plan
    refusals = plan.refusals
    rest, held = plan.without_destructive()
    on_held(held, refusals)
    return replace(rest, notes=tuple(note for note in rest.notes if note not in refusals))


def refuse(plan: Plan) -> None:
    """Raise an error if the plan has notes that refuse it."""
    refusals = plan.refusals
    if not refusals:
        return
    listed = "; ".join(map(str, refusals[:REFUSALS_SHOWN]))
    more = f" and {len(refusals) - REFUSALS_SHOWN} more" if len(refusals) > REFUSALS_SHOWN else ""
    if any(note.code in GUARDS for note in refusals):
        raise GuardStopped(f"nothing was done: {listed}{more}", remedy="Check the plan before you continue.")
    raise SyncError(f"nothing was done: {listed}{more}", remedy="Change 'on_change', or restore the old bytes.")


def require_approval(plan: Plan, approve: Callable[[Plan], bool]) -> None:
    """Raise GuardStopped if the plan is destructive and not approved."""
    if plan.destructive and not approve(plan):
        raise GuardStopped(
            "the plan trashes, replaces or removes something, or overwrites what another client wrote,"
            " and it was not approved",
            remedy="Nothing was done. Check the plan, and use --auto-approve if it is right.",
        )


def limit_to_approved(approved: Approved, plan: Plan, manifest_digest: str) -> Plan:
    """Return the plan with the actions of a saved plan only. Raise GuardStopped if the saved plan is stale."""
    stale = list(islice(find_stale_facts(approved, plan, manifest_digest), STALE_SHOWN + 1))
    if stale:
        more = "; and more" if len(stale) > STALE_SHOWN else ""
        raise GuardStopped(
            f"the plan is stale: {'; '.join(stale[:STALE_SHOWN])}{more}",
            remedy="Nothing was done. Make a new plan with 'plan --out', and check it.",
        )
    return keep_approved(approved, plan)
