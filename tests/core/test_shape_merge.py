"""Merges of annotation sets: the cases of `cases/shape_merges.yaml`, and what holds for any three sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from metalake_sync.core.shape_merge import Conflict, Merge, merge
from metalake_sync.core.shape_values import UnknownImageSize, same_shapes
from metalake_sync.core.shapes import Shape, ShapeType
from tests.core.shape_text import edited, random_edits, random_sets, record, shape, text_of

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "shape_merges.yaml").read_text())
Shapes = tuple[Shape, ...]
SETTINGS = settings(deadline=None, max_examples=80)
"""A busy machine may take any time for one example."""

two_sides = random_sets.flatmap(lambda base: st.tuples(st.just(base), edited(base), edited(base)))


def text_or_none(one: Shape | None) -> str:
    return "none" if one is None else text_of(one)


def conflicts_of(merged: Merge) -> list[dict[str, str]]:
    return [
        {"base": text_or_none(one.base), "ours": text_or_none(one.ours), "theirs": text_or_none(one.theirs)}
        for one in merged.conflicts
    ]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["says"]) for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    merged = merge(record(case["base"]), record(case["ours"]), record(case["theirs"]))
    assert sorted(map(text_of, merged.agreed.shapes)) == sorted(case["merged"])
    assert conflicts_of(merged) == case.get("conflicts", [])


@SETTINGS
@given(random_edits)
def test_where_one_side_changes_nothing_the_other_side_is_the_result(sets: tuple[Shapes, Shapes]) -> None:
    base, changed = map(record, sets)
    for merged in (merge(base, changed, base), merge(base, base, changed)):
        assert not merged.conflicts
        assert same_shapes(merged.agreed.shapes, changed.shapes)


@SETTINGS
@given(random_edits)
def test_where_both_sides_made_the_same_changes_they_are_the_result(sets: tuple[Shapes, Shapes]) -> None:
    base, changed = map(record, sets)
    merged = merge(base, changed, changed)
    assert not merged.conflicts
    assert same_shapes(merged.agreed.shapes, changed.shapes)


@SETTINGS
@given(two_sides)
def test_it_does_not_matter_which_side_is_ours(sets: tuple[Shapes, Shapes, Shapes]) -> None:
    base, ours, theirs = map(record, sets)
    merged, mirrored = merge(base, ours, theirs), merge(base, theirs, ours)
    assert same_shapes(merged.agreed.shapes, mirrored.agreed.shapes)
    swapped = [Conflict(one.base, one.theirs, one.ours) for one in mirrored.conflicts]
    assert sorted(map(str, merged.conflicts)) == sorted(map(str, swapped))
    for side, other in (("ours", "theirs"), ("theirs", "ours"), ("base", "base")):
        assert same_shapes(merged.resolved(side).shapes, mirrored.resolved(other).shapes)  # type: ignore[arg-type]


EDITS = ["keep", "delete", "move", "relabel"]


@SETTINGS
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(EDITS)), max_size=8), *[st.integers(0, 2)] * 2)
def test_changes_of_different_shapes_are_all_in_the_result(
    edits: list[tuple[bool, str]], added_by_ours: int, added_by_theirs: int
) -> None:
    def box(x: float, y: float = 0, label: str = "RBC") -> Shape:
        return Shape(ShapeType.RECTANGLE, ((x, y), (30.0, 30.0)), label)

    base = [box(100 * number) for number in range(len(edits))]
    ours, theirs, both = [], [], []
    for one, (is_ours, edit) in zip(base, edits, strict=True):
        (x, y), corner = one.points
        kept = {
            "keep": [one],
            "delete": [],
            "move": [replace(one, points=((x + 4, y), corner))],
            "relabel": [replace(one, label="WBC")],
        }[edit]
        ours += kept if is_ours else [one]
        theirs += [one] if is_ours else kept
        both += kept
    new_in_ours = [box(100 * number, 500) for number in range(added_by_ours)]
    new_in_theirs = [box(100 * number, 900) for number in range(added_by_theirs)]
    merged = merge(record(base), record(ours + new_in_ours), record(theirs + new_in_theirs))
    assert not merged.conflicts
    assert same_shapes(merged.agreed.shapes, both + new_in_ours + new_in_theirs)


def test_a_conflict_can_be_resolved_for_each_side() -> None:
    kept = "RBC box 100,10 30×30"
    merged = merge(record(["RBC box 10,10 30×30", kept]), record([kept, "WBC box 10,10 30×30"]), record([kept]))
    assert [*map(text_of, merged.resolved("ours").shapes)] == [kept, "WBC box 10,10 30×30"]
    assert [*map(text_of, merged.resolved("theirs").shapes)] == [kept]
    assert [*map(text_of, merged.resolved("base").shapes)] == [kept, "RBC box 10,10 30×30"]


def test_without_a_base_what_both_sides_drew_differently_is_a_conflict() -> None:
    same, ours, theirs = "RBC box 100,10 30×30", "RBC box 10,10 30×30", "WBC box 10,10 30×30"
    merged = merge(record([]), record([same, ours, "RBC box 300,10 30×30"]), record([theirs, same]))
    assert sorted(map(text_of, merged.agreed.shapes)) == [same, "RBC box 300,10 30×30"]
    assert conflicts_of(merged) == [{"base": "none", "ours": ours, "theirs": theirs}]


def test_sides_in_fractions_and_in_pixels_are_merged_in_pixels() -> None:
    base = record(["RBC box 0.25,0.5 0.125×0.25"], normalized=True)
    ours = record(["RBC box 160,240 80×120", "WBC box 0,0 30×30"])
    merged = merge(base, ours, base, (640, 480))
    assert not merged.conflicts
    assert not merged.agreed.normalized
    assert same_shapes(merged.agreed.shapes, ours.shapes)
    with pytest.raises(UnknownImageSize):
        merge(base, ours, base)


def test_both_sides_of_a_conflict_are_in_one_unit() -> None:
    theirs = record(["RBC box 0.25,0.5 0.25×0.25"], normalized=True)
    merged = merge(record(["RBC box 160,240 80×120"]), record(["WBC box 160,240 80×120"]), theirs, (640, 480))
    assert merged.conflicts == (
        Conflict(shape("RBC box 160,240 80×120"), shape("WBC box 160,240 80×120"), shape("RBC box 160,240 160×120")),
    )
