"""The parts of a COCO annotation that are drawn: box, segmentation and keypoints.

Owns: which of them can be read, and the reports of what can't. Must not: make shapes of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.masks import BrokenMask, outlines_of
from metalake_sync.annotations.formats.values import has_area, number, point_pairs, shortened
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import Point
from metalake_sync.errors import ManifestError


class UnreadablePart(Exception):
    """A part of an annotation can't be read. The message names the part and the problem."""

    def __init__(self, problem: str, found: Any) -> None:
        super().__init__(problem)
        self.found = found
        """The value that can't be read."""


def is_nothing(value: Any) -> bool:
    """Whether an optional key has no value. Tables hold NaN where they have none."""
    return value is None or value == [] or (type(value) is float and math.isnan(value))


def box_of(value: Any) -> tuple[float, float, float, float] | None:
    """Return x, y, width and height of a box, or None without a box. Raises UnreadablePart."""
    if is_nothing(value):
        return None
    problem = "a 'bbox' that is not four numbers"
    if not isinstance(value, list) or len(value) != 4:
        raise UnreadablePart(problem, value)
    x, y, width, height = _numbers(value, problem)
    # Four NaN come from a table without a box.
    return None if all(map(math.isnan, (x, y, width, height))) else (x, y, width, height)


def _numbers(values: list[Any], problem: str) -> list[float]:
    """Return JSON numbers as floats. Raises UnreadablePart with `problem` if one is not a number."""
    try:
        return [number(one, "") for one in values]
    except ManifestError:
        raise UnreadablePart(problem, values) from None


def polygons_of(
    segmentation: Any, place: str, sizes: Sequence[Size], notes: ReadNotes, *, has_other: bool
) -> tuple[tuple[Point, ...], ...]:
    """Return the polygons of a segmentation that have an area. Raises UnreadablePart.

    If none has: no polygon where the annotation has a box or keypoints, else all of them, for the checks to report.
    """
    if is_nothing(segmentation):
        return ()
    try:
        parts = _parts(segmentation, place, sizes, notes)
    except UnreadablePart as problem:
        if not has_other:
            raise
        notes.count(f"annotations have {problem}; their boxes are taken", at=f"{place}: {shortened(problem.found)}")
        return ()
    except BrokenMask as problem:
        if not has_other:
            raise UnreadablePart(f"a mask (RLE) and no box, and {problem}", segmentation) from None
        notes.count(
            f"annotations have a mask (RLE), and {problem}; their boxes are taken", at=f"{place}{problem.found}"
        )
        return ()
    with_area = tuple(points for points in parts if has_area(points))
    if len(with_area) < len(parts) and (with_area or has_other) and any(parts):
        lost = sum(1 for points in parts if points) - len(with_area)
        notes.count("parts of segmentations have no area; they are left out", lost, at=place)
    return with_area if with_area or has_other else parts


_NO_POLYGON = "a polygon that is not x, y, x, y, …"


def _parts(segmentation: Any, place: str, sizes: Sequence[Size], notes: ReadNotes) -> tuple[tuple[Point, ...], ...]:
    """Return all polygons of a segmentation. A mask may be the segmentation or an element of it."""
    if isinstance(segmentation, dict):
        segmentation = [segmentation]
    if not isinstance(segmentation, list):
        raise UnreadablePart("a 'segmentation' that is neither a list nor a mask", segmentation)
    if not isinstance(segmentation[0], list | dict):
        segmentation = [segmentation]
    polygons: list[tuple[Point, ...]] = []
    for part in segmentation:
        if isinstance(part, dict):
            polygons += _outlines(part, place, sizes, notes)
        elif not isinstance(part, list) or len(part) % 2:
            raise UnreadablePart(_NO_POLYGON, part)
        else:
            polygons.append(point_pairs(_numbers(part, _NO_POLYGON)))
    return tuple(polygons)


def _outlines(mask: dict[str, Any], place: str, sizes: Sequence[Size], notes: ReadNotes) -> Sequence[tuple[Point, ...]]:
    size = mask.get("size")
    if sizes and isinstance(size, list) and len(size) == 2 and (size[1], size[0]) not in sizes:
        width, height = sizes[0]
        found = f": {shortened(size)} for an image of {width} x {height}"
        raise BrokenMask("its size, [height, width], is not the image's", found)
    found_outlines = outlines_of(mask)
    if found_outlines.holes:
        notes.count("holes of masks (RLE) are filled: a polygon has none", found_outlines.holes, at=place)
    return found_outlines.outlines


_Triples = list[tuple[float, float, float]]
"""x, y and visibility of each keypoint. Visibility 0: not labelled, 1: hidden, 2: visible."""


def triples_of(keypoints: Any, place: str, notes: ReadNotes, *, alone: bool) -> _Triples | None:
    """Return the keypoints of an annotation, or None if none is labelled. `alone`: whether the annotation has no other
    shape. Raises UnreadablePart."""
    if is_nothing(keypoints):
        return None
    problem = "'keypoints' that are not x, y, visibility, …"
    try:
        if not isinstance(keypoints, list) or len(keypoints) % 3:
            raise UnreadablePart(problem, keypoints)
        numbers = _numbers(keypoints, problem)
    except UnreadablePart:
        if alone:
            raise
        notes.count(f"annotations have {problem}; they are left out", at=f"{place}: {shortened(keypoints)}")
        return None
    triples = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    return triples if any(visibility > 0 for _, _, visibility in triples) else None


def keypoints_of(triples: _Triples, category: dict[str, Any]) -> tuple[tuple[Point, ...], dict[str, Any]]:
    """Return the labelled points and their metadata: their names, and their visibility if one is hidden."""
    labelled = [index for index, (_, _, visibility) in enumerate(triples) if visibility > 0]
    about: dict[str, Any] = {}
    names = category.get("keypoints")
    if isinstance(names, list) and len(names) == len(triples):
        about["keypoints"] = [names[index] for index in labelled]
    if any(triples[index][2] != 2 for index in labelled):
        about["visibility"] = [triples[index][2] for index in labelled]
    return tuple((triples[index][0], triples[index][1]) for index in labelled), about
