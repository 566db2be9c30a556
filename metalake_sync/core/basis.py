"""What an action rests on: the facts that must still hold when a saved plan is carried out.

Owns: which facts count. Must not: read or write a saved plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, assert_never

from metalake_sync.core.actions import (
    Action,
    AdoptFile,
    Annotate,
    AttachModelRun,
    CreateCollection,
    DownloadAnnotations,
    DownloadFile,
    RemoveAnnotations,
    ReplaceFile,
    TrashCollection,
    TrashFile,
    TrashMatched,
    UpdateFileMetadata,
    UpdateHead,
    UploadFile,
)
from metalake_sync.core.plan import Plan
from metalake_sync.core.snapshots import DesiredFile
from metalake_sync.core.targets import keep_in_plan
from metalake_sync.core.unmanaged_files import AnnotateEntry, ClearEntry, DescribeEntry
from metalake_sync.core.wording import action_name, file_name
from metalake_sync.lazy_dataclass import dataclass

Basis = Mapping[str, Any]
"""Facts by name, as JSON values."""


class ActionKey(NamedTuple):
    """What an action does, and to what."""

    action: str
    type: str
    collection: str
    file: str | None
    operation: str | None

    def __str__(self) -> str:
        where = f"{self.collection}/{self.file}" if self.file is not None else self.collection
        of = f" of {self.operation}" if self.operation is not None else ""
        return f"{self.action} {where}{of}"


@dataclass(frozen=True, slots=True)
class Approved:
    """A plan that somebody approved: what it was made from, and what each of its actions rests on."""

    manifest_digest: str
    state_serial: int
    actions: Mapping[ActionKey, Basis]


def key_of(action: Action) -> ActionKey:
    of_sets = Annotate | RemoveAnnotations | AnnotateEntry | ClearEntry
    operation = action.annotations.operation if isinstance(action, of_sets) else None
    if isinstance(action, DownloadFile | DownloadAnnotations):
        operation = action.path  # the same file may go into several folders
    if isinstance(action, AttachModelRun):
        operation = f"{action.operation} to {action.project}"
    key = action.collection
    where = str(action.address) if isinstance(action, AnnotateEntry | ClearEntry | DescribeEntry) else key.name
    return ActionKey(action_name(action), key.type.value, where, file_name(action), operation)


def basis_of(action: Action) -> Basis:
    """The facts that an action rests on."""
    match action:
        case CreateCollection():
            return {"metadata": action.head.digest}
        case UpdateHead():
            return {"metadata before": action.before, "metadata": action.head.digest}
        case UploadFile():
            return _of_file(action.file)
        case ReplaceFile():
            return {**_of_file(action.file), "lake id": action.replaced.lake_id}
        case AdoptFile():
            return {**_of_file(action.file), "lake id": action.remote.lake_id}
        case UpdateFileMetadata():
            return {"metadata before": action.before, "metadata": action.file.metadata.digest}
        case DescribeEntry():
            return {"metadata before": action.before, "metadata": action.metadata.digest}
        case Annotate() | RemoveAnnotations() | AnnotateEntry() | ClearEntry():
            return {"shapes": action.annotations.shape_count, "annotations": action.annotations.digest}
        case TrashFile():
            return {"lake id": action.recorded.lake_id}
        case TrashCollection():
            return {"lake id": action.lake_id, "items": action.items}
        case TrashMatched() | DownloadFile():
            return {"lake id": action.file.lake_id}
        case DownloadAnnotations():
            return {"images": action.images}
        case AttachModelRun():
            return {"project": action.project}
        case _:
            assert_never(action)


def _of_file(file: DesiredFile) -> dict[str, Any]:
    found = file.fingerprint
    return {
        "size": found.size_bytes,
        "mtime_ns": found.mtime_ns,
        "inode": found.inode,
        "ctime_ns": found.ctime_ns,
        "metadata": file.metadata.digest,
    }


def what_moved(approved: Approved, plan: Plan, manifest_digest: str) -> Iterator[str]:
    """Why an approved plan no longer holds, as clauses; none where it does. `plan`: as it would be made now."""
    if approved.manifest_digest != manifest_digest:
        yield "the manifest has changed"
        return
    if approved.state_serial != plan.state_serial:
        yield f"another run has moved the state from {approved.state_serial} to {plan.state_serial}"
        return
    fresh = {key_of(action): basis_of(action) for action in plan.actions()}
    for key, before in approved.actions.items():
        now = fresh.get(key)
        if now is None:
            yield f"'{key}' is no longer due"
        elif now != before:
            moved = (name for name in {**before, **now} if before.get(name) != now.get(name))
            yield f"'{key}': " + ", ".join(f"{name} {before.get(name)} → {now.get(name)}" for name in moved)


def leave_out_new(approved: Approved, plan: Plan) -> Plan:
    """Leave what came up since the plan was approved to the next one: what a trash rule has come to mean, too. Returns
    the plan without it; its parts are changed. Downloads take nothing away, and fetch what the lake has by then."""

    def was_approved(action: Action) -> bool:
        # Two items may have one name; the id says which of them was shown.
        return approved.actions.get(key_of(action)) == basis_of(action)

    keep_in_plan(plan, was_approved)
    rules = (replace(rule, items=tuple(filter(was_approved, rule.items))) for rule in plan.trash_rules)
    attachments = tuple(filter(was_approved, plan.attachments))
    return replace(plan, trash_rules=tuple(rules), attachments=attachments)
