"""Diffs of annotation sets as text: one line for a file, one for a shape, and sums per label.

Owns: the words. Must not: compare sets.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from metalake_sync.core.changes import Change
from metalake_sync.core.shape_diff import Aspect, Diff, ShapeChange
from metalake_sync.core.shape_values import is_same_json, is_same_values
from metalake_sync.core.shapes import AttributeValue, Point, Shape, ShapeType

_WORDS = {
    ShapeType.RECTANGLE: ("box", "boxes"),
    ShapeType.POLYGON: ("polygon", "polygons"),
    ShapeType.LINE: ("line", "lines"),
    ShapeType.POINTS: ("point set", "point sets"),
}
"""One shape and several of a type."""

_ASPECT_WORDS = {
    Aspect.MOVED: "moved",
    Aspect.RELABELED: "relabeled",
    Aspect.ATTRIBUTES: "attributes changed",
    Aspect.CONFIDENCE: "confidence changed",
}

Verb = Literal["added", "removed", "changed"]
_VERBS: Sequence[Verb] = ("added", "removed", "changed")


def counted_shapes(number: int, shape_type: ShapeType) -> str:
    """Return a number of shapes as text: 1 box, 4,153 boxes."""
    one, many = _WORDS[shape_type]
    return f"{number:,} {one if number == 1 else many}"


def summary(diffs: Diff | Iterable[Diff]) -> str:
    """Return one line about one diff, or about several with the counts summed: `1 box moved, 21 unchanged`.

    A shape with several changes counts once: `1 box moved and relabeled`. Without any shape it is `no shapes`.
    """
    counts: Counter[tuple[Verb, tuple[Aspect, ...], ShapeType]] = Counter()
    unchanged = 0
    for one in [diffs] if isinstance(diffs, Diff) else diffs:
        counts.update(("added", (), shape.type) for shape in one.added)
        counts.update(("removed", (), shape.type) for shape in one.removed)
        counts.update(("changed", change.aspects, change.after.type) for change in one.changed)
        unchanged += one.unchanged
    types = list(ShapeType)
    order = sorted(counts, key=lambda part: (_VERBS.index(part[0]), [*map(_place, part[1])], types.index(part[2])))
    parts = [f"{counted_shapes(counts[part], part[2])} {_predicate(part[0], part[1])}" for part in order]
    if unchanged:
        parts.append(f"{unchanged:,} unchanged")
    return ", ".join(parts) or "no shapes"


def _place(aspect: Aspect) -> int:
    return list(Aspect).index(aspect)


def _predicate(verb: Verb, aspects: Sequence[Aspect]) -> str:
    return " and ".join(_ASPECT_WORDS[aspect] for aspect in aspects) or verb


def label_sums(diffs: Iterable[Diff]) -> dict[str, int]:
    """Return by how many shapes each label grows or shrinks. Labels whose number stays are left out. The largest change
    comes first, of equal ones the decrease, then by name."""
    sums: Counter[str] = Counter()
    for one in diffs:
        sums.update(shape.label for shape in one.added)
        sums.subtract(shape.label for shape in one.removed)
        sums.update(change.after.label for change in one.relabeled)
        sums.subtract(change.before.label for change in one.relabeled)
    order = sorted(sums, key=lambda label: (-abs(sums[label]), sums[label], label))
    return {label: sums[label] for label in order if sums[label]}


def label_sums_text(sums: Mapping[str, int]) -> str:
    """Return sums per label as text: `RBC −4,153, Erythrocyte +4,153`."""
    return ", ".join(f"{label} {'+' if number > 0 else '−'}{abs(number):,}" for label, number in sums.items())


def extras_changes(change: ShapeChange) -> tuple[Change, ...]:
    """Return the attributes and metadata fields that differ, by name: `stage`, or `metadata.truncated`.

    An attribute is shown as its value, or as the list of its values; where only confidences or metadata of the values
    differ, as a list of `[value, confidence, metadata]`.
    """
    before, after = change.before, change.after
    changes = []
    for name in sorted({*before.attributes, *after.attributes}):
        old, new = before.attributes.get(name, ()), after.attributes.get(name, ())
        if not is_same_values(old, new):
            full = is_same_json([value.value for value in old], [value.value for value in new])
            changes.append(Change(name, _shown(old, full), _shown(new, full)))
    for name in sorted({*before.metadata, *after.metadata}):
        was, is_now = before.metadata.get(name), after.metadata.get(name)
        if not is_same_json(was, is_now):
            changes.append(Change(f"metadata.{name}", was, is_now))
    return tuple(changes)


def _shown(values: Sequence[AttributeValue], full: bool) -> Any:
    if full:
        return [[value.value, value.confidence, dict(value.metadata)] for value in values]
    plain = [value.value for value in values]
    return plain if len(plain) > 1 else next(iter(plain), None)


def place_text(shape: Shape, scale: Point = (1.0, 1.0)) -> str:
    """Return where a shape is: `(45,12 30×30)` for a box, `12 points in (45,12 30×30)` for the others, `(45,12)` for a
    single point. `scale`: factors that turn coordinates to pixels, see `Frame.scale`."""
    pairs = [(x * scale[0], y * scale[1]) for x, y in shape.points]
    if shape.type is ShapeType.RECTANGLE:
        (x, y), (width, height) = pairs
        return f"({_number(x)},{_number(y)} {_number(width)}×{_number(height)})"
    if len(pairs) == 1:
        return f"({_number(pairs[0][0])},{_number(pairs[0][1])})"
    across, down = [x for x, _ in pairs] or [0.0], [y for _, y in pairs] or [0.0]
    left, top = min(across), min(down)
    size = f"{_number(max(across) - left)}×{_number(max(down) - top)}"
    return f"{len(pairs)} points in ({_number(left)},{_number(top)} {size})"


def _number(value: float) -> str:
    """At most two digits after the point, and four for fractions of an image."""
    text = f"{value:.{2 if abs(value) > 1 else 4}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def change_text(change: ShapeChange, scale: Point = (1.0, 1.0)) -> str:
    """Return one changed shape as text: `RBC  (45,12 30×30) → (48,12 27×30)`, `RBC → WBC  (45,12 30×30)`.

    Changed attributes and confidences follow: `stage 'young' → 'old'`, `confidence 0.5 → none`.
    """
    before, after = change.before, change.after
    label = before.label if before.label == after.label else f"{before.label} → {after.label}"
    place = place_text(after, scale)
    if Aspect.MOVED in change.aspects:
        place = f"{place_text(before, scale)} → {place}"
    parts = [f"{one.what} {_value(one.before)} → {_value(one.after)}" for one in extras_changes(change)]
    if Aspect.CONFIDENCE in change.aspects:
        parts.append(f"confidence {_value(before.confidence)} → {_value(after.confidence)}")
    return "  ".join([label, place, *parts])


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=dict)
