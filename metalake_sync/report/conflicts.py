"""The two sides of a conflict with another client, drawn beside each other.

Owns: which sets are compared for it. Must not: decide anything; `planning.set_merge` combines the sets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from metalake_sync.annotations.readback import as_stored
from metalake_sync.core.actions import Annotate, RemoveAnnotations
from metalake_sync.core.addresses import Address
from metalake_sync.core.diff_sets import SetKey
from metalake_sync.core.shape_values import UnknownImageSize
from metalake_sync.core.shapes import EMPTY_SET_DIGEST, ImageRecord, digest_of_shapes, encode_record
from metalake_sync.core.snapshots import SetMerge
from metalake_sync.engine import Engine, Observed
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.set_merge import merge_with_lake
from metalake_sync.report.model import ActionLine, Entry, ImageFile, SetChange, set_change
from metalake_sync.report.text import counted
from metalake_sync.sources.image_headers import image_size

UNKNOWN_BASE = "The state does not know the set before, so all shapes are drawn as added."


@dataclass(frozen=True, slots=True)
class Conflict:
    """One annotation set that another client changed, and that the plan changes too."""

    key: SetKey
    number: int
    """The number of the action in the plan."""
    action: Annotate | RemoveAnnotations
    theirs: ImageRecord
    """The lake's set."""

    @property
    def theirs_digest(self) -> str:
        return digest_of_shapes(encode_record(self.theirs))

    @property
    def ours_digest(self) -> str:
        """The digest of the source's set."""
        return self.action.annotations.digest if isinstance(self.action, Annotate) else EMPTY_SET_DIGEST


@dataclass(frozen=True, slots=True)
class ConflictSides:
    """What a user sees of a conflict."""

    entry: Entry
    """Its image, and three changes: the lake's set, the source's and the merged one."""
    merge: SetMerge | None
    """None: the sets cannot be merged."""


def conflicts_of(observed: Observed) -> Iterator[Conflict]:
    """Yield the conflicts of a plan whose sets it read. A set that the plan keeps has no action, and is not among
    them."""
    for number, action in enumerate(observed.planned.plan.actions()):
        if not isinstance(action, Annotate | RemoveAnnotations) or action.theirs is None or not action.theirs.shapes:
            continue
        place, operation = action.at.place, action.annotations.operation
        sources = observed.planned.addressed.annotations
        has_source = (
            (place, operation) in sources
            if isinstance(place, Address)
            else operation in observed.planned.desired[place].annotations
        )
        # Without a source, the manifest dropped the operation, and no policy decides about its sets.
        if has_source:
            name = action.at.address or action.at.collection.name
            yield Conflict(SetKey(name, action.at.name, operation), number, action, action.theirs)


def sides_of(conflict: Conflict, engine: Engine, observed: Observed, image: ImageFile) -> ConflictSides:
    """Return the sides of a conflict of an open plan. Raises SyncError."""
    action, theirs = conflict.action, conflict.theirs
    at, operation, kind = action.at, action.annotations.operation, action.annotations.kind
    planned = observed.planned
    if isinstance(action, RemoveAnnotations):
        ours = ImageRecord(at.name, (), theirs.normalized)
    elif isinstance(at.place, Address):
        ours = planned.addressed.annotations[at.place, operation].record(at.name)
    else:
        ours = planned.desired[at.place].record(operation, at.name)
    base = _base(conflict, engine, observed)
    shown_sets = planned.plan.shown_sets
    path = shown_sets.path(action) if shown_sets is not None else None
    local = os.path.join(engine.manifest.base_dir, path) if path is not None else ""
    size = image_size(local) if local else None
    merge = action.merge if isinstance(action, Annotate) else None
    if merge is None and (size is not None or not (ours.normalized or (base is not None and base.normalized))):
        merge = merge_with_lake(base, ours, theirs, kind, local)
    known = as_stored(base, kind, size) if base is not None else None
    sides = [("The lake has", known, theirs), ("The source has", known, as_stored(ours, kind, size))]
    if merge is not None:
        sides.append(("Merged", theirs, as_stored(merge.shapes, kind, size)))
    changes: list[SetChange] = []
    for title, before, after in sides:
        nothing = ImageRecord(after.image, (), after.normalized)
        try:
            change = set_change(title, "", before if before is not None else nothing, after, size)
        except UnknownImageSize:
            change = set_change(title, "", nothing, after, size)
        changes.append(replace(change, remarks=(*_remarks(title, merge), *([UNKNOWN_BASE] if before is None else []))))
    line = ActionLine("~", "annotate", action.reason.value)
    entry = Entry(conflict.key.collection, "image", at.name, (line,), image, load_sets=lambda: _all(changes))
    return ConflictSides(entry, merge)


def _all(changes: Sequence[SetChange]) -> Sequence[SetChange]:
    return changes


def _remarks(title: str, merge: SetMerge | None) -> list[str]:
    if title != "Merged" or merge is None:
        return []
    if merge.conflicts:
        return [f"Compared with the lake. {counted(merge.conflicts, 'shape')} that both sides changed: the source's."]
    return ["Compared with the lake. No shape was changed on both sides."]


def _base(conflict: Conflict, engine: Engine, observed: Observed) -> ImageRecord | None:
    """The set that the lake confirmed last. None: it is unknown."""
    at, operation = conflict.action.at, conflict.action.annotations.operation
    lake = lake_identity(engine.manifest)
    if isinstance(at.place, Address):
        return observed.state.of_address(lake, at.place).base(operation, at.name)
    recorded = observed.state.collections.of_lake(lake).get(at.place)
    return observed.state.of_collection(recorded[0]).base(operation, at.name) if recorded is not None else None
