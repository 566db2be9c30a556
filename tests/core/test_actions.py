"""Every action declares what plans, terminals, JSON, saved plans, the history and approval need.

A new action gets an example in `EXAMPLES`; these tests list what its class does not declare yet.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_args

import click
import pytest
from pydantic import TypeAdapter

from metalake_sync.cli.listeners import outcome
from metalake_sync.cli.markdown_plan import markdown_plan
from metalake_sync.cli.render_plan import COLORS, footer, render_plan
from metalake_sync.core.actions import (
    Action,
    AdoptFile,
    Annotate,
    AttachModelRun,
    CreateCollection,
    DownloadAnnotations,
    DownloadFile,
    RemoveAnnotations,
    RemoveDownloaded,
    ReplaceFile,
    TrashCollection,
    TrashFile,
    TrashMatched,
    UpdateFileMetadata,
    UpdateHead,
    UploadFile,
)
from metalake_sync.core.addresses import Address, By, FileAt
from metalake_sync.core.approved_plan import ApprovedPlan, find_stale_facts
from metalake_sync.core.base_action import ActionDocument, ActionName, BaseAction, Stage
from metalake_sync.core.changes import Change, Reason
from metalake_sync.core.downloads import DownloadPlan, DownloadSpec
from metalake_sync.core.events import ActionDone, ActionFailed, RunFinished
from metalake_sync.core.metadata import metadata_set
from metalake_sync.core.plan import AddressedPlan, CollectionPlan, Plan, TrashRulePlan
from metalake_sync.core.selection import ItemSelection
from metalake_sync.core.snapshots import (
    AnnotationKind,
    CollectionKey,
    CollectionPolicy,
    DesiredFile,
    DesiredSet,
    Fingerprint,
    MediaType,
    Origin,
    RecordedFile,
    RecordedSet,
    RemoteFile,
)
from metalake_sync.core.summary import ACTION_NAMES, Summary
from metalake_sync.documents.base import to_json
from metalake_sync.documents.events import event_document
from metalake_sync.documents.plan import plan_document
from metalake_sync.documents.saved_plan import BasisDocument, SavedPlan

KEY = CollectionKey(MediaType.IMAGE, "birds")
HEAD = metadata_set({"City": "Rome"})
LOCAL = DesiredFile("a.jpg", "images/a.jpg", Fingerprint(10, 2, 3, 4), metadata_set({"a": 1}), "HASH")
REMOTE = RemoteFile("a.jpg", "id-1", "birds_a.jpg", 10)
RECORD = RecordedFile("a.jpg", "images/a.jpg", Fingerprint(10, 2, 3, 4), "HASH", "", "id-1", "b_a.jpg", Origin.UPLOADED)
WANTED = DesiredSet("people", AnnotationKind.HUMAN, "DIGEST", 3)
SENT = RecordedSet("people", AnnotationKind.HUMAN, "DIGEST", 3)
ADDRESS = Address(By.UNIQUE_NAME)
MANAGED = FileAt(KEY, "a.jpg", "b_a.jpg")
UNMANAGED = FileAt(ADDRESS, "b_a.jpg")
CHANGES = (Change("City", "Rome", "Oslo"),)

EXAMPLES: tuple[Action, ...] = (
    CreateCollection(KEY, HEAD),
    UpdateHead(KEY, HEAD, None, changes=CHANGES),
    UploadFile(KEY, LOCAL, Reason.NEW, renamed_from="b.jpg"),
    ReplaceFile(KEY, LOCAL, REMOTE, Reason.CONTENT_CHANGED),
    AdoptFile(KEY, LOCAL, REMOTE),
    UpdateFileMetadata(MANAGED, LOCAL.metadata, None, changes=CHANGES, local=LOCAL),
    Annotate(MANAGED, WANTED, Reason.NEW),
    RemoveAnnotations(MANAGED, SENT),
    AttachModelRun(KEY, "detector", "review"),
    TrashFile(KEY, RECORD, Reason.REMOVED_FROM_MANIFEST),
    TrashMatched(KEY, REMOTE),
    TrashCollection(KEY, "id-2", 7),
    DownloadFile(KEY, REMOTE, "out/a.jpg", Reason.NEW),
    DownloadAnnotations(KEY, "out/annotations.json", 4, Reason.NEW),
    RemoveDownloaded(KEY, "out/b.jpg", Fingerprint(10, 2, 3, 4)),
    Annotate(UNMANAGED, WANTED, Reason.NEW),
    RemoveAnnotations(UNMANAGED, SENT),
    UpdateFileMetadata(UNMANAGED, HEAD, None, Reason.NEW),
)
NEEDS_APPROVAL = {ReplaceFile, RemoveAnnotations, TrashFile, TrashMatched, TrashCollection, RemoveDownloaded}
MAY_OVERWRITE = {UpdateHead, UpdateFileMetadata, Annotate}

every_action = pytest.mark.parametrize("action", EXAMPLES, ids=lambda action: type(action).__name__)


def plan_of(action: Action) -> Plan:
    """A plan with the action at its stage."""
    collection = CollectionPlan(KEY, CollectionPolicy())
    plan = Plan("manifest.yaml", 1, ())
    if isinstance(action, Annotate | RemoveAnnotations | UpdateFileMetadata) and not action.at.managed:
        return replace(plan, addressed=(AddressedPlan(ADDRESS, actions=[action]),))
    match action.stage:
        case Stage.DOWNLOADS:
            download = DownloadPlan(DownloadSpec(ItemSelection(MediaType.IMAGE), "out"))
            if isinstance(action, DownloadFile):
                download.files.append(action)
            elif isinstance(action, RemoveDownloaded):
                download.removals.append(action)
            else:
                assert isinstance(action, DownloadAnnotations)
                download.annotations.append(action)
            return replace(plan, downloads=(download,))
        case Stage.TRASH_RULES:
            assert isinstance(action, TrashMatched | TrashCollection)
            return replace(plan, trash_rules=(TrashRulePlan(ItemSelection(MediaType.IMAGE), (action,)),))
        case Stage.ATTACHMENTS:
            assert isinstance(action, AttachModelRun)
            return replace(plan, attachments=(action,))
        case _:
            collection.take_action(action)
            return replace(plan, collections=(collection,))


def test_the_examples_and_the_union_cover_every_action_class() -> None:
    classes = {cls for cls in BaseAction.__subclasses__() if cls.__module__.startswith("metalake_sync.")}
    # A class with slots is made twice; only the second one is in its module.
    named = {f"{cls.__module__}.{cls.__qualname__}" for cls in classes}
    assert named == {f"{cls.__module__}.{cls.__qualname__}" for cls in get_args(Action)}
    assert {type(action) for action in EXAMPLES} == set(get_args(Action))


@every_action
def test_an_action_declares_its_name_its_sign_and_its_stage(action: Action) -> None:
    assert action.action_name in get_args(ActionName)
    assert action.sign in COLORS
    assert isinstance(action.stage, Stage)
    assert list(plan_of(action).actions()) == [action]


@every_action
def test_an_action_is_counted_under_its_name(action: Action) -> None:
    summary = plan_of(action).summary()
    assert getattr(summary, action.action_name) == action.items_counted
    assert summary.changes == action.items_counted
    assert summary.bytes_to_send == (10 if isinstance(action, UploadFile | ReplaceFile) else 0)


@every_action
def test_an_action_is_shown_in_a_terminal_and_in_markdown(action: Action) -> None:
    document = plan_document(plan_of(action))
    lines = [click.unstyle(line) for line in render_plan(document, all_lines=True)]
    reason = action.reason.value.replace("_", " ")
    assert any(line.strip().startswith(action.sign + " ") and reason in line for line in lines), lines
    assert footer(document) != footer(plan_document(Plan("manifest.yaml", 1, ())))
    assert any(line.startswith(f"| `{action.sign}` |") and reason in line for line in markdown_plan(document))
    done = Summary.empty()
    done.count(action)
    assert "Applied: nothing" not in click.unstyle(outcome(RunFinished("run", done, (), 0, 0, 0, 0.0)))
    assert "Nothing was sent" not in outcome(RunFinished("run", done, (), 0, 0, 0, 0.0))


@every_action
def test_an_action_keeps_its_document_through_json(action: Action) -> None:
    document = action.document()
    assert document.action == action.action_name
    assert document.file == action.file_name
    assert TypeAdapter(ActionDocument).validate_json(to_json(document)) == document
    done = json.loads(to_json(event_document(ActionDone(action))))
    failed = json.loads(to_json(event_document(ActionFailed(action, "the lake refused it.", retryable=True))))
    expected = json.loads(to_json(document))
    assert done == {**expected, "message_type": "action_done"}
    assert failed == {**expected, "message_type": "action_failed", "error": "the lake refused it.", "retryable": True}


@every_action
def test_an_action_of_a_saved_plan_is_recognized_and_its_facts_are_compared(action: Action) -> None:
    plan = plan_of(action)
    saved = SavedPlan(
        manifest="manifest.yaml",
        manifest_from_plan="manifest.yaml",
        manifest_digest="M",
        state_lineage=None,
        state_serial=1,
        refresh="list",
        checksum=False,
        targets=[],
        destructive=plan.destructive,
        plan=plan_document(plan),
        basis=[BasisDocument(**action.key._asdict(), facts=dict(action.facts()))],
    )
    loaded = SavedPlan.model_validate_json(to_json(saved, exclude_none=False))
    assert loaded == saved
    assert list(find_stale_facts(loaded.approved(), plan, "M")) == []
    other = ApprovedPlan("M", None, 1, {action.key: dict.fromkeys(action.facts(), "other")})
    (stale,) = find_stale_facts(other, plan, "M")
    assert str(action.key) in stale


@every_action
def test_the_history_of_an_action_names_what_it_changed(action: Action) -> None:
    before, after = action.history()
    assert (before, after) != (None, None) or isinstance(action, DownloadAnnotations)
    if action.destroys:
        assert before is not None


@every_action
def test_an_action_that_destroys_or_overwrites_needs_approval(action: Action) -> None:
    assert action.needs_approval is (type(action) in NEEDS_APPROVAL)
    if type(action) in MAY_OVERWRITE:
        example: Any = action
        overwriting = replace(example, overwrites=True)
        assert overwriting.needs_approval
        assert overwriting.document().overwrites is True
    rest, held = plan_of(action).without_destructive()
    assert list(held) == ([action] if action.needs_approval else [])
    assert list(rest.actions()) == ([] if action.needs_approval else [action])


def test_a_summary_has_a_count_for_every_name() -> None:
    assert set(ACTION_NAMES) == {action.action_name for action in EXAMPLES}
    assert set(ACTION_NAMES) | {"unchanged", "unmanaged", "bytes_to_send"} == {one.name for one in fields(Summary)}


def test_names_that_are_not_utf_8_are_written_as_escapes() -> None:
    action = UploadFile(KEY, replace(LOCAL, name="a\udcff.jpg"), Reason.NEW)
    assert json.loads(to_json(plan_document(plan_of(action))))["actions"][0]["file"] == "a\\udcff.jpg"


def test_a_filter_returns_a_plan_and_leaves_the_given_one_as_it_is() -> None:
    collection = CollectionPlan(KEY, CollectionPolicy())
    for action in (EXAMPLES[0], EXAMPLES[2], EXAMPLES[9]):
        collection.take_action(action)
    plan = Plan("manifest.yaml", 1, (collection,))
    kept = plan.keep(lambda action: isinstance(action, UploadFile))
    assert list(kept.actions()) == [EXAMPLES[0], EXAMPLES[2]], "a collection is created for the files uploaded to it"
    assert len(list(plan.actions())) == 3
