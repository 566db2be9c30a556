"""Diffs of annotation sets: the cases of `cases/shape_diffs.yaml`, and what holds for any two sets."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metalake_sync.core import shape_geometry, shape_matching
from metalake_sync.core.shape_diff import Aspect, Diff, apply, diff, inverse
from metalake_sync.core.shape_geometry import Outline, neighbors, similarity
from metalake_sync.core.shape_values import Frame, UnknownImageSize, UnknownShape, same_shapes
from metalake_sync.core.shapes import Shape, ShapeType
from tests.core.shape_text import random_edits, random_sets, record, shape, texts_of

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "shape_diffs.yaml").read_text())
Shapes = tuple[Shape, ...]
SETTINGS = settings(deadline=None, max_examples=80)
"""A busy machine may take any time for one example."""


def diff_of_case(case: dict[str, Any]) -> Diff:
    size = None
    if "image" in case:
        width, height = case["image"].split("×")
        size = int(width), int(height)
    fractions = case.get("fractions")
    before = record(case["before"], normalized=fractions in ("before", "both"))
    after = record(case["after"], normalized=fractions in ("after", "both"))
    return diff(before, after, size)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["says"]) for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    assert texts_of(diff_of_case(case)) == case["then"]


@SETTINGS
@given(random_edits)
def test_applying_a_diff_gives_exactly_the_other_set(sets: tuple[Shapes, Shapes]) -> None:
    before, after = map(record, sets)
    assert same_shapes(apply(diff(before, after), before).shapes, after.shapes)


@SETTINGS
@given(random_sets)
def test_a_set_does_not_differ_from_itself(shapes: Shapes) -> None:
    found = diff(record(shapes), record(shapes))
    assert not found
    assert not found.equivalent
    assert found.unchanged == len(shapes)


@SETTINGS
@given(random_edits, st.randoms(use_true_random=False))
def test_the_order_of_shapes_does_not_matter(sets: tuple[Shapes, Shapes], shuffling: random.Random) -> None:
    before, after = sets
    shuffled, shuffled_after = list(before), list(after)
    shuffling.shuffle(shuffled)
    shuffling.shuffle(shuffled_after)
    assert diff(record(before), record(after)) == diff(record(shuffled), record(shuffled_after))


@SETTINGS
@given(random_edits)
def test_every_shape_is_counted_once(sets: tuple[Shapes, Shapes]) -> None:
    before, after = sets
    found = diff(record(before), record(after))
    assert len(found.removed) + len(found.changed) + found.unchanged == len(before)
    assert len(found.added) + len(found.changed) + found.unchanged == len(after)
    assert all(change.aspects for change in found.changed)


@SETTINGS
@given(random_edits)
def test_the_inverse_of_a_diff_is_the_diff_the_other_way(sets: tuple[Shapes, Shapes]) -> None:
    before, after = map(record, sets)
    back = diff(after, before)
    undone = inverse(diff(before, after))
    assert (back.added, back.removed, back.changed) == (undone.added, undone.removed, undone.changed)
    assert same_shapes(apply(undone, after).shapes, before.shapes)


@SETTINGS
@given(random_edits)
def test_fractions_give_the_diff_of_pixels(sets: tuple[Shapes, Shapes]) -> None:
    size = 128, 256
    before, after = map(record, sets)
    assume(before.shapes)
    fractions = record(Frame(True, size).converted(after), normalized=True)
    assert diff(before, fractions, size) == diff(before, after, size)


def test_a_change_is_listed_under_each_of_its_aspects() -> None:
    found = diff(record(["RBC box 40,10 60×60 confidence=0.5"]), record(["WBC box 41,10 60×60 confidence=0.75"]))
    assert found.moved == found.relabeled == found.confidence_changed == found.changed
    assert found.attributes_changed == ()
    assert found.changed[0].aspects == (Aspect.MOVED, Aspect.RELABELED, Aspect.CONFIDENCE)


def test_fractions_and_pixels_need_the_size_of_the_image() -> None:
    with pytest.raises(UnknownImageSize, match=r"a\.jpg"):
        diff(record(["RBC box 0,0 0.5×0.5"], normalized=True), record(["RBC box 0,0 30×30"]))


def test_a_diff_does_not_apply_to_a_set_without_its_shapes() -> None:
    found = diff(record(["RBC box 0,0 30×30"]), record([]))
    with pytest.raises(UnknownShape, match="1 of the shapes"):
        apply(found, record(["RBC box 5,5 30×30"]))


@SETTINGS
@given(st.lists(st.tuples(*[st.integers(0, 20)] * 4), max_size=9), st.lists(st.tuples(*[st.integers(0, 20)] * 4)))
@pytest.mark.parametrize("few", [0, shape_geometry.FEW_PAIRS])
def test_neighbors_are_all_pairs_that_touch(few: int, ours: list[Any], theirs: list[Any]) -> None:
    mine, others = ([(x, y, x + width, y + height) for x, y, width, height in boxes] for boxes in (ours, theirs))
    touching = [
        (number, other)
        for number, (left, top, right, bottom) in enumerate(mine)
        for other, box in enumerate(others)
        if left - 3 <= box[2] and box[0] <= right + 3 and top - 3 <= box[3] and box[1] <= bottom + 3
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shape_geometry, "FEW_PAIRS", few)
        assert list(neighbors(mine, others, 3)) == touching


def star(corners: int, x: float, radii: tuple[float, ...]) -> Shape:
    """A polygon around (x, 50) whose corners lie at these distances, in turn."""
    turn = 2 * math.pi / corners
    points = tuple(
        (
            x + radii[number % len(radii)] * math.cos(number * turn),
            50 + radii[number % len(radii)] * math.sin(number * turn),
        )
        for number in range(corners)
    )
    return Shape(ShapeType.POLYGON, points, "cell")


def overlap(one: Shape, other: Shape) -> float:
    """The similarity of two boxes or polygons in pixels."""
    frame = Frame(False, None)
    return similarity(Outline(one, frame), Outline(other, frame), diagonal=100, threshold=0)


STARS = [(3, (40.0,)), (12, (40.0, 20.0)), (30, (40.0,)), (7, (40.0, 38.0, 22.0))]


@pytest.mark.parametrize(("corners", "radii"), STARS)
@pytest.mark.parametrize("shift", [1.0, 7.0, 15.0])
def test_overlap_of_polygons_is_within_the_stated_error(
    corners: int, radii: tuple[float, ...], shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    star_here, star_there = star(corners, 50.0, radii), star(corners, 50.0 + shift, radii)
    measured = overlap(star_here, star_there)
    monkeypatch.setattr(shape_geometry, "SCAN_LINES", 20_000)
    assert measured == pytest.approx(overlap(star_here, star_there), abs=0.02)


def test_overlap_of_boxes_drawn_as_polygons_is_exact() -> None:
    boxes = overlap(shape("a box 0,0 31×17"), shape("a box 5,3 40×19"))
    polygons = overlap(shape("a polygon 0,0 31,0 31,17 0,17"), shape("a polygon 5,3 45,3 45,22 5,22"))
    assert boxes == pytest.approx(26 * 14 / (31 * 17 + 40 * 19 - 26 * 14))
    assert polygons == pytest.approx(boxes)


@pytest.mark.parametrize("shape_type", ShapeType)
def test_of_shapes_without_an_extent_only_lines_and_points_can_move(shape_type: ShapeType) -> None:
    here, there, far = ((x, 7.0) for x in (10.0, 12.0, 300.0))
    flat = {ShapeType.RECTANGLE: lambda at: (at, (0.0, 0.0))}.get(shape_type, lambda at: (at, at, at))
    before, after, other = (Shape(shape_type, flat(at), "a") for at in (here, there, far))
    empty = () if shape_type is ShapeType.RECTANGLE else (Shape(shape_type, (), "a"),)
    found = diff(record([before, *empty]), record([other, *empty]), (640, 480))
    assert (found.removed, found.added, found.unchanged) == ((before,), (other,), len(empty))
    near = diff(record([before, *empty]), record([after, *empty]), (640, 480))
    is_moved = shape_type in (ShapeType.LINE, ShapeType.POINTS)
    assert (len(near.moved), len(near.removed), len(near.added)) == ((1, 0, 0) if is_moved else (0, 1, 1))


def box_at(number: int, shift: float = 0.0) -> Shape:
    """One of many boxes that are scattered over 4000×3000 pixels without any pattern."""
    x, y = number * 1237.0 % 3900, number * 2741.0 % 2900
    return Shape(ShapeType.RECTANGLE, ((x + shift, y), (30.0 + number % 40, 40.0)), f"label{number % 3}")


@pytest.mark.parametrize(("moved", "most"), [(20, 60), (2000, 20_000)])
def test_few_pairs_of_2000_boxes_are_measured(moved: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = 0

    def counting(*outlines: Any) -> float:
        nonlocal measured
        measured += 1
        return similarity(*outlines)

    monkeypatch.setattr(shape_matching, "similarity", counting)
    before = record([box_at(number) for number in range(2000)])
    after = record([box_at(number, 2.0 if number < moved else 0.0) for number in range(2000)])
    found = diff(before, after, (4000, 3000))
    assert (len(found.moved), found.unchanged) == (moved, 2000 - moved)
    assert moved <= measured <= most
