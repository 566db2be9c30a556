"""A plan in plain values: what a terminal shows, and what the documents for machines are made of.

Owns: what is told of an action. Must not: load pydantic, which most runs need for nothing else than their manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, assert_never

from metalake_sync.core.actions import (
    Action,
    AdoptFile,
    Annotate,
    AttachModelRun,
    CreateCollection,
    DownloadAnnotations,
    DownloadFile,
    Reason,
    RemoveAnnotations,
    ReplaceFile,
    TrashCollection,
    TrashFile,
    TrashMatched,
    UpdateFileMetadata,
    UpdateHead,
    UploadFile,
)
from metalake_sync.core.changes import Change
from metalake_sync.core.notes import Note
from metalake_sync.core.plan import Plan, Summary
from metalake_sync.core.unmanaged_files import AnnotateEntry, ClearEntry, DescribeEntry
from metalake_sync.core.wording import action_name, file_name


class ShownAction(NamedTuple):
    """One action; the fields are those of the plan's document."""

    action: str
    collection: str
    type: str
    reason: Reason
    file: str | None = None
    path: str | None = None
    bytes: int | None = None
    operation: str | None = None
    shapes: int | None = None
    changes: tuple[Change, ...] = ()
    renamed_from: str | None = None
    lake_id: str | None = None
    address: str | None = None
    overwrites: bool | None = None
    """True if the action replaces what another client wrote; None if it does not, or the lake was not asked."""
    project: str | None = None
    """The project that a model run is attached to."""
    items: int | None = None
    """How many items a collection has that is trashed as a whole."""


class ShownWarning(NamedTuple):
    """One note. `where`: may be empty."""

    code: str
    message: str
    where: str


class ShownPlan(NamedTuple):
    """What there is to show of a plan."""

    manifest: str
    state_serial: int
    summary: Summary
    actions: Sequence[ShownAction]
    warnings: Sequence[ShownWarning]


def shown_plan(plan: Plan, *, full_names: bool = False) -> ShownPlan:
    """`full_names`: warnings name all that they count, not the first few."""
    return ShownPlan(
        plan.manifest,
        plan.state_serial,
        plan.summary(),
        list(map(shown_action, plan.actions())),
        shown_warnings(plan.notes, full_names=full_names),
    )


def shown_warnings(notes: Iterable[Note], *, full_names: bool = False) -> list[ShownWarning]:
    return [ShownWarning(note.code.value, note.in_full if full_names else note.message, note.where) for note in notes]


def shown_action(action: Action) -> ShownAction:
    fields: dict[str, Any] = {
        "action": action_name(action),
        "collection": action.collection.name,
        "type": action.collection.type.value,
        "reason": action.reason,
        "file": file_name(action),
        "changes": getattr(action, "changes", ()),
        "overwrites": getattr(action, "overwrites", False) or None,
    }
    match action:
        case UploadFile():
            fields |= {"path": action.file.path, "bytes": action.file.fingerprint.size_bytes}
            fields |= {"renamed_from": action.renamed_from}
        case ReplaceFile():
            fields |= {"path": action.file.path, "bytes": action.file.fingerprint.size_bytes}
            fields |= {"lake_id": action.replaced.lake_id}
        case AdoptFile():
            fields |= {"path": action.file.path, "lake_id": action.remote.lake_id}
        case UpdateFileMetadata():
            fields |= {"path": action.file.path}
        case TrashFile():
            fields |= {"lake_id": action.recorded.lake_id}
        case Annotate() | RemoveAnnotations():
            fields |= {"operation": action.annotations.operation, "shapes": action.annotations.shape_count}
        case TrashCollection():
            fields |= {"lake_id": action.lake_id, "items": action.items}
        case TrashMatched():
            fields |= {"lake_id": action.file.lake_id}
        case DownloadFile():
            fields |= {"path": action.path, "lake_id": action.file.lake_id}
        case DownloadAnnotations():
            fields |= {"path": action.path}
        case AnnotateEntry() | ClearEntry():
            fields |= {
                "operation": action.annotations.operation,
                "shapes": action.annotations.shape_count,
                "address": str(action.address),
            }
        case DescribeEntry():
            fields |= {"address": str(action.address)}
        case AttachModelRun():
            fields |= {"operation": action.operation, "project": action.project}
        case CreateCollection() | UpdateHead():
            pass
        case _:
            assert_never(action)
    return ShownAction(**fields)
