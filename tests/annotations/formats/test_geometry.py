"""Outlines of rotated boxes, ellipses and circles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from metalake_sync.annotations.formats.geometry import circle_outline, ellipse_outline, rotated_box
from metalake_sync.annotations.formats.values import box_around
from metalake_sync.core.shapes import Point


def area(points: Sequence[Point]) -> float:
    following = (*points[1:], points[0])
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(points, following, strict=True)) / 2


def test_a_box_turns_clockwise_about_its_center() -> None:
    corners = rotated_box(0, 0, 4, 2, 90)
    assert corners == tuple(pytest.approx(point) for point in ((3, -1), (3, 3), (1, 3), (1, -1)))


def test_a_box_turns_about_its_top_left_corner() -> None:
    corners = rotated_box(10, 10, 4, 2, 90, (10, 10))
    assert corners == tuple(pytest.approx(point) for point in ((10, 10), (10, 14), (8, 14), (8, 10)))


def test_the_outline_of_an_ellipse_has_its_area_and_its_box() -> None:
    outline = ellipse_outline(50, 40, 30, 10)
    assert area(outline) == pytest.approx(math.pi * 30 * 10, rel=0.002)
    assert box_around(outline) == pytest.approx([20, 30, 60, 20])


def test_an_ellipse_turns_clockwise() -> None:
    assert box_around(ellipse_outline(50, 40, 30, 10, 90)) == pytest.approx([40, 10, 20, 60])
    below_right = max(ellipse_outline(0, 0, 30, 1, 45))
    assert below_right == pytest.approx((21.2, 21.2), abs=0.1)


def test_a_circle_goes_through_the_point_on_its_rim() -> None:
    assert box_around(circle_outline((10, 10), (13, 14))) == pytest.approx([5, 5, 10, 10])


def test_an_angle_that_is_not_finite_gives_points_that_are_not_finite() -> None:
    assert all(math.isnan(x) and math.isnan(y) for x, y in rotated_box(0, 0, 4, 2, math.inf))
