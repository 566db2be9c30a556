"""The part of the truth table for unmanaged files: the action on one entry of a source.

Owns: the decision. Must not: look anything up; callers pass all inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from metalake_sync.core.changes import Reason, metadata_changes
from metalake_sync.core.metadata import (
    NO_METADATA,
    MetadataSet,
    MetadataValues,
    fields_that_left,
    overwrites_others,
    update_to_mend,
    update_to_send,
)
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.shapes import EMPTY_SET_DIGEST
from metalake_sync.core.snapshots import DesiredSet, RecordedSet
from metalake_sync.core.unmanaged_files import (
    Address,
    AddressedPlan,
    AnnotateEntry,
    ClearEntry,
    DescribeEntry,
    Found,
    SeenSet,
    SentMetadata,
    SentSet,
)


def compare_set(
    address: Address,
    name: str,
    wanted: DesiredSet,
    sent: SentSet | None,
    found: Found | None,
    seen: SeenSet | None = None,
) -> AnnotateEntry | ClearEntry | None:
    """Decide about the annotation set of one entry.

    `found`: the lake's file, if the planner read it. `seen`: the lake's set, if it was read and is not the wanted one.
    """
    found = found or (seen.found if seen is not None else None)
    there = seen.there if seen is not None else None
    before = sent.annotations.digest if sent else EMPTY_SET_DIGEST
    changed = before != wanted.digest
    # The same name with another id is another file, which does not have the set that was sent.
    replaced = sent is not None and found is not None and sent.lake_id not in (None, found.lake_id)
    drifted = seen is not None and not changed
    if (replaced and wanted.digest != EMPTY_SET_DIGEST) or (drifted and (there is not None or sent is not None)):
        reason = Reason.DRIFTED
    elif changed and not replaced:
        reason = Reason.ANNOTATIONS_CHANGED if sent else Reason.NEW
    else:
        return None
    if wanted.digest == EMPTY_SET_DIGEST:
        gone = sent.annotations if changed and sent is not None else None
        if gone is None and there is not None:
            gone = RecordedSet(wanted.operation, wanted.kind, there.digest, there.shape_count)
        return ClearEntry(address, name, gone, reason, found.unique_name if found else None) if gone else None
    overwrites = there is not None and (drifted or before == EMPTY_SET_DIGEST)
    return AnnotateEntry(address, name, wanted, reason, *_names(found), overwrites)


def entry_left(
    address: Address, name: str, sent: SentSet, found: Found | None, mode: Literal["replace", "append"] | None
) -> ClearEntry | None:
    """Decide about an entry that its source no longer has. `mode`: None if the manifest dropped the operation too."""
    if sent.annotations.digest == EMPTY_SET_DIGEST or mode == "append":
        return None
    reason = Reason.REMOVED_FROM_MANIFEST if mode is None else Reason.ANNOTATIONS_CHANGED
    return ClearEntry(address, name, sent.annotations, reason, found.unique_name if found else None)


def compare_metadata(
    plan: AddressedPlan,
    name: str,
    wanted: MetadataSet | None,
    sent: SentMetadata | None,
    found: Found | None,
    written: Callable[[str], MetadataValues | None],
    lake: MetadataValues | None = None,
) -> Iterator[Note]:
    """Decide about the metadata of one entry, and add the action to the plan. Yield notes about dropped fields.

    `wanted`: None if the source dropped the entry. `written`: returns the metadata of a recorded digest. `lake`: the
    lake's metadata, if the planner read it.
    """
    after = wanted or NO_METADATA
    first_reason = Reason.NEW
    if sent is not None and found is not None and sent.lake_id not in (None, found.lake_id):
        # The same name with another id is another file, which does not have the metadata that was sent.
        sent, first_reason = None, Reason.DRIFTED
    before = (written(sent.digest) if sent is not None else None) or {}
    same = sent is not None and wanted is not None and wanted.digest == sent.digest
    if sent is not None and not same and (left := fields_that_left(before, after.values)):
        fields = ", ".join(map(repr, left))
        yield Note(NoteCode.FIELD_LEFT, f"keeps {fields} in the lake: no call removes a metadata field", name)
    if lake is not None and wanted is not None:
        update = update_to_mend(before, after.values, lake, "own")
    elif same:
        update = {}
    else:
        known = sent is None or written(sent.digest) is not None
        update = update_to_send(before if known else None, after.values)
    if update:
        reason = first_reason
        if sent is not None:
            reason = Reason.DRIFTED if same else Reason.METADATA_CHANGED
            reason = Reason.REMOVED_FROM_MANIFEST if wanted is None else reason
        changes = metadata_changes(before if lake is None else lake, update)
        overwrites = sent is not None and lake is not None and overwrites_others(before, update, lake)
        digest = sent.digest if sent is not None else None
        plan.actions.append(
            DescribeEntry(plan.address, name, after, digest, reason, *_names(found), changes, overwrites, lake)
        )
    elif same or (sent is None and wanted is not None and not after):
        plan.unchanged += 1
    else:
        plan.settled[name] = wanted
        if found is not None:
            plan.ids[name] = found.lake_id


def _names(found: Found | None) -> tuple[str | None, str | None]:
    return (found.unique_name, found.lake_id) if found else (None, None)
