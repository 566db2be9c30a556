"""Annotation sets in the lake without a record: our own after the state was lost, and those of other clients.

Owns: which of them matter to a plan. Must not: decide what becomes of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from metalake_sync.core.actions import ReplaceFile
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import MediaType
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient


def notes_on_lost_shapes(
    client: LakeClient | None, plan: CollectionPlan, state: StateStore, handle: CollectionHandle | None
) -> Iterator[Note]:
    """A note for each file whose replacement or trashing destroys shapes of other clients."""
    if client is None or plan.lake_id is None or plan.key.type is not MediaType.IMAGE:
        return
    for name, shapes in _shapes_of_others(client, plan, state, handle).items():
        message = f"loses {shapes} shapes that were not drawn by this manifest"
        yield Note(NoteCode.SETS_LOST, message, f"{plan.key}/{name}")


def _shapes_of_others(
    client: LakeClient, plan: CollectionPlan, state: StateStore, handle: CollectionHandle | None
) -> dict[str, int]:
    """The number of shapes of other clients on each file that the plan replaces or trashes, by name.

    Costs one call per page of the collection, and none if the plan does not replace or trash a file.
    """
    leaving = {
        action.replaced.unique_name: action.file.name for action in plan.uploads if isinstance(action, ReplaceFile)
    }
    leaving |= {action.recorded.unique_name: action.recorded.name for action in plan.trash}
    if not leaving or plan.lake_id is None:
        return {}
    from metalake_sync.remote.listings import annotations_of

    recorded = state.files.named(handle, leaving.values()) if handle is not None else {}
    counts: Counter[str] = Counter()
    for unique_name, shapes in annotations_of(client, plan.lake_id, file_count=plan.recorded):
        name = leaving.get(unique_name)
        if name is not None:
            known = recorded.get(name)
            ours = sum(known_set.shape_count for known_set in known.annotations.values()) if known else 0
            counts[name] = len(shapes) - ours
    return {name: count for name, count in counts.items() if count > 0}
