"""A plan without what takes something away: what goes ahead while the rest waits for somebody's approval.

Owns: which actions wait. Must not: approve anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metalake_sync.core.actions import (
    Action,
    CreateCollection,
    RemoveAnnotations,
    ReplaceFile,
    TrashFile,
    TrashMatched,
    UpdateHead,
)
from metalake_sync.core.addressed import ClearEntry
from metalake_sync.core.plan import Plan
from metalake_sync.core.targets import keep_in_plan
from metalake_sync.core.wording import file_name

_DESTRUCTIVE = (TrashFile, TrashMatched, ReplaceFile, RemoveAnnotations, ClearEntry)


def hold_destructive(plan: Plan) -> tuple[Plan, Sequence[Action]]:
    """Split off what would be trashed, replaced or removed. Returns the rest as a plan, and what was held; the parts of
    the given plan are changed.

    Whatever else concerns a file that is to be replaced waits with it: its new shapes do not belong on its old bytes.
    """
    held = [action for action in plan.actions() if isinstance(action, _DESTRUCTIVE)]
    replaced = {(action.collection, action.file.name) for action in held if isinstance(action, ReplaceFile)}

    def goes_ahead(action: Action) -> bool:
        if isinstance(action, CreateCollection | UpdateHead):
            return True
        return not isinstance(action, _DESTRUCTIVE) and (action.collection, file_name(action)) not in replaced

    keep_in_plan(plan, goes_ahead)
    for collection in plan.collections:
        collection.rerecords = [
            record for record in collection.rerecords if (collection.key, record.file.name) not in replaced
        ]
    return replace(plan, trash_rules=()), held
