"""A plan without the actions that need approval: what goes ahead while the rest waits for it.

Owns: which actions wait. Must not: approve anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metalake_sync.core.actions import Action, CreateCollection, ReplaceFile, UpdateHead
from metalake_sync.core.approval import needs_approval
from metalake_sync.core.plan import Plan
from metalake_sync.core.targets import keep_in_plan
from metalake_sync.core.wording import file_name


def hold_destructive(plan: Plan) -> tuple[Plan, Sequence[Action]]:
    """Split off the actions that need approval. Returns the rest as a plan, and what was held; the parts of the given
    plan are changed.

    Whatever else concerns a file that is to be replaced waits with it: its new shapes do not belong on its old bytes.
    """
    held = list(filter(needs_approval, plan.actions()))
    replaced = {(action.collection, action.file.name) for action in held if isinstance(action, ReplaceFile)}

    def goes_ahead(action: Action) -> bool:
        if needs_approval(action):
            return False
        return isinstance(action, CreateCollection | UpdateHead) or (
            (action.collection, file_name(action)) not in replaced
        )

    keep_in_plan(plan, goes_ahead)
    for collection in plan.collections:
        collection.rerecords = [
            record for record in collection.rerecords if (collection.key, record.file.name) not in replaced
        ]
    return replace(plan, trash_rules=()), held
