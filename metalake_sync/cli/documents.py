"""The JSON that machines read: the plan's document and the events of an apply. The schemas are written from here.

Field names and values are a promise (`format_version`). Must not: hold a credential or a signed address.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, assert_never

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

from metalake_sync.cli.shown_plan import ShownAction, ShownPlan, ShownWarning, shown_action
from metalake_sync.core.actions import Action, Reason
from metalake_sync.core.basis import ActionKey, Approved
from metalake_sync.core.changes import Change
from metalake_sync.core.events import ActionDone, ActionFailed, PlanMade, Progress, Resumed, RunFinished
from metalake_sync.core.notes import Note
from metalake_sync.core.plan import Plan, Summary

ActionName = Literal[
    "create_collection",
    "upload",
    "replace",
    "adopt",
    "trash",
    "update_metadata",
    "annotate",
    "remove_annotations",
    "download",
    "attach_model_run",
]


def _writable(value: Any) -> Any:
    """A text that can be written as JSON: bytes of a name that are no UTF-8 stand as readable \\udc.. escapes."""
    if type(value) is str and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value


class Document(BaseModel):
    """Every text in it can be written as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _all_writable = field_validator("*", mode="before")(_writable)


class SummaryDocument(Document):
    """Counts of actions. `annotate` and `remove_annotations` count image and operation pairs; `update_metadata` counts
    files that were in the lake before plus collection heads."""

    create_collection: int
    upload: int
    replace: int
    adopt: int
    trash: int
    update_metadata: int
    annotate: int
    remove_annotations: int
    download: int
    unchanged: int
    unmanaged: int
    bytes_to_send: int
    attach_model_run: int = 0


class ChangeDocument(Document):
    """One thing that differs: a metadata field, or `content`, `size`, `lake id`, `shapes of OPERATION`. `before` or
    `after` is absent where there is nothing."""

    what: str
    before: Any = None
    after: Any = None


class ActionDocument(Document):
    """One action. `collection`: '*' is the whole lake. `file`: the name in the collection; absent for the collection's
    own head, and for the annotations of a download. `path`: from the manifest's folder. `bytes`: to be sent.
    `operation` and `shapes`: of an annotation set. `changes`: the values behind a reason. `renamed_from`: the lake has
    the same bytes under that name. `lake_id`: of what is replaced, adopted, trashed or downloaded. `address`:
    how a file is found that the manifest does not upload. `overwrites`: true if the action replaces what another client
    wrote, as far as the lake was asked. `project`: what a model run is attached to. `items`: of a collection that is
    trashed as a whole."""

    action: ActionName
    collection: str
    type: Literal["image", "video", "other"]
    reason: Reason
    file: str | None = None
    path: str | None = None
    bytes: int | None = None
    operation: str | None = None
    shapes: int | None = None
    changes: list[ChangeDocument] | None = None
    renamed_from: str | None = None
    lake_id: str | None = None
    address: str | None = None
    overwrites: bool | None = None
    project: str | None = None
    items: int | None = None

    def shown(self) -> ShownAction:
        changes = tuple(Change(one.what, one.before, one.after) for one in self.changes or ())
        return ShownAction(**{**dict(self), "changes": changes})


# There may be one for each shape of a source: with slots it takes a fraction of a model's memory.
@pydantic_dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class WarningDocument:
    _all_writable = field_validator("*", mode="before")(_writable)

    code: str
    message: str
    where: str


class PlanDocument(Document):
    """What `plan --json` prints."""

    format_version: Literal["1.0"] = "1.0"
    manifest: str
    state_serial: int
    summary: SummaryDocument
    actions: list[ActionDocument]
    warnings: list[WarningDocument]

    def shown(self) -> ShownPlan:
        """As a fresh plan is shown."""
        return ShownPlan(
            self.manifest,
            self.state_serial,
            Summary(**dict(self.summary)),
            [one.shown() for one in self.actions],
            [ShownWarning(one.code, one.message, one.where) for one in self.warnings],
        )


class BasisDocument(Document):
    """An action and the facts that it rests on: fingerprints, digests, ids."""

    action: str
    type: str
    collection: str
    file: str | None
    operation: str | None
    facts: dict[str, Any]


