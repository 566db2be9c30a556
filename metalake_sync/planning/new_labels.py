"""Labels that the lake does not have yet: a typo makes a new class, so that a plan says so.

Owns: one question to the lake for each run, and only where sets with shapes are to be sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from metalake_sync.core.actions import Annotate
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.core.unmanaged_files import AddressedPlan, AnnotateEntry
from metalake_sync.errors import LakeAnswerInvalid, LakeRefused

if TYPE_CHECKING:
    from metalake_sync.annotations.source import AnnotationIndex
    from metalake_sync.planning.desired import DesiredCollection
    from metalake_sync.planning.unmanaged_files import OperationAt
    from metalake_sync.remote.client import LakeClient


def new_labels(
    client: LakeClient,
    plans: Sequence[CollectionPlan],
    desired: Mapping[CollectionKey, DesiredCollection],
    addressed: Sequence[AddressedPlan] = (),
    indexes: Mapping[OperationAt, AnnotationIndex] | None = None,
) -> Iterator[Note]:
    """A note for each label that applying the plans would make, with the nearest one that the lake has. `indexes`: of
    the addressed plans."""
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
        sends = any(
            isinstance(action, AnnotateEntry) and action.annotations.shape_count for action in elsewhere.actions
        )
        if sends and indexes is not None and elsewhere.operation is not None:
            for label in indexes[elsewhere.address, elsewhere.operation].labels():
                used.setdefault(label, elsewhere.operation)
    if not used:
        return
    try:
        known = {listed.label_text for listed in client.list_labels()}
    except (LakeRefused, LakeAnswerInvalid) as error:
        unread = f"the lake's list of labels can't be read ({error.message}), so new labels are not shown"
        yield Note(NoteCode.LABELS_UNREAD, unread)
        return
    if not known:
        # Nothing can be a typo of something yet: one line says it all.
        labels = ", ".join(f"'{label}'" for label in sorted(used))
        yield Note(NoteCode.NEW_LABEL, f"the lake has no labels yet; new in it will be {labels}")
        return
    import difflib

    in_lower_case = {label.casefold(): label for label in sorted(known)}
    for label in sorted(used.keys() - known):
        same = in_lower_case.get(label.casefold())
        near = [same] if same is not None else difflib.get_close_matches(label, known, n=1)
        meant = f"; did you mean '{near[0]}'?" if near else ""
        yield Note(NoteCode.NEW_LABEL, f"label '{label}' is new in the lake{meant}", used[label])
