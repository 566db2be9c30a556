"""Changed annotation sets in a plan: what a terminal, Markdown and JSON say, from values made here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import click
import pytest

from metalake_sync.cli.markdown_plan import markdown_plan
from metalake_sync.cli.plan_lines import plan_lines
from metalake_sync.cli.render_plan import footer, render_plan
from metalake_sync.core import set_changes
from metalake_sync.core.actions import Action, Annotate, Reason, RemoveAnnotations, UpdateFileMetadata, UploadFile
from metalake_sync.core.addresses import FileAt
from metalake_sync.core.base_action import ActionDocument
from metalake_sync.core.changes import Change
from metalake_sync.core.metadata import NO_METADATA
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.core.set_changes import RenamedFile, SetComparison
from metalake_sync.core.shape_diff import diff
from metalake_sync.core.snapshots import (
    AnnotationKind,
    CollectionKey,
    CollectionPolicy,
    DesiredFile,
    DesiredSet,
    Fingerprint,
    MediaType,
    RecordedSet,
)
from metalake_sync.documents.base import to_json
from metalake_sync.documents.plan import PlanDocument, plan_document
from metalake_sync.documents.saved_plan import SavedPlan
from tests.core.shape_text import record

KEY = CollectionKey(MediaType.IMAGE, "cells")
FILE = DesiredFile("a.jpg", "images/a.jpg", Fingerprint(10, 2, 3, 4), NO_METADATA)

BEFORE = ["RBC box 10,10 20×20", "RBC box 50,10 20×20", "WBC box 90,50 40×40"]
RENAMED = [one.replace("RBC", "Erythrocyte") for one in BEFORE]
MOVED = ["RBC box 13,10 17×20", *BEFORE[1:]]


class GivenSets:
    """Compares sets that a test names, by file."""

    def __init__(self, sets: dict[str, SetComparison], renamed: RenamedFile | None = None) -> None:
        self._sets = sets
        self._renamed = renamed
        self.compared = 0

    def path(self, action: Action) -> str | None:
        return None

    def is_comparable(self, action: Action) -> bool:
        return action.file_name in self._sets

    def compare(self, action: Action) -> SetComparison:
        self.compared += 1
        return self._sets[action.file_name or ""]

    def renamed(self, action: UploadFile) -> RenamedFile | None:
        return self._renamed


def known(before: Sequence[str], after: Sequence[str]) -> SetComparison:
    return SetComparison("known", diff(record(before), record(after)))


def annotate(name: str, shapes: int = 3, reason: Reason = Reason.ANNOTATIONS_CHANGED) -> Annotate:
    wanted = DesiredSet("human", AnnotationKind.HUMAN, "D", shapes)
    changes = (Change("shapes of human", 3, shapes),)
    return Annotate(FileAt(KEY, name, f"cells_{name}"), wanted, reason, changes)


def plan_of(*actions: Action, sets: dict[str, SetComparison], renamed: RenamedFile | None = None) -> Plan:
    collection = CollectionPlan(KEY, CollectionPolicy(), unchanged=5)
    for action in actions:
        collection.take_action(action)
    return Plan("m.yaml", 1, (collection,), shown_sets=GivenSets(sets, renamed))


def told(plan: PlanDocument, *, all_lines: bool = False) -> list[str]:
    return [click.unstyle(line) for line in "\n".join(render_plan(plan, all_lines=all_lines)).splitlines()]


@pytest.fixture
def odd_and_equal() -> PlanDocument:
    """One image with a moved box, twelve whose label is renamed, and twelve with equal metadata."""
    names = [f"{number:02}.jpg" for number in range(13)]
    sets = {name: known(BEFORE, RENAMED) for name in names}
    sets["07.jpg"] = known(BEFORE, MOVED)
    metadata = [
        UpdateFileMetadata(FileAt(KEY, name, f"cells_{name}"), NO_METADATA, None, changes=(Change("Source", "A", "B"),))
        for name in names[:12]
    ]
    return plan_document(plan_of(*map(annotate, names), *metadata, sets=sets))


def test_the_odd_file_comes_first_and_equal_changes_are_one_line(odd_and_equal: PlanDocument) -> None:
    assert told(odd_and_equal) == [
        "cells (image)",
        "    ~ 07.jpg    human: 1 box moved, 2 unchanged",
        "          RBC  (10,10 20×20) → (13,10 17×20)",
        "    ~ 12 files  metadata changed, Source: A → B",
        "    ~ 12 files  human: RBC relabeled to Erythrocyte, 24 boxes",
        "",
        "Plan: 0 to add, 13 to update, 0 to replace, 0 to trash, 5 unchanged (0 B to send)",
        "      13 annotation sets to send",
        "      labels: RBC −24, Erythrocyte +24",
    ]


def test_all_lines_have_one_line_for_each_file(odd_and_equal: PlanDocument) -> None:
    lines = told(odd_and_equal, all_lines=True)
    assert sum(line.startswith("    ~ ") for line in lines) == 25
    assert not any("files" in line for line in lines)
    assert "          RBC  (10,10 20×20) → (13,10 17×20)" in lines


def test_markdown_groups_too_and_counts_every_file(odd_and_equal: PlanDocument) -> None:
    text = "\n".join(markdown_plan(odd_and_equal))
    assert "<code>cells</code> (image): 25 changes<" in text
    assert r"| `~` | `07.jpg` | human: 1 box moved, 2 unchanged<br>RBC  \(10,10 20×20\) → \(13,10 17×20\) |" in text
    assert r"5 unchanged \(0 B to send\); 13 annotation sets to send; labels: RBC −24, Erythrocyte \+24" in text
    assert "| `~` | `12 files` | human: RBC relabeled to Erythrocyte, 24 boxes |" in text
    assert text.count("| `~` |") == 3


def test_json_holds_each_shape_before_and_after(odd_and_equal: PlanDocument) -> None:
    actions = json.loads(to_json(odd_and_equal))["actions"]
    (moved,) = [one for one in actions if one["file"] == "07.jpg" and one["action"] == "annotate"]
    assert moved["changes"] == [{"what": "shapes of human", "before": 3, "after": 3}]
    changes = moved["shape_changes"]
    assert (changes["base"], changes["unit"], changes["labels"], changes["left_out"]) == ("known", "pixels", {}, 0)
    assert changes["counts"]["moved"] == 1
    assert changes["counts"]["unchanged"] == 2
    assert changes["changes"] == [
        {
            "what": ["moved"],
            "before": {"type": "rectangle", "label": "RBC", "bbox": [10, 10, 20, 20]},
            "after": {"type": "rectangle", "label": "RBC", "bbox": [13, 10, 17, 20]},
        }
    ]


def test_a_saved_plan_is_shown_like_the_plan(odd_and_equal: PlanDocument) -> None:
    saved = SavedPlan(
        manifest="m.yaml",
        manifest_from_plan=None,
        manifest_digest="M",
        state_lineage=None,
        state_serial=1,
        refresh="list",
        checksum=False,
        targets=[],
        destructive=False,
        plan=odd_and_equal,
        basis=[],
    )
    loaded = SavedPlan.model_validate_json(to_json(saved, exclude_none=False)).plan
    assert told(loaded) == told(odd_and_equal)
    assert loaded == odd_and_equal


def test_added_removed_and_changed_shapes_have_their_lines() -> None:
    after = [
        "RBC box 10,10 20×20 stage=old",
        "WBC box 90,50 40×40",
        "Platelet polygon 1,1 4,1 4,4",
    ]
    before = ["RBC box 10,10 20×20 stage=young", BEFORE[1], "WBC box 90,50 40×40 confidence=0.5"]
    document = plan_document(plan_of(annotate("a.jpg"), sets={"a.jpg": known(before, after)}))
    assert told(document)[1:6] == [
        "    ~ a.jpg  human: 1 polygon added, 1 box removed, 1 box attributes changed, 1 box confidence changed",
        "          RBC  (10,10 20×20)  stage 'young' → 'old'",
        "          WBC  (90,50 40×40)  confidence 0.5 → none",
        "          RBC  (50,10 20×20) removed",
        "          Platelet  3 points in (1,1 3×3) added",
    ]
    assert footer(document).endswith("labels: RBC −1, Platelet +1")
    changes = json.loads(to_json(document))["actions"][0]["shape_changes"]["changes"]
    assert [one["what"] for one in changes] == [["attributes"], ["confidence"], ["removed"], ["added"]]
    assert changes[3] == {
        "what": ["added"],
        "after": {"type": "polygon", "label": "Platelet", "points": [[1, 1], [4, 1], [4, 4]]},
    }


@pytest.mark.parametrize("base", ["unknown", "none"])
def test_a_set_without_a_base_says_what_is_known_of_it(base: set_changes.Known) -> None:
    names = ["a.jpg", "b.jpg"]
    sets = {name: SetComparison(base) for name in names}
    document = plan_document(plan_of(*(annotate(name) for name in names), sets=sets))
    assert told(document)[1:3] == [f"    ~ {name}  human: {base} → 3 shapes" for name in names]
    assert "labels" not in footer(document)
    many = [f"{number}.jpg" for number in range(9)]
    sets = {name: SetComparison(base) for name in many}
    document = plan_document(plan_of(*(annotate(name, reason=Reason.NEW) for name in many), sets=sets))
    assert told(document)[1] == f"    ~ 9 files  new, human: {base} → 27 shapes"
    before = "unknown" if base == "unknown" else 3
    assert all(one.changes == (Change("shapes of human", before, 3),) for one in document.actions)


def test_label_sums_say_what_they_leave_out() -> None:
    upload = UploadFile(KEY, FILE, Reason.NEW)
    of_upload = replace(annotate("a.jpg", reason=Reason.NEW), changes=())
    sets = {"b.jpg": known(BEFORE, MOVED[1:]), "c.jpg": SetComparison("unknown")}
    plan = plan_of(upload, of_upload, annotate("b.jpg"), annotate("c.jpg"), sets=sets)
    lines = told(plan_document(plan))
    assert lines[-1] == "      labels: RBC −1 (without new files and 1 set whose shapes before are unknown)"
    assert "    + a.jpg  new, 10 B, 3 shapes in human" in lines


def test_equal_notation_is_no_change_of_shapes() -> None:
    after = ["RBC box 10.0001,10 20×20", *BEFORE[1:]]
    document = plan_document(plan_of(annotate("a.jpg"), sets={"a.jpg": known(BEFORE, after)}))
    assert told(document)[1] == "    ~ a.jpg  human: the same shapes in another order or notation"


def test_a_cleared_set_counts_in_the_label_sums() -> None:
    gone = RecordedSet("human", AnnotationKind.HUMAN, "D", 3)
    action = RemoveAnnotations(FileAt(KEY, "a.jpg", "cells_a.jpg"), gone)
    document = plan_document(plan_of(action, sets={"a.jpg": known(BEFORE, [])}))
    assert told(document)[1:5] == [
        "    - a.jpg  removed from manifest, 3 shapes in human",
        "          RBC  (10,10 20×20) removed",
        "          RBC  (50,10 20×20) removed",
        "          WBC  (90,50 40×40) removed",
    ]
    assert footer(document).endswith("labels: RBC −2, WBC −1")


def with_theirs(mine: Sequence[str], theirs: Sequence[str]) -> SetComparison:
    """The sets of a conflict: another client made `theirs` of BEFORE, and the source has `mine`."""
    return SetComparison("lake", diff(record(theirs), record(mine)), diff(record(BEFORE), record(theirs)))


def test_equal_overwriting_updates_are_one_line() -> None:
    names = [f"{number}.jpg" for number in range(6)]
    theirs = [f"{one} confidence=0.5" for one in BEFORE]
    sets = {name: with_theirs(RENAMED, theirs) for name in names}
    sets["3.jpg"] = with_theirs(RENAMED, MOVED)
    document = plan_document(plan_of(*(replace(annotate(name), overwrites=True) for name in names), sets=sets))
    assert told(document)[1:8] == [
        "    ~ 3.jpg    overwrites what another client wrote, human: 1 box moved and relabeled, 1 box relabeled, 1"
        " unchanged",
        "          RBC → Erythrocyte  (13,10 17×20) → (10,10 20×20)",
        "          RBC → Erythrocyte  (50,10 20×20)",
        "          the other client: 1 box moved, 2 unchanged",
        "            RBC  (10,10 20×20) → (13,10 17×20)",
        "    ~ 5 files  overwrites what another client wrote, human: RBC relabeled to Erythrocyte and confidence"
        " removed, 10 boxes; WBC confidence removed, 5 boxes; the other client: RBC confidence added, 10 boxes; WBC"
        " confidence added, 5 boxes",
        "",
    ]


def test_sets_that_are_cleared_for_one_reason_are_one_line() -> None:
    names = [f"{number}.jpg" for number in range(6)]
    gone = RecordedSet("human", AnnotationKind.HUMAN, "D", 3)
    actions = [RemoveAnnotations(FileAt(KEY, name, f"cells_{name}"), gone) for name in names]
    actions[2] = replace(actions[2], overwrites=True)
    sets = {name: known(BEFORE[number % 2 :], []) for number, name in enumerate(names)}
    sets["2.jpg"] = with_theirs([], MOVED)
    document = plan_document(plan_of(*actions, sets=sets))
    lines = told(document)
    assert lines[1] == ("    - 2.jpg    removed from manifest, overwrites what another client wrote, 3 shapes in human")
    assert "    - 5 files  removed from manifest, 15 shapes in human" in lines
    assert told(document, all_lines=True)[1] == "    - 0.jpg  removed from manifest, 3 shapes in human"


def test_one_line_says_what_a_renamed_file_keeps() -> None:
    upload = UploadFile(KEY, FILE, Reason.RENAMED, renamed_from="old.jpg")
    moves = RenamedFile(metadata=True, annotations=("human",), left_behind={"yolo": 2})
    document = plan_document(plan_of(upload, sets={}, renamed=moves))
    assert told(document)[1] == (
        "    + a.jpg  renamed, from old.jpg: the lake cannot rename, so the file is sent again,"
        " keeps its metadata and annotations of human,"
        " loses 2 shapes of yolo, because the source has none for the new name, 10 B"
    )
    moves = RenamedFile(metadata=False)
    document = plan_document(plan_of(upload, sets={}, renamed=moves))
    assert "its metadata changes" in told(document)[1]


def many_odd(number: int) -> dict[str, SetComparison]:
    return {
        f"{at:02}.jpg": known(BEFORE, [f"RBC box {10 + at % 9 + 1},10 {17 - at % 5}×20", *BEFORE[1:]])
        for at in range(number)
    }


def test_odd_files_are_cut_before_the_groups_and_what_is_cut_is_counted() -> None:
    sets = {**many_odd(30), **{f"same{at}.jpg": known(BEFORE, RENAMED) for at in range(4)}}
    document = plan_document(plan_of(*map(annotate, sets), sets=sets))
    lines = told(document)
    assert lines[-6] == "    ~ … and 20 more"
    assert lines[-5] == "    ~ 4 files  human: RBC relabeled to Erythrocyte, 8 boxes"
    assert len(lines) < 40
    assert sum(line.startswith("    ~ ") and ".jpg" in line for line in lines) == 10


def test_details_of_one_set_are_limited_and_what_is_cut_is_counted() -> None:
    before = [f"RBC box {at * 30},10 20×20" for at in range(30)]
    after = [f"RBC box {at * 30 + at % 7 + 1},10 {19 - at % 3}×20" for at in range(30)]
    (line,) = plan_lines(plan_document(plan_of(annotate("a.jpg"), sets={"a.jpg": known(before, after)})).actions)
    assert len(line.details) == set_changes.DETAILS_PER_SET + 1
    assert line.details[-1] == f"… and {30 - set_changes.DETAILS_PER_SET} more shapes"


def test_the_shapes_in_json_are_limited_for_a_set_and_for_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_changes, "CHANGES_PER_SET", 2)
    monkeypatch.setattr(set_changes, "CHANGES_PER_PLAN", 5)
    before = [f"RBC box {at * 30},10 20×20" for at in range(4)]
    sets = {f"{at}.jpg": known(before, [one.replace("RBC", "WBC") for one in before]) for at in range(4)}
    actions = plan_document(plan_of(*map(annotate, sets), sets=sets)).actions
    shapes = [one.shape_changes for one in actions]
    assert [one and (len(one.changes), one.left_out) for one in shapes] == [(2, 2), (2, 2), (1, 3), (0, 4)]
    assert {one and one.counts and one.counts.relabeled for one in shapes} == {4}


def test_a_plan_of_too_many_sets_says_how_many_it_did_not_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_changes, "SETS_COMPARED", 3)
    sets = {f"{at}.jpg": known(BEFORE, RENAMED) for at in range(8)}
    plan = plan_of(*map(annotate, sets), sets=sets)
    document = plan_document(plan)
    assert document.sets_not_compared == 5
    assert footer(document).endswith("labels: RBC −6, Erythrocyte +6 (without 5 sets whose shapes before are unknown)")
    everything = plan_document(plan, full_names=True)
    assert everything.sets_not_compared is None
    assert footer(everything).endswith("labels: RBC −16, Erythrocyte +16")


def test_a_plan_without_shapes_compares_nothing() -> None:
    plan = plan_of(annotate("a.jpg"), sets={"a.jpg": known(BEFORE, MOVED)})
    (action,) = plan_document(plan, shapes=False).actions
    assert action.shape_changes is None
    assert isinstance(plan.shown_sets, GivenSets)
    assert plan.shown_sets.compared == 0


@pytest.mark.parametrize("escaped", ["\x1b[31mRBC", "::error::"])
def test_labels_cannot_write_to_the_terminal(escaped: str) -> None:
    change = set_changes.SetChanges(
        "known",
        f"{escaped} moved",
        counts=set_changes.ShapeCounts(moved=1),
        labels={escaped: 1},
        details=(f"{escaped}  (1,2 3×4)",),
    )
    action = ActionDocument(
        "annotate", "cells", "image", Reason.ANNOTATIONS_CHANGED, file="a.jpg", operation="human", shapes=1
    )
    plan = plan_document(plan_of(annotate("a.jpg"), sets={}))
    lines = told(replace(plan, actions=[replace(action, shape_changes=change)]))
    assert not any(line.strip().startswith(escaped) or "\x1b" in line for line in lines)


def test_a_long_plan_of_changed_sets_fits_into_a_comment() -> None:
    sets = many_odd(99) | {f"{'x' * 200}{at}.jpg": known(BEFORE, MOVED) for at in range(900)}
    text = "\n".join(markdown_plan(plan_document(plan_of(*map(annotate, sets), sets=sets))))
    assert len(text) < 65_000
    assert "… and " in text
