"""The part of the truth table for metadata: which fields of a file or a head are written.

Owns: the comparison of wanted, written and lake's values, for heads, managed and unmanaged files alike. Must not: look
anything up; callers pass all inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from metalake_sync.core.actions import Reason, UpdateFileMetadata
from metalake_sync.core.addresses import FileAt
from metalake_sync.core.changes import Change, metadata_changes
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
from metalake_sync.core.snapshots import RecordedMetadata
from metalake_sync.lazy_dataclass import dataclass

Written = Callable[[str], MetadataValues | None]
"""Returns the metadata that belongs to a recorded digest, or None if the state lost it."""


@dataclass(frozen=True, slots=True)
class MetadataDifference:
    """What differs in the metadata of one file or head."""

    changed: bool
    """Whether the manifest wants other metadata than was written last."""
    update: dict[str, Any]
    """The fields to write."""
    changes: tuple[Change, ...]
    overwrites: bool
    """Whether the update overwrites a value that another client wrote."""
    left: tuple[str, ...]
    """Fields that the manifest dropped, and that stay in the lake."""

    def notes(self, where: str) -> tuple[Note, ...]:
        """A note on the fields that stay. `where`: the file or the head."""
        if not self.left:
            return ()
        fields = ", ".join(map(repr, self.left))
        return (Note(NoteCode.FIELD_LEFT, f"keeps {fields} in the lake: no call removes a metadata field", where),)


UNCHANGED = MetadataDifference(False, {}, (), False, ())


def compare_fields(
    wanted: MetadataSet,
    digest: str | None,
    written: Written,
    lake: MetadataValues | None,
    tags: Literal["own", "exact"] = "own",
) -> MetadataDifference:
    """Compare metadata with what was written last, and with the lake's if the planner read it.

    `digest`: of the metadata that was written last, or None if none was. `lake`: None if it was not read.
    """
    changed = digest != wanted.digest
    if not changed and lake is None:
        return UNCHANGED
    before = written(digest) if digest is not None else None
    if lake is not None:
        update = update_to_mend(before or {}, wanted.values, lake, tags)
    else:
        update = update_to_send(before, wanted.values) if changed else {}
    return MetadataDifference(
        changed,
        update,
        # Another client may have written fields of a file to which this manifest has written none.
        metadata_changes(before or None if lake is None else lake, update),
        lake is not None and overwrites_others(before or {}, update, lake),
        tuple(fields_that_left(before or {}, wanted.values)) if changed else (),
    )


@dataclass(frozen=True, slots=True)
class MetadataDecision:
    """The decision about the metadata of one unmanaged file."""

    action: UpdateFileMetadata | None = None
    record: MetadataSet | None = None
    """The metadata to record if nothing is sent. None if the record stays."""
    notes: tuple[Note, ...] = ()


def compare_unmanaged_metadata(
    at: FileAt,
    wanted: MetadataSet | None,
    known: RecordedMetadata | None,
    written: Written,
    lake: MetadataValues | None = None,
) -> MetadataDecision:
    """Decide about the metadata of one unmanaged file. `wanted`: None if the source dropped the entry."""
    after = wanted or NO_METADATA
    reason = Reason.NEW
    if known is not None and at.lake_id is not None and known.lake_id not in (None, at.lake_id):
        # The same name with another id is another file, which does not have the metadata that was sent.
        known, reason = None, Reason.DRIFTED
    elif known is not None:
        same = wanted is not None and wanted.digest == known.digest
        reason = Reason.DRIFTED if same else Reason.METADATA_CHANGED
        reason = Reason.REMOVED_FROM_MANIFEST if wanted is None else reason
    digest = known.digest if known is not None else None
    found = compare_fields(after, digest, written, lake if wanted is not None else None)
    notes = found.notes(at.name)
    if found.update:
        overwrites = found.overwrites and known is not None
        action = UpdateFileMetadata(at, after, digest, reason, lake, found.changes, overwrites)
        return MetadataDecision(action, notes=notes)
    unchanged = wanted is not None and (not found.changed or (known is None and not after))
    return MetadataDecision(record=None if unchanged else after, notes=notes)
