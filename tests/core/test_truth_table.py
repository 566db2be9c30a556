"""The truth table as readable cases: every row of `tests/core/cases/` is one decision of `core.diff`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from metalake_sync.core.actions import Forget, ReplaceFile, Rerecord, RerecordHead
from metalake_sync.core.diff import CollectionRules, FileDecision, Gone, compare, compare_head
from metalake_sync.core.diff_sets import OperationPolicy
from metalake_sync.core.metadata import MetadataValues, metadata_set
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.shapes import EMPTY_SET_DIGEST, ImageRecord, Shape, ShapeType
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
    RemoteSet,
    SetMerge,
)

CASES = Path(__file__).parent / "cases"
KEY = CollectionKey(MediaType.IMAGE, "birds")


def cases(file: str) -> list[Any]:
    rows = yaml.safe_load((CASES / file).read_text())
    return [pytest.param(row, id=row["says"]) for row in rows]


def shown(decision: FileDecision) -> dict[str, list[str]]:
    return {
        "then": [f"{action.action_name} {action.reason.value}" for action in decision.actions],
        "notes": [note.code.value for note in decision.notes],
        "bookkeeping": [
            {Rerecord: "rerecord", RerecordHead: "rerecord", Forget: "forget"}[type(bookkeeping)]
            for bookkeeping in decision.bookkeeping
        ],
    }


def expected(row: dict[str, Any]) -> dict[str, list[str]]:
    return {"then": row["then"], "notes": row.get("notes", []), "bookkeeping": row.get("bookkeeping", [])}


def fingerprint(size_bytes: int, mtime_ns: int = 1) -> Fingerprint:
    return Fingerprint(size_bytes, mtime_ns, 1, 1)


def file_row(row: dict[str, Any]) -> tuple[DesiredFile | None, RecordedFile | None, RemoteFile | None]:
    desired = recorded = remote = None
    if "desired" in row:
        content, size = row["desired"].split("@")
        desired = DesiredFile("a.jpg", "a.jpg", fingerprint(int(size)), metadata_set({}), content)
    if "recorded" in row:
        found = re.fullmatch(r"(\w)@(\d+) #(\d)( \(adopted\))?", row["recorded"])
        assert found, row["recorded"]
        content, size, lake_id, adopted = found.groups()
        recorded = RecordedFile(
            "a.jpg",
            "a.jpg",
            fingerprint(int(size)),
            content,
            metadata_set({}).digest,
            lake_id,
            "birds_a.jpg",
            Origin.ADOPTED if adopted else Origin.UPLOADED,
        )
    if "remote" in row:
        lake_id, _, size = row["remote"].removeprefix("#").partition(" @")
        remote = RemoteFile(
            "a.jpg", lake_id, "birds_a.jpg", int(size) if size else None, same_bytes=row.get("same_bytes")
        )
    return desired, recorded, remote


def rules_of(row: dict[str, Any]) -> CollectionRules:
    unfinished = frozenset({"a.jpg"} if row.get("unfinished") else ())
    return CollectionRules(KEY, CollectionPolicy(**row.get("policy", {})), lambda _: {}, unfinished=unfinished)


@pytest.mark.parametrize("row", cases("files.yaml"))
def test_files(row: dict[str, Any]) -> None:
    rules = rules_of(row)
    gone = Gone(row.get("filtered_out", False), row.get("renamed_to"), row.get("hidden_by"))
    decision = compare(rules, *file_row(row), gone=gone, renamed_from=row.get("renamed_from"))
    assert shown(decision) == expected(row)
    destroys = any(line.startswith(("replace", "trash")) for line in row["then"])
    needs_approval = row.get("needs_approval", destroys)
    assert any(action.needs_approval for action in decision.actions) is needs_approval


def test_the_change_of_a_drifted_file_shows_the_size_in_the_lake_and_the_wanted_one() -> None:
    row = {"desired": "A@10", "recorded": "A@10 #1", "remote": "#1 @11"}
    (replace,) = compare(CollectionRules(KEY, CollectionPolicy(), lambda _: {}), *file_row(row)).actions
    assert isinstance(replace, ReplaceFile)
    assert [(change.what, change.before, change.after) for change in replace.changes] == [("size", 11, 10)]


def digest(name: str) -> str:
    return EMPTY_SET_DIGEST if name == "empty" else name


def seen_in_lake(row: dict[str, Any]) -> RemoteFile:
    sets = None
    if "sets" in row:
        sets = {name: set_in_lake(row, name, x) for name, x in row["sets"].items()}
    read = frozenset(row["read"]) if "read" in row else None
    return RemoteFile("a.jpg", "1", "birds_a.jpg", None, row.get("metadata"), sets, read)


def set_in_lake(row: dict[str, Any], operation: str, digest_in_lake: str) -> RemoteSet:
    as_recorded = True if operation in row.get("as_recorded", ()) else None
    as_recorded = False if operation in row.get("changed_by_others", ()) else as_recorded
    merge = None
    if operation in row.get("merge", {}):
        combined = row["merge"][operation]
        shape = Shape(ShapeType.RECTANGLE, ((0, 0), (1, 1)), "RBC")
        merge = SetMerge(ImageRecord("a.jpg", (shape,)), "m", combined["conflicts"], combined.get("is_theirs", False))
    return RemoteSet(digest_in_lake, 1, digest_in_lake == "as desired", as_recorded, merge=merge)


@pytest.mark.parametrize("row", cases("metadata_and_annotations.yaml"))
def test_metadata_and_annotations(row: dict[str, Any]) -> None:
    desired, recorded = row["desired"], row["recorded"]
    written: MetadataValues = recorded.get("metadata", {})
    human = AnnotationKind.HUMAN
    rules = CollectionRules(
        KEY,
        CollectionPolicy(**row.get("policy", {})),
        lambda _: written,
        {name: OperationPolicy(human, **options) for name, options in row.get("operations", {}).items()},
    )
    decision = compare(
        rules,
        DesiredFile(
            "a.jpg",
            "a.jpg",
            fingerprint(10, 2 if desired.get("touched") else 1),
            metadata_set(desired.get("metadata", {})),
            "A",
            {name: DesiredSet(name, human, digest(x), 1) for name, x in desired.get("sets", {}).items()},
        ),
        RecordedFile(
            "a.jpg",
            "a.jpg",
            fingerprint(10),
            "A",
            metadata_set(written).digest,
            "1",
            "birds_a.jpg",
            Origin(recorded.get("origin", "uploaded")),
            {
                name: RecordedSet(
                    name, human, digest(x), 1, recorded.get("seen", {}).get(name), recorded.get("kept", {}).get(name)
                )
                for name, x in recorded.get("sets", {}).items()
            },
        ),
        seen_in_lake(row.get("lake", {})),
    )
    assert shown(decision) == expected(row)
    assert any(action.needs_approval for action in decision.actions) is row.get("needs_approval", False)


def test_a_new_file_is_uploaded_with_its_annotation_sets_but_no_empty_one() -> None:
    human = AnnotationKind.HUMAN
    sets = {"op": DesiredSet("op", human, "X", 3), "none": DesiredSet("none", human, EMPTY_SET_DIGEST, 0)}
    desired = DesiredFile("a.jpg", "a.jpg", fingerprint(10), metadata_set({"a": 1}), None, sets)
    rules = CollectionRules(KEY, CollectionPolicy(), lambda _: None)
    assert shown(compare(rules, desired, None, None))["then"] == ["upload new", "annotate new"]


def test_metadata_without_known_previous_values_is_written_as_a_whole() -> None:
    desired = DesiredFile("a.jpg", "a.jpg", fingerprint(10), metadata_set({"a": 1}), "A")
    recorded = RecordedFile("a.jpg", "a.jpg", fingerprint(10), "A", "lost", "1", "birds_a.jpg", Origin.UPLOADED)
    rules = CollectionRules(KEY, CollectionPolicy(), lambda _: None)
    decision = compare(rules, desired, recorded, RemoteFile("a.jpg", "1", "birds_a.jpg"))
    assert shown(decision)["then"] == ["update_metadata metadata_changed"]


def test_a_plan_counts_unchanged_and_unmanaged_files() -> None:
    plan = CollectionPlan(KEY, CollectionPolicy())
    for row in yaml.safe_load((CASES / "files.yaml").read_text()):
        plan.take(compare(rules_of(row), *file_row(row)), wanted="desired" in row)
    assert plan.unchanged == 5, "the one that is as recorded, and the four whose change is kept away"
    assert plan.unmanaged == 6, "the six that are in the lake and were not adopted"


@pytest.mark.parametrize(
    ("head", "exists", "before", "then"),
    [
        ({"a": 1}, False, None, "create_collection new"),
        ({}, False, None, "create_collection new"),
        ({"a": 1}, True, None, "update_metadata metadata_changed"),
        ({}, True, None, None),
        ({"a": 1}, True, {"a": 1}, None),
        ({"a": 2}, True, {"a": 1}, "update_metadata metadata_changed"),
        ({}, True, {"a": 1}, "rerecord"),
    ],
)
def test_collection_heads(head: dict[str, Any], exists: bool, before: dict[str, Any] | None, then: str | None) -> None:
    rules = CollectionRules(KEY, CollectionPolicy(), lambda _: before)
    digest_before = None if before is None else metadata_set(before).digest
    decision = compare_head(rules, metadata_set(head), exists=exists, written_digest=digest_before)
    seen = shown(decision)
    assert seen["then"] + seen["bookkeeping"] == ([then] if then else [])
