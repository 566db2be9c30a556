"""Shapes in the notation of `cases/shape_diffs.yaml`, and random sets for property tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from metalake_sync.core.shape_diff import Diff
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape, ShapeType

TYPES = {"box": ShapeType.RECTANGLE, "polygon": ShapeType.POLYGON, "line": ShapeType.LINE, "points": ShapeType.POINTS}
WORDS = {shape_type: word for word, shape_type in TYPES.items()}


def shape(text: str) -> Shape:
    """Read one shape."""
    label, word, *parts = text.split()
    points: list[tuple[float, float]] = []
    extras: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    confidence = None
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            x, y = re.split("[,×]", part)
            points.append((float(x), float(y)))
        elif name == "confidence":
            confidence = float(value)
        elif name.startswith("metadata."):
            metadata[name.removeprefix("metadata.")] = value
        else:
            extras[name] = (AttributeValue(value),)
    return Shape(TYPES[word], tuple(points), label, confidence, metadata, extras)


def text_of(one: Shape) -> str:
    """Write one shape. Numbers keep six digits after the point at most."""
    pairs = [(f"{x:.6f}".rstrip("0").rstrip("."), f"{y:.6f}".rstrip("0").rstrip(".")) for x, y in one.points]
    points = [",".join(pair) for pair in pairs]
    if one.type is ShapeType.RECTANGLE:
        points[1] = "×".join(pairs[1])
    confidence = [] if one.confidence is None else [f"confidence={one.confidence}"]
    attributes = [f"{name}={value.value}" for name, (value,) in one.attributes.items()]
    metadata = [f"metadata.{name}={value}" for name, value in one.metadata.items()]
    return " ".join([one.label, WORDS[one.type], *points, *confidence, *attributes, *metadata])


def texts_of(change: Diff) -> dict[str, Any]:
    """Write a diff as `then` of a case."""
    changed = [
        f"{text_of(one.before)} → {text_of(one.after)} ({', '.join(aspect.value for aspect in one.aspects)})"
        for one in change.changed
    ]
    written = {
        "added": [*map(text_of, change.added)],
        "removed": [*map(text_of, change.removed)],
        "changed": changed,
        "unchanged": change.unchanged,
    }
    return {name: value for name, value in written.items() if value}


def record(shapes: Sequence[str | Shape], *, normalized: bool = False) -> ImageRecord:
    """Return the set of an image."""
    return ImageRecord("a.jpg", tuple(shape(one) if isinstance(one, str) else one for one in shapes), normalized)


_NUMBERS = st.integers(0, 40).map(lambda number: number * 2.5)
_POINTS = st.tuples(_NUMBERS, _NUMBERS)
_SIZES = st.tuples(*[st.integers(1, 16).map(lambda number: number * 2.5)] * 2)
_GEOMETRY = st.one_of(
    st.tuples(st.just(ShapeType.RECTANGLE), st.tuples(_POINTS, _SIZES)),
    st.tuples(st.just(ShapeType.POLYGON), st.lists(_POINTS, min_size=3, max_size=6).map(tuple)),
    st.tuples(st.just(ShapeType.LINE), st.lists(_POINTS, min_size=2, max_size=4).map(tuple)),
    st.tuples(st.just(ShapeType.POINTS), st.lists(_POINTS, min_size=1, max_size=3).map(tuple)),
)
_METADATA = st.one_of(st.just({}), st.builds(lambda number: {"id": number}, st.integers(1, 4)))
_ATTRIBUTES = st.sampled_from([{}, {"stage": (AttributeValue("young", 0.5),)}, {"stage": (AttributeValue("old"),)}])
_CONFIDENCES = st.sampled_from([None, None, 0.5, 0.75])
random_shapes = st.builds(
    lambda geometry, *rest: Shape(*geometry, *rest),
    _GEOMETRY,
    st.sampled_from(["RBC", "WBC"]),
    _CONFIDENCES,
    _METADATA,
    _ATTRIBUTES,
)


EDITS = ["keep", "keep", "keep", "delete", "double", "move", "relabel", "round", "confide"]


@st.composite
def edited(draw: st.DrawFn, before: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return a set as a person might leave it: some shapes deleted, doubled, moved, relabeled or rounded, some new."""
    after: list[Shape] = []
    for one in before:
        edit = draw(st.sampled_from(EDITS))
        shift = draw(st.sampled_from([2.5, 10.0])) if edit == "move" else 0.0004
        (x, y), *others = one.points
        match edit:
            case "delete":
                continue
            case "double":
                after.append(one)
            case "move" | "round":
                one = replace(one, points=((x + shift, y), *others))
            case "relabel":
                one = replace(one, label="Platelet")
            case "confide":
                one = replace(one, confidence=0.25)
        after.append(one)
    return (*after, *draw(st.lists(random_shapes, max_size=2)))


random_sets = st.lists(random_shapes, max_size=7).map(tuple)
"""Sets of up to seven shapes in pixels."""

random_edits = random_sets.flatmap(lambda before: st.tuples(st.just(before), edited(before)))
"""Pairs of a set and the same set after some edits."""
