"""Three-way merge of annotation sets: what ours and theirs make of one base, combined shape by shape.

Owns: what combines and what conflicts. Must not: resolve a conflict.

A shape that one side changes or removes and the other side leaves alone takes that change. The same change on both
sides is made once. A conflict is one of these:

- a shape that both sides change in different ways, even in different aspects, such as a move and another label;
- a shape that one side changes and the other removes;
- a shape that both sides add in the same place and that differs: both have drawn the same object.

Without a base (a lost state), pass an empty one: what both sides have is agreed, what one side has is kept, and what
both drew differently conflicts. A box that one side draws as a polygon instead is a removal and an addition, so the
polygon is kept where the box conflicts.

The result does not depend on which side is called ours, but for the sides of conflicts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from metalake_sync.core.shape_diff import Diff, ShapeChange, diff_of_shapes
from metalake_sync.core.shape_matching import match
from metalake_sync.core.shape_values import ID_FIELDS, Frame, OrderKey, Size, common_frame, order_key
from metalake_sync.core.shapes import ImageRecord, Shape
from metalake_sync.lazy_dataclass import dataclass

Side = Literal["base", "ours", "theirs"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """One shape that both sides changed in different ways."""

    base: Shape | None
    """None where both sides added the shape."""
    ours: Shape | None
    """None where ours removed it."""
    theirs: Shape | None
    """None where theirs removed it."""

    def side(self, side: Side) -> Shape | None:
        """Return the shape as one side has it."""
        return {"base": self.base, "ours": self.ours, "theirs": self.theirs}[side]


@dataclass(frozen=True, slots=True)
class Merge:
    """The combined set of two sides."""

    agreed: ImageRecord
    """All shapes without a conflict."""
    conflicts: tuple[Conflict, ...]
    """Sorted by the values of their shapes. The shapes have the unit of `agreed`."""

    def resolved(self, side: Side) -> ImageRecord:
        """Return the whole set, with every conflict decided for one side."""
        chosen = (conflict.side(side) for conflict in self.conflicts)
        return replace(self.agreed, shapes=(*self.agreed.shapes, *(shape for shape in chosen if shape is not None)))


def merge(
    base: ImageRecord,
    ours: ImageRecord,
    theirs: ImageRecord,
    size: Size | None = None,
    *,
    id_fields: Sequence[str] = ID_FIELDS,
) -> Merge:
    """Combine the changes of two sides.

    `size`: width and height of the image in pixels, None where they are unknown. The result is in fractions where all
    three sets are, else in pixels; it has the name of `ours`. Raises UnknownImageSize where only some sets are in
    fractions and the size is unknown.
    """
    frame = common_frame((base, ours, theirs), size)
    shapes = frame.converted(base)
    our_diff = diff_of_shapes(shapes, frame.converted(ours), frame, id_fields=id_fields)
    their_diff = diff_of_shapes(shapes, frame.converted(theirs), frame, id_fields=id_fields)
    merging = _Merging(frame, id_fields)
    our_fates, their_fates = _fates(our_diff), _fates(their_diff)
    copies = Counter(map(order_key, shapes))
    by_key = {order_key(shape): shape for shape in shapes}
    for key in sorted(copies):
        merging.combine(by_key[key], copies[key], our_fates.get(key, _NO_FATES), their_fates.get(key, _NO_FATES))
    merging.add(our_diff.added, their_diff.added)
    return Merge(replace(ours, shapes=tuple(merging.agreed), normalized=frame.normalized), merging.sorted_conflicts())


@dataclass(frozen=True, slots=True)
class _Fates:
    """What one side does to the equal copies of one shape. Copies that are not listed stay."""

    changed: Sequence[Shape]
    """What copies become."""
    removed: int
    """How many copies go."""
    rewritten: Sequence[Shape]
    """What copies become that stay, but for rounding or the first vertex of a polygon."""


_NO_FATES = _Fates((), 0, ())


def _fates(change: Diff) -> dict[OrderKey, _Fates]:
    removed = Counter(map(order_key, change.removed))
    changed, rewritten = _by_base(change.changed), _by_base(change.equivalent)
    return {
        key: _Fates(changed.get(key, ()), removed[key], rewritten.get(key, ()))
        for key in {*removed, *changed, *rewritten}
    }


def _by_base(changes: Iterable[ShapeChange]) -> dict[OrderKey, list[Shape]]:
    grouped: dict[OrderKey, list[Shape]] = {}
    for change in changes:
        grouped.setdefault(order_key(change.before), []).append(change.after)
    return grouped


class _Merging:
    """Collects the merged shapes and the conflicts."""

    def __init__(self, frame: Frame, id_fields: Sequence[str]) -> None:
        self.agreed: list[Shape] = []
        self._conflicts: list[Conflict] = []
        self._frame = frame
        self._id_fields = id_fields

    def sorted_conflicts(self) -> tuple[Conflict, ...]:
        """Return the conflicts in an order that does not depend on which side is ours."""

        def keys(conflict: Conflict) -> list[tuple[OrderKey, ...]]:
            sides = sorted([_keys(conflict.ours), _keys(conflict.theirs)])
            return [_keys(conflict.base), *sides]

        return tuple(sorted(self._conflicts, key=keys))

    def combine(self, shape: Shape, copies: int, ours: _Fates, theirs: _Fates) -> None:
        """Merge all equal copies of one base shape. Changes of both sides go to different copies as long as there are
        enough of them."""
        same = match(ours.changed, theirs.changed, self._frame, self._id_fields)
        both_removed = min(ours.removed, theirs.removed)
        self.agreed += same.equal
        self.agreed += (min(pair, key=order_key) for pair in same.equivalent)
        copies -= len(same.equal) + len(same.equivalent) + both_removed
        our_edits = _edits(ours.changed, same.equal, [one for one, _ in same.equivalent], ours.removed - both_removed)
        their_edits = _edits(
            theirs.changed, same.equal, [other for _, other in same.equivalent], theirs.removed - both_removed
        )
        disputed = max(0, len(our_edits) + len(their_edits) - copies)
        for our_edit, their_edit in zip(_last(our_edits, disputed), _last(their_edits, disputed), strict=True):
            self._conflicts.append(Conflict(shape, our_edit, their_edit))
        edits = our_edits[: len(our_edits) - disputed] + their_edits[: len(their_edits) - disputed]
        self.agreed += (edit for edit in edits if edit is not None)
        untouched = copies - disputed - len(edits)
        only_theirs = _without(theirs.rewritten, Counter(map(order_key, ours.rewritten)))
        rewritten = sorted((*ours.rewritten, *only_theirs), key=order_key)[:untouched]
        self.agreed += rewritten
        self.agreed += [shape] * (untouched - len(rewritten))

    def add(self, ours: Sequence[Shape], theirs: Sequence[Shape]) -> None:
        """Merge the shapes that are new on each side."""
        both = match(ours, theirs, self._frame, self._id_fields)
        self.agreed += both.equal
        self.agreed += (min(pair, key=order_key) for pair in both.equivalent)
        self.agreed += (*both.only_first, *both.only_second)
        self._conflicts += (Conflict(None, *pair) for pair in both.changed)


def _keys(shape: Shape | None) -> tuple[OrderKey, ...]:
    return () if shape is None else (order_key(shape),)


def _edits(
    changed: Iterable[Shape], equal: Iterable[Shape], equivalent: Iterable[Shape], removed: int
) -> list[Shape | None]:
    """Return the changes that only one side makes, sorted, and None for each copy that only this side removes."""
    agreed = Counter(map(order_key, (*equal, *equivalent)))
    return [*_without(sorted(changed, key=order_key), agreed), *[None] * removed]


def _without(shapes: Iterable[Shape], left_out: Counter[OrderKey]) -> Iterator[Shape]:
    for shape in shapes:
        key = order_key(shape)
        if left_out[key]:
            left_out[key] -= 1
        else:
            yield shape


def _last(edits: Sequence[Shape | None], count: int) -> Sequence[Shape | None]:
    return edits[len(edits) - count :]
