"""Equal changes of many files as one group: `RBC relabeled to Erythrocyte, 4,153 boxes`.

Owns: the group keys, and which diffs are odd. Must not: compare sets.

A diff has a group key where each of its changes can be described without a place in the image:

- a new label, changed attributes, a confidence that is added or removed, of all or some shapes of a label;
- other confidences, or a shift by the same offset, of all shapes of a label in the file;
- a label that is added to the file, or of which no shape is left.

A diff is odd where it holds any other change, or where no other file has its key. Odd diffs are listed file by file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from metalake_sync.core.shape_diff import Aspect, Diff, ShapeChange, ShapeKind
from metalake_sync.core.shape_summary import counted_shapes, extras_changes
from metalake_sync.core.shape_values import Frame
from metalake_sync.core.shapes import Point, Shape, ShapeType
from metalake_sync.lazy_dataclass import dataclass

OFFSET_DIGITS = 2
"""Offsets of moved shapes are equal when they agree in so many digits after the point of a pixel. Fractions of an image
whose size is unknown count four digits more."""


@dataclass(frozen=True, slots=True)
class GroupedChange:
    """A change of shapes of one type and label, without their places. Equal changes are equal values."""

    verb: Literal["added", "removed", "changed"]
    type: ShapeType
    label: str
    """The label before; of added shapes, their label."""
    new_label: str | None = None
    """None where the label stays."""
    offset: Point | None = None
    """How far shapes move, in pixels, or in fractions where the size of the image is unknown. None: they stay."""
    attributes: tuple[tuple[str, str, str], ...] = ()
    """Name, value before and value after, as JSON, of each attribute or metadata field that changes."""
    confidence: Literal["", "added", "removed", "changed"] = ""
    every: bool = True
    """Every shape of this type and label in the file is changed in this way."""

    def text(self, count: int) -> str:
        """Return the change as a clause: `RBC relabeled to Erythrocyte, 4,153 boxes`. `count`: shapes in all files."""
        return f"{self.words}, {counted_shapes(count, self.type)}"

    @property
    def words(self) -> str:
        """The change without the number of shapes: `RBC relabeled to Erythrocyte`."""
        parts: list[str] = []
        if self.verb != "changed":
            parts.append(self.verb)
        if self.new_label is not None:
            parts.append(f"relabeled to {self.new_label}")
        if self.offset is not None:
            x, y = (f"{one + 0:g}".replace("-", "−") for one in self.offset)
            parts.append(f"moved by ({x}, {y})")
        parts += [f"{name} {before} → {after}" for name, before, after in self.attributes]
        if self.confidence:
            parts.append(f"confidence {self.confidence}")
        label = self.label if self.every else f"some {self.label}"
        return f"{label} {' and '.join(parts)}"


GroupKey = tuple[GroupedChange, ...]
"""All changes of one file, sorted. Files with equal keys change in the same way."""


@dataclass(frozen=True, slots=True)
class Group:
    """Files that change in the same way."""

    key: GroupKey
    files: tuple[str, ...]
    """The names of the files, sorted. Two or more."""
    counts: Mapping[GroupedChange, int]
    """Each change of the key → the number of shapes in all files."""

    @property
    def text(self) -> str:
        """The changes in one line, without the number of files."""
        return "; ".join(change.text(self.counts[change]) for change in self.key)


@dataclass(frozen=True, slots=True)
class Grouping:
    """Diffs of many files, sorted for output."""

    odd: tuple[str, ...]
    """Files that differ from all groups, by name. They are listed first, one by one."""
    groups: tuple[Group, ...]
    """The group with the most files first."""
    unchanged: tuple[str, ...]
    """Files whose diff is empty."""


def group(diffs: Mapping[str, Diff]) -> Grouping:
    """Group the diffs of many files. `diffs`: name of the file → diff. The order of the files does not matter."""
    by_key: dict[GroupKey, list[str]] = {}
    counts: dict[GroupKey, Counter[GroupedChange]] = {}
    odd: list[str] = []
    for name in sorted(diffs):
        changes = _grouped_changes(diffs[name])
        if changes is None:
            odd.append(name)
            continue
        key = _key(changes)
        by_key.setdefault(key, []).append(name)
        counts.setdefault(key, Counter()).update(changes)
    unchanged = by_key.pop((), [])
    odd += [files[0] for files in by_key.values() if len(files) == 1]
    groups = [Group(key, tuple(files), counts[key]) for key, files in by_key.items() if len(files) > 1]
    groups.sort(key=lambda one: (-len(one.files), one.files))
    return Grouping(tuple(sorted(odd)), tuple(groups), tuple(unchanged))


def changes_without_places(change: Diff) -> Sequence[tuple[GroupedChange, int]] | None:
    """Return all changes of a file with their numbers of shapes, sorted. None: one of them needs its place."""
    changes = _grouped_changes(change)
    return None if changes is None else sorted(changes.items(), key=lambda one: _order(one[0]))


def change_without_place(change: ShapeChange, frame: Frame) -> GroupedChange | None:
    """Return what a changed shape has in common with shapes elsewhere, or None if only its place describes it."""
    return _changed(change, frame)


def group_key(change: Diff) -> GroupKey | None:
    """Return what files that change in the same way have in common: `()` for an empty diff, None for a diff that holds
    a change that only its place describes."""
    changes = _grouped_changes(change)
    return None if changes is None else _key(changes)


def _key(changes: Mapping[GroupedChange, int]) -> GroupKey:
    return tuple(sorted(changes, key=_order))


def _order(
    change: GroupedChange,
) -> tuple[str, str, str, str, tuple[float, ...], tuple[tuple[str, str, str], ...], str, bool]:
    return (
        change.label,
        change.type.value,
        change.verb,
        change.new_label or "",
        change.offset or (),
        change.attributes,
        change.confidence,
        change.every,
    )


def _grouped_changes(change: Diff) -> Counter[GroupedChange] | None:
    """Count the changes of one file without their places. None: at least one of them needs its place."""
    before = Counter(change.unchanged_kinds)
    before.update((one.type, one.label) for one in change.removed)
    before.update((one.before.type, one.before.label) for one in change.changed)
    after = Counter(change.unchanged_kinds)
    after.update((one.type, one.label) for one in change.added)
    after.update((one.after.type, one.after.label) for one in change.changed)
    added = Counter((one.type, one.label) for one in change.added)
    removed = Counter((one.type, one.label) for one in change.removed)
    if any(before[kind] for kind in added) or any(after[kind] for kind in removed):
        return None
    found: Counter[GroupedChange] = Counter()
    found.update({GroupedChange("added", *kind): count for kind, count in added.items()})
    found.update({GroupedChange("removed", *kind): count for kind, count in removed.items()})
    for one, count in Counter(_changed(one, change.frame) for one in change.changed).items():
        if one is None:
            return None
        kind: ShapeKind = (one.type, one.label)
        every = count == before[kind]
        if not every and (one.offset is not None or one.confidence == "changed"):
            return None
        found[one if every else _of_some(one)] += count
    return found


def _of_some(one: GroupedChange) -> GroupedChange:
    return GroupedChange(
        one.verb, one.type, one.label, one.new_label, one.offset, one.attributes, one.confidence, every=False
    )


def _changed(change: ShapeChange, frame: Frame) -> GroupedChange | None:
    before, after = change.before, change.after
    offset = None
    if Aspect.MOVED in change.aspects:
        offset = _offset(before, after, frame)
        if offset is None:
            return None
    attributes = tuple((one.what, _json(one.before), _json(one.after)) for one in extras_changes(change))
    confidence: Literal["", "added", "removed", "changed"] = ""
    if Aspect.CONFIDENCE in change.aspects:
        confidence = "removed" if after.confidence is None else "added" if before.confidence is None else "changed"
    new_label = after.label if after.label != before.label else None
    return GroupedChange("changed", before.type, before.label, new_label, offset, attributes, confidence)


def _json(value: object) -> str:
    return "none" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _offset(before: Shape, after: Shape, frame: Frame) -> Point | None:
    """Return how far a shape has moved as a whole. None where its size or its outline changed."""
    ours, theirs = frame.scaled(before.points), frame.scaled(after.points)
    if len(ours) != len(theirs):
        return None
    if before.type is ShapeType.RECTANGLE:
        if any(abs(a - b) > frame.tolerance for a, b in zip(ours[1], theirs[1], strict=True)):
            return None
        ours, theirs = ours[:1], theirs[:1]
    digits = OFFSET_DIGITS if frame.tolerance >= 1e-3 else OFFSET_DIGITS + 4
    offsets = {
        (round(b[0] - a[0], digits) + 0.0, round(b[1] - a[1], digits) + 0.0) for a, b in zip(ours, theirs, strict=True)
    }
    return offsets.pop() if len(offsets) == 1 else None
