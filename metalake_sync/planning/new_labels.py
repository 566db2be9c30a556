"""Notes on labels that the lake does not have yet, because a typo would create a new class.

Owns: one call to the lake per run, and only if the plan sends sets with shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from metalake_sync.core.actions import Annotate
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import AddressedPlan, CollectionPlan
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import LakeAnswerInvalid, LakeRejected

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.planning.desired import DesiredCollection
    from metalake_sync.planning.unmanaged_sources import OperationAt
    from metalake_sync.remote.client import LakeClient


def new_labels(
    client: LakeClient,
    plans: Sequence[CollectionPlan],
    desired: Mapping[CollectionKey, DesiredCollection],
    addressed: Sequence[AddressedPlan] = (),
    indexes: Mapping[OperationAt, AnnotationIndex] | None = None,
) -> Iterator[Note]:
    """A note for each label that applying the plans would create, with the most similar label of the lake.

    `indexes`: of the `addressed` plans.
    """
    used: dict[str, str] = {}
    for plan in plans:
        operations = {
            action.annotations.operation
            for action in plan.annotations
            if isinstance(action, Annotate) and action.annotations.shape_count
        }
        for operation in sorted(operations):
            for label in desired[plan.key].annotations[operation].labels():
                used.setdefault(label, operation)
    for elsewhere in addressed:
        sends = any(isinstance(action, Annotate) and action.annotations.shape_count for action in elsewhere.actions)
        if sends and indexes is not None and elsewhere.operation is not None:
            for label in indexes[elsewhere.address, elsewhere.operation].labels():
                used.setdefault(label, elsewhere.operation)
    if not used:
        return
    try:
        known = {listed.label_text for listed in client.list_labels()}
    except (LakeRejected, LakeAnswerInvalid) as error:
        unread = f"cannot read the labels of the lake ({error.message}), so new labels are not shown"
        yield Note(NoteCode.LABELS_UNREAD, unread)
        return
    if not known:
        # No label can be a typo of another yet, so one note names them all.
        labels = ", ".join(f"'{label}'" for label in sorted(used))
        yield Note(NoteCode.NEW_LABEL, f"the lake has no labels yet; this plan creates {labels}")
        return
    import difflib

    in_lower_case = {label.casefold(): label for label in sorted(known)}
    for label in sorted(used.keys() - known):
        same = in_lower_case.get(label.casefold())
        near = [same] if same is not None else difflib.get_close_matches(label, known, n=1)
        meant = f"; did you mean '{near[0]}'?" if near else ""
        yield Note(NoteCode.NEW_LABEL, f"label '{label}' is new in the lake{meant}", used[label])
