"""The JSON documents: saved plans and the events of an apply, and the schemas that are generated from these classes.

Owns: field names and values, which do not change within a `format_version`, and the published schemas of manifest, plan
and events. `python -m metalake_sync.cli.documents DIR` writes the schemas to a folder. Must not: contain a credential
or a signed URL. The document of a plan itself is in `plan_document`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Literal, assert_never

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticSerializationError

from metalake_sync.cli.plan_document import PlanDocument, plan_document
from metalake_sync.core.base_action import ActionDocument, ActionKey, ActionName
from metalake_sync.core.events import ActionDone, ActionFailed, PlanMade, Progress, Resumed, RunFinished
from metalake_sync.core.guards import Approved
from metalake_sync.core.set_changes import SetChanges
from metalake_sync.core.summary import Summary

_ADAPTERS: dict[type, TypeAdapter[Any]] = {}

_PUBLISHED_NAMES = {"Change": "ChangeDocument", "Summary": "SummaryDocument"}
"""The names in the published schemas of classes that have another name in the code."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Document(BaseModel):
    """A document, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BasisDocument(Document):
    """An action and the facts that must still hold when it is carried out: fingerprints, digests, ids."""

    action: str
    type: str
    collection: str
    file: str | None
    operation: str | None
    facts: dict[str, Any]


class SavedPlan(Document):
    """A plan that `plan --out` or `revert --out` saved. `refresh` and `targets` are the options of that command."""

    kind: Literal["metalake-sync plan"] = "metalake-sync plan"
    format_version: Literal["2.0"] = "2.0"
    manifest: str
    """The path of the manifest, relative to the folder in which the plan was made. Absolute if it is outside of it."""
    manifest_from_plan: str | None
    """The path of the manifest, relative to the folder of the saved plan. None if it is outside of it."""
    manifest_digest: str
    state_lineage: str | None
    state_serial: int
    refresh: Literal["none", "list", "full"]
    checksum: bool
    targets: list[str]
    revert: str | None = None
    """The run that the plan reverts. None: the plan makes the lake match the manifest."""
    destructive: bool
    """Whether the plan needs approval. If False, applying the file approves no destructive action."""
    plan: PlanDocument
    basis: list[BasisDocument]

    def approved(self) -> Approved:
        """Return what carrying out the plan may do."""
        actions = {
            ActionKey(one.action, one.type, one.collection, one.file, one.operation): one.facts for one in self.basis
        }
        return Approved(self.manifest_digest, self.state_lineage, self.state_serial, actions)


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


def to_json(
    document: Any, *, indent: int | None = None, exclude_none: bool = True, include: set[str] | None = None
) -> str:
    """Return a document as JSON. File names that are not UTF-8 are written as `\\udc..` escapes."""
    adapter = _ADAPTERS.get(type(document))
    if adapter is None:
        adapter = _ADAPTERS[type(document)] = TypeAdapter(type(document))
    try:
        text = adapter.dump_json(document, indent=indent, exclude_none=exclude_none, include=include)
    except PydanticSerializationError:
        text = adapter.dump_json(_writable(document), indent=indent, exclude_none=exclude_none, include=include)
    return text.decode()


def _writable(value: Any) -> Any:
    """Return the value with text that UTF-8 can encode."""
    if isinstance(value, str):
        writable = value.encode("utf-8", "backslashreplace").decode()
        return value if writable == value else writable
    if isinstance(value, dict):
        return {_writable(key): _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_writable, value))
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: _writable(item) for name, item in value})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{name: _writable(item) for name, item in _fields(value).items()})
    return value


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
            return ActionDoneEvent(**_fields(dataclasses.replace(event.action.document(), shape_changes=shape_changes)))
        case ActionFailed():
            fields = _fields(dataclasses.replace(event.action.document(), shape_changes=shape_changes))
            return ActionFailedEvent(**fields, error=event.error, retryable=event.retryable)
        case RunFinished():
            return SummaryEvent(
                run_id=event.run_id,
                done=event.done,
                failed=[_failed_item(failure) for failure in event.failed],
                bytes_sent=event.bytes_sent,
                requests=event.requests,
                writes=event.writes,
                seconds=round(event.seconds, 3),
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


def _fields(document: Any) -> dict[str, Any]:
    return {field.name: getattr(document, field.name) for field in dataclasses.fields(document)}


def json_schema(name: str) -> dict[str, Any]:
    """Return the schema with the name `manifest`, `plan` or `events`."""
    match name:
        case "manifest":
            # `show` reads saved plans without loading the models of the manifest.
            from metalake_sync.manifest.authoring import manifest_json_schema

            return manifest_json_schema()
        case "plan":
            return {"$schema": DIALECT, **_published(TypeAdapter(PlanDocument).json_schema(mode="serialization"))}
        case "events":
            schema = _published(TypeAdapter(EventDocument).json_schema(mode="serialization"))
            return {"$schema": DIALECT, "title": "One line of apply --json", **schema}
        case _:
            raise ValueError(name)


def _published(schema: Any) -> Any:
    """Return a generated schema with the published names of its definitions."""
    if isinstance(schema, list):
        return [_published(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _published(value) for key, value in schema.items()}
    reference = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if reference in _PUBLISHED_NAMES:
        renamed["$ref"] = f"#/$defs/{_PUBLISHED_NAMES[reference]}"
    if "$defs" in schema:
        named = {_PUBLISHED_NAMES.get(name, name): value for name, value in renamed["$defs"].items()}
        for name in _PUBLISHED_NAMES.values():
            if name in named:
                named[name]["title"] = name
        renamed["$defs"] = dict(sorted(named.items()))
    return renamed


def schema_text(name: str) -> str:
    return json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    for name in ("manifest", "plan", "events"):
        (folder / f"{name}.schema.json").write_text(schema_text(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
