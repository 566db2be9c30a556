"""The documents of the events of a run: one line of `apply --json` each.

Owns: field names and values, which do not change within a `format_version`. Must not: contain a credential or a signed
URL.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, assert_never

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from metalake_sync.core.base_action import ActionDocument, ActionName
from metalake_sync.core.events import ActionDone, ActionFailed, PlanMade, Progress, Resumed, RunFinished
from metalake_sync.core.set_changes import SetChanges
from metalake_sync.core.summary import Summary
from metalake_sync.documents.base import Document, fields_of
from metalake_sync.documents.plan import PlanDocument, plan_document


class PlanEvent(Document):
    """The plan that the run carries out."""

    message_type: Literal["plan"] = "plan"
    plan: PlanDocument


class ProgressEvent(Document):
    """How far the run is. `bytes_sent` counts transferred bytes, also those of unfinished files."""

    message_type: Literal["progress"] = "progress"
    stage: str
    files_done: int
    files_total: int
    bytes_sent: int
    bytes_total: int
    seconds: float


class ResumedEvent(Document):
    """The run finished an upload session that an earlier run left open."""

    message_type: Literal["resumed"] = "resumed"
    collection: str
    files: int


class ClaimedEvent(Document):
    """`import --claim` recorded adopted files as uploaded. `backup`: the path of the copy of the old state."""

    message_type: Literal["claimed"] = "claimed"
    files: int
    only_in_lake: int | None = None
    """How many matching files of the lake were not claimed, because they were not on this disk. Absent without any."""
    backup: str | None = None


@pydantic_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ActionDoneEvent(ActionDocument):
    """The lake confirmed the action, and the state records it. `shape_changes` is that of the plan's
    action."""

    message_type: Literal["action_done"] = "action_done"


@pydantic_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ActionFailedEvent(ActionDocument):
    """The action failed. If it is retryable, the next run may succeed without any change."""

    message_type: Literal["action_failed"] = "action_failed"
    error: str
    retryable: bool


class FailedItem(Document):
    """A failed action in the summary."""

    action: ActionName
    collection: str
    file: str | None
    error: str
    retryable: bool


class SummaryEvent(Document):
    """The last line. `requests` counts calls of the lake and its object store; `writes` are those that may change
    something."""

    message_type: Literal["summary"] = "summary"
    run_id: str
    done: Summary
    failed: list[FailedItem]
    bytes_sent: int
    requests: int
    writes: int
    seconds: float
    bytes_received: int = 0
    """The number of downloaded bytes of files."""


class ExitErrorEvent(Document):
    """The error that ended the command, on standard error."""

    message_type: Literal["exit_error"] = "exit_error"
    exit_code: int
    message: str


EventDocument = (
    PlanEvent
    | ProgressEvent
    | ResumedEvent
    | ClaimedEvent
    | ActionDoneEvent
    | ActionFailedEvent
    | SummaryEvent
    | ExitErrorEvent
)


def event_document(
    event: PlanMade | Progress | ActionDone | ActionFailed | Resumed | RunFinished,
    shape_changes: SetChanges | None = None,
) -> EventDocument:
    """Return the document of an event of an apply. `shape_changes`: what the plan says about the set of the action."""
    match event:
        case PlanMade():
            return PlanEvent(plan=plan_document(event.plan))
        case Progress():
            return ProgressEvent(
                stage=event.stage,
                files_done=event.files_done,
                files_total=event.files_total,
                bytes_sent=event.bytes_sent,
                bytes_total=event.bytes_total,
                seconds=round(event.seconds, 3),
            )
        case Resumed():
            return ResumedEvent(collection=event.collection, files=event.files)
        case ActionDone():
            return ActionDoneEvent(
                **fields_of(dataclasses.replace(event.action.document(), shape_changes=shape_changes))
            )
        case ActionFailed():
            document = dataclasses.replace(event.action.document(), shape_changes=shape_changes)
            return ActionFailedEvent(**fields_of(document), error=event.error, retryable=event.retryable)
        case RunFinished():
            return SummaryEvent(
                run_id=event.run_id,
                done=event.done,
                failed=[_failed_item(failure) for failure in event.failed],
                bytes_sent=event.bytes_sent,
                requests=event.requests,
                writes=event.writes,
                seconds=round(event.seconds, 3),
                bytes_received=event.bytes_received,
            )
        case _:
            assert_never(event)


def _failed_item(failure: ActionFailed) -> FailedItem:
    action = failure.action
    return FailedItem(
        action=action.action_name,
        collection=action.collection.name,
        file=action.file_name,
        error=failure.error,
        retryable=failure.retryable,
    )
