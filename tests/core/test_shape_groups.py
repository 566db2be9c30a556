"""Diffs as text and in groups: the cases of `cases/shape_groups.yaml`, lines about one file, and sums per label."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from metalake_sync.core.shape_diff import Diff, diff
from metalake_sync.core.shape_groups import group, group_key
from metalake_sync.core.shape_summary import change_text, label_sums, label_sums_text, place_text, summary
from metalake_sync.core.shape_values import Frame
from metalake_sync.core.shapes import AttributeValue, Shape
from tests.core.shape_text import random_edits, record, shape

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "shape_groups.yaml").read_text())
Shapes = tuple[Shape, ...]
SETTINGS = settings(deadline=None, max_examples=60)
"""A busy machine may take any time for one example."""


@pytest.mark.parametrize("case", [pytest.param(case, id=case["says"]) for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    diffs = {
        name: diff(record(sets["before"]), record(sets["after"]), (640, 480)) for name, sets in case["files"].items()
    }
    found = group(diffs)
    assert {name: summary(diffs[name]) for name in found.odd} == case.get("odd", {})
    assert [f"{' '.join(one.files)}: {one.text}" for one in found.groups] == case.get("groups", [])
    assert label_sums_text(label_sums(diffs.values())) == case.get("labels", "")
    files = [*found.odd, *found.unchanged, *(name for one in found.groups for name in one.files)]
    assert sorted(files) == sorted(diffs)


def test_a_rename_in_346_images_is_one_line_and_the_one_moved_box_comes_first() -> None:
    diffs: dict[str, Diff] = {}
    for number in range(346):
        boxes = [f"RBC box {40 * place},{number} 30×30" for place in range(12 if number < 345 else 13)]
        before = [*boxes, "WBC box 300,300 50×50"]
        after = [box.replace("RBC", "Erythrocyte") for box in before]
        diffs[f"BloodImage_{number:05}.jpg"] = diff(record(before), record(after), (640, 480))
    moved = diff(record(["RBC box 45,12 30×30"]), record(["RBC box 48,12 27×30"]), (640, 480))
    found = group({**diffs, "BloodImage_00400.jpg": moved})
    assert found.odd == ("BloodImage_00400.jpg",)
    assert [(len(one.files), one.text) for one in found.groups] == [(346, "RBC relabeled to Erythrocyte, 4,153 boxes")]
    assert label_sums_text(label_sums(diffs.values())) == "RBC −4,153, Erythrocyte +4,153"
    assert summary(diffs.values()) == "4,153 boxes relabeled, 346 unchanged"
    assert [*map(change_text, moved.changed)] == ["RBC  (45,12 30×30) → (48,12 27×30)"]


LINES = [
    ([], [], "no shapes"),
    (["a box 0,0 9×9"] * 22, ["a box 0,0 9×9"] * 22, "22 unchanged"),
    (["a box 0,0 9×9", "b box 50,0 9×9"], ["a box 1,0 9×9", "b box 50,0 9×9"], "1 box moved, 1 unchanged"),
    (["a box 0,0 9×9", "a box 50,0 9×9"], ["b box 0,0 9×9", "b box 50,0 9×9"], "2 boxes relabeled"),
    (["a box 0,0 90×90"], ["b box 1,0 90×90"], "1 box moved and relabeled"),
    (["a box 0,0 9×9 confidence=0.5"], ["a box 0,0 9×9"], "1 box confidence changed"),
    (
        ["a box 0,0 9×9", "a line 0,0 9,9", "a points 300,300"],
        ["a polygon 0,0 9,0 9,9", "a line 0,1 9,9", "a points 301,300"],
        "1 polygon added, 1 box removed, 1 line moved, 1 point set moved",
    ),
]


@pytest.mark.parametrize(("before", "after", "line"), LINES, ids=[line for *_, line in LINES])
def test_line_about_one_file(before: list[str], after: list[str], line: str) -> None:
    assert summary(diff(record(before), record(after), (640, 480))) == line


def test_lines_about_changed_shapes() -> None:
    found = diff(
        record(["a box 0,0 90×90 confidence=0.5 stage=young", "c polygon 300,0 340,0 340,40 metadata.seen=no"]),
        record(["b box 0,0 90×90", "c polygon 300,0 340,0 341.5,40 metadata.seen=no"]),
        (640, 480),
    )
    assert [*map(change_text, found.changed)] == [
        "c  3 points in (300,0 40×40) → 3 points in (300,0 41.5×40)",
        "a → b  (0,0 90×90)  stage 'young' → none  confidence 0.5 → none",
    ]


def test_changed_confidence_of_an_attribute_is_shown_with_its_value() -> None:
    before, after = (
        replace(shape("a box 0,0 9×9"), attributes={"stage": (AttributeValue("old", confidence),)})
        for confidence in (0.5, 1.0)
    )
    (change,) = diff(record([before]), record([after])).changed
    assert change_text(change) == 'a  (0,0 9×9)  stage [["old", 0.5, {}]] → [["old", 1.0, {}]]'


def test_places_of_fractions_are_shown_in_pixels_where_the_size_is_known() -> None:
    one = shape("a box 0.25,0.5 0.125×0.25")
    assert place_text(one) == "(0.25,0.5 0.125×0.25)"
    assert place_text(one, Frame(True, (640, 480)).scale) == "(160,240 80×120)"
    assert place_text(shape("a points 5,6.004")) == "(5,6)"


@SETTINGS
@given(st.lists(random_edits, max_size=4), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order_of_files(
    sets: list[tuple[Shapes, Shapes]], shuffling: random.Random
) -> None:
    diffs = {f"{number}.jpg": diff(record(before), record(after)) for number, (before, after) in enumerate(sets)}
    names = list(diffs)
    shuffling.shuffle(names)
    assert group(diffs) == group({name: diffs[name] for name in names})


@SETTINGS
@given(random_edits)
def test_sums_per_label_are_what_the_sets_differ_by(sets: tuple[Shapes, Shapes]) -> None:
    before, after = sets
    found = diff(record(before), record(after))
    labels = {one.label for one in (*before, *after)}
    counted = {
        label: sum(one.label == label for one in after) - sum(one.label == label for one in before) for label in labels
    }
    assert label_sums([found]) == {label: number for label, number in counted.items() if number}
    assert (group_key(found) == ()) == (not found)
