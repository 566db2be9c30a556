"""What a past run changed, in the words of a plan.

Owns: the document of an action of the history. Must not: read the state, or print.
"""

from __future__ import annotations

from typing import cast

from metalake_sync.cli.plan_lines import Line, plan_lines
from metalake_sync.core.base_action import ActionDocument, ActionName
from metalake_sync.core.changes import Reason, metadata_changes
from metalake_sync.core.set_changes import SetChanges, set_changes
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.state.runs import ActionRow, Values


def action_document(row: ActionRow, values: Values) -> ActionDocument | None:
    """Return the document of an action whose values the history has, or None."""
    changes = None
    if values.metadata_after is not None:
        before = values.metadata_before
        known = before or {}
        update = {name: value for name, value in values.metadata_after.items() if known.get(name) != value}
        update |= dict.fromkeys(name for name in known if name not in values.metadata_after)
        changes = metadata_changes(None if not before and not values.compared else before, update)
    elif values.operation is None:
        return None
    sent = values.set_after if row.action == "annotate" else values.set_before
    return ActionDocument(
        cast("ActionName", row.action),
        row.collection,
        "image",
        Reason(row.reason),
        file=row.file,
        operation=values.operation,
        shapes=len(sent.shapes) if sent is not None else None,
        changes=changes,
        shape_changes=_set_changes(values.set_before, values.set_after) if values.operation is not None else None,
    )


def _set_changes(before: ImageRecord | None, after: ImageRecord | None) -> SetChanges:
    from metalake_sync.core.shape_diff import diff
    from metalake_sync.core.shape_values import UnknownImageSize

    if before is None or after is None:
        return SetChanges("unknown", "unknown before")
    if not before.shapes:
        return SetChanges("none", "none before")
    if not after.shapes:
        after = ImageRecord(after.image, (), before.normalized)
    try:
        return set_changes("known", diff(before, after))
    except UnknownImageSize:
        return SetChanges("unknown", "unknown before")


def history_line(row: ActionRow, values: Values) -> Line | None:
    """Return the words for an action whose values the history has, or None."""
    document = action_document(row, values)
    return next(plan_lines([document]), None) if document is not None else None