class SavedPlan(Document):
    """`manifest`: its path. `refresh` and `targets`: what the plan was made with, and is carried out with."""

    kind: Literal["metalake-sync plan"] = "metalake-sync plan"
    format_version: Literal["1.0"] = "1.0"
    manifest: str
    manifest_digest: str
    state_serial: int
    refresh: Literal["none", "list", "full"]
    checksum: bool
    targets: list[str]
    destructive: bool
    plan: PlanDocument
    basis: list[BasisDocument]

    def approved(self) -> Approved:
        actions = {
            ActionKey(one.action, one.type, one.collection, one.file, one.operation): one.facts for one in self.basis
        }
        return Approved(self.manifest_digest, self.state_serial, actions)


class PlanEvent(Document):
    message_type: Literal["plan"] = "plan"
    plan: PlanDocument


class ProgressEvent(Document):
    """`bytes_sent` counts what is on the wire, also of files that are not finished."""

    message_type: Literal["progress"] = "progress"
    stage: str
    files_done: int
    files_total: int
    bytes_sent: int
    bytes_total: int
    seconds: float


class ResumedEvent(Document):
    """An upload session that an earlier run left open was finished."""

    message_type: Literal["resumed"] = "resumed"
    collection: str
    files: int


class ActionDoneEvent(ActionDocument):
    """The lake confirmed it, and it is recorded."""

    message_type: Literal["action_done"] = "action_done"


class ActionFailedEvent(ActionDocument):
    message_type: Literal["action_failed"] = "action_failed"
    error: str
    retryable: bool


class FailedItem(Document):
    action: ActionName
    collection: str
    file: str | None
    error: str
    retryable: bool


class SummaryEvent(Document):
    """The last line. `requests` were asked of lake and store together; `writes` of them could change something."""

    message_type: Literal["summary"] = "summary"
    run_id: str
    done: SummaryDocument
    failed: list[FailedItem]
    bytes_sent: int
    requests: int
    writes: int
    seconds: float


class ExitErrorEvent(Document):
    """A fatal error, on standard error."""

    message_type: Literal["exit_error"] = "exit_error"
    exit_code: int
    message: str


EventDocument = (
    PlanEvent | ProgressEvent | ResumedEvent | ActionDoneEvent | ActionFailedEvent | SummaryEvent | ExitErrorEvent
)


def plan_document(plan: Plan, *, full_names: bool = False) -> PlanDocument:
    """`full_names`: warnings name all that they count, not the first few."""
    return PlanDocument(
        manifest=plan.manifest,
        state_serial=plan.state_serial,
        summary=summary_document(plan.summary()),
        actions=list(map(action_document, plan.actions())),
        warnings=warning_documents(plan.notes, full_names=full_names),
    )


def action_document(action: Action) -> ActionDocument:
    return ActionDocument(**_fields(action))


def warning_documents(notes: Iterable[Note], *, full_names: bool = False) -> list[WarningDocument]:
    return [
        WarningDocument(code=note.code.value, message=note.in_full if full_names else note.message, where=note.where)
        for note in notes
    ]


def summary_document(summary: Summary) -> SummaryDocument:
    return SummaryDocument(**{name: getattr(summary, name) for name in SummaryDocument.model_fields})


def event_document(
    event: PlanMade | Progress | ActionDone | ActionFailed | Resumed | RunFinished,
) -> EventDocument:
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
            return ActionDoneEvent(**_fields(event.action))
        case ActionFailed():
            return ActionFailedEvent(**_fields(event.action), error=event.error, retryable=event.retryable)
        case RunFinished():
            return SummaryEvent(
                run_id=event.run_id,
                done=summary_document(event.done),
                failed=[_failed_item(failure) for failure in event.failed],
                bytes_sent=event.bytes_sent,
                requests=event.requests,
                writes=event.writes,
                seconds=round(event.seconds, 3),
            )
        case _:
            assert_never(event)


def _failed_item(failure: ActionFailed) -> FailedItem:
    fields = _fields(failure.action)
    return FailedItem(
        action=fields["action"],
        collection=fields["collection"],
        file=fields["file"],
        error=failure.error,
        retryable=failure.retryable,
    )


def _fields(action: Action) -> dict[str, Any]:
    fields = shown_action(action)._asdict()
    changes = fields.pop("changes")
    if changes:
        fields["changes"] = [ChangeDocument(what=one.what, before=one.before, after=one.after) for one in changes]
    return fields
