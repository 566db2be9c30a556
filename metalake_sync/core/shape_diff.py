"""What changes between two annotation sets of one image, shape by shape.

Owns: the diff, and applying it. Must not: print, or decide what follows.

A shape that is in both sets and differs is one `ShapeChange`, whatever differs: a box that is moved and relabeled is
one change with two aspects. `Diff.moved`, `Diff.relabeled` and so on list the changes that have this aspect, so such a
box is in both. A shape without a match is removed, added, or both: a box that is drawn as a polygon instead is removed
and added. Which shape matches which, see `shape_matching`.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

from metalake_sync.core.shape_matching import ShapePair, match
from metalake_sync.core.shape_values import (
    ID_FIELDS,
    Frame,
    OrderKey,
    Size,
    UnknownShape,
    common_frame,
    is_same_confidence,
    is_same_extras,
    is_same_geometry,
    order_key,
)
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType
from metalake_sync.lazy_dataclass import dataclass


class Aspect(enum.StrEnum):
    """What differs of a shape."""

    MOVED = "moved"
    """Its points: position, size, or the vertices of a polygon."""
    RELABELED = "relabeled"
    ATTRIBUTES = "attributes"
    """Its attributes or its metadata."""
    CONFIDENCE = "confidence"


@dataclass(frozen=True, slots=True)
class ShapeChange:
    """One shape before and after."""

    before: Shape
    after: Shape
    aspects: tuple[Aspect, ...]
    """All that differs, in the order of `Aspect`. Empty in `Diff.equivalent` only."""


ShapeKind = tuple[ShapeType, str]
"""Type and label of a shape."""


@dataclass(frozen=True, slots=True)
class Diff:
    """What turns one set into another. All sequences are sorted by the values of their shapes."""

    normalized: bool
    """The shapes of the diff are in fractions of the image. False: in pixels."""
    size: Size | None
    """Width and height of the image in pixels. None: unknown."""
    added: tuple[Shape, ...] = ()
    removed: tuple[Shape, ...] = ()
    changed: tuple[ShapeChange, ...] = ()
    equivalent: tuple[ShapeChange, ...] = ()
    """Unchanged shapes whose numbers are written otherwise: rounded, or a polygon from another vertex on. `apply` needs
    them to be exact; they count as unchanged."""
    unchanged_kinds: Mapping[ShapeKind, int] = field(default_factory=dict)
    """Type and label → number of unchanged shapes, those of `equivalent` included."""

    def __bool__(self) -> bool:
        """Whether anything is added, removed or changed."""
        return bool(self.added or self.removed or self.changed)

    @property
    def unchanged(self) -> int:
        """The number of shapes that stay as they are."""
        return sum(self.unchanged_kinds.values())

    @property
    def moved(self) -> tuple[ShapeChange, ...]:
        return self._with(Aspect.MOVED)

    @property
    def relabeled(self) -> tuple[ShapeChange, ...]:
        return self._with(Aspect.RELABELED)

    @property
    def attributes_changed(self) -> tuple[ShapeChange, ...]:
        return self._with(Aspect.ATTRIBUTES)

    @property
    def confidence_changed(self) -> tuple[ShapeChange, ...]:
        return self._with(Aspect.CONFIDENCE)

    def _with(self, aspect: Aspect) -> tuple[ShapeChange, ...]:
        return tuple(change for change in self.changed if aspect in change.aspects)

    @property
    def frame(self) -> Frame:
        """The unit of the shapes."""
        return Frame(self.normalized, self.size)


def diff(
    before: ImageRecord, after: ImageRecord, size: Size | None = None, *, id_fields: Sequence[str] = ID_FIELDS
) -> Diff:
    """Compare two sets of one image. The order of shapes does not matter.

    `size`: width and height of the image in pixels, None where they are unknown. `id_fields`: metadata fields in which
    the source keeps its id of a shape. The diff is in fractions where both sets are, else in pixels. Raises
    UnknownImageSize where one set is in fractions, the other in pixels, and the size is unknown.
    """
    frame = common_frame((before, after), size)
    return diff_of_shapes(frame.converted(before), frame.converted(after), frame, id_fields=id_fields)


def diff_of_shapes(
    before: Iterable[Shape], after: Iterable[Shape], frame: Frame, *, id_fields: Sequence[str] = ID_FIELDS
) -> Diff:
    """Compare two sets whose shapes are in the unit of `frame`."""
    matches = match(before, after, frame, id_fields)
    unchanged = Counter((shape.type, shape.label) for shape in matches.equal)
    unchanged.update((shape.type, shape.label) for _, shape in matches.equivalent)
    return Diff(
        frame.normalized,
        frame.size,
        tuple(matches.only_second),
        tuple(matches.only_first),
        tuple(_change(pair, frame) for pair in matches.changed),
        tuple(ShapeChange(*pair, ()) for pair in matches.equivalent),
        unchanged,
    )


def _change(pair: ShapePair, frame: Frame) -> ShapeChange:
    before, after = pair
    differs = {
        Aspect.MOVED: not is_same_geometry(before, after, frame),
        Aspect.RELABELED: before.label != after.label,
        Aspect.ATTRIBUTES: not is_same_extras(before, after),
        Aspect.CONFIDENCE: not is_same_confidence(before.confidence, after.confidence),
    }
    return ShapeChange(before, after, tuple(aspect for aspect in Aspect if differs[aspect]))


def apply(change: Diff, before: ImageRecord) -> ImageRecord:
    """Return the set after a diff: for the set that the diff was made of, exactly the shapes of the other set.

    Shapes that stay or change keep their places, added ones follow. The set is in the unit of the diff. Raises
    UnknownShape where the diff changes or removes a shape that the set does not contain, and UnknownImageSize.
    """
    replacements: dict[OrderKey, list[Shape | None]] = {}
    for one in (*change.changed, *change.equivalent):
        replacements.setdefault(order_key(one.before), []).append(one.after)
    for shape in change.removed:
        replacements.setdefault(order_key(shape), []).append(None)
    shapes: list[Shape] = []
    for shape in change.frame.converted(before):
        waiting = replacements.get(order_key(shape))
        kept = waiting.pop(0) if waiting else shape
        if kept is not None:
            shapes.append(kept)
    missing = sum(map(len, replacements.values()))
    if missing:
        raise UnknownShape(
            f"'{before.image}' does not contain {missing} of the shapes that the diff changes or removes"
        )
    return replace(before, shapes=(*shapes, *change.added), normalized=change.normalized)


def inverse(change: Diff) -> Diff:
    """Return the diff that undoes another one."""

    def swapped(changes: Iterable[ShapeChange]) -> tuple[ShapeChange, ...]:
        turned = [ShapeChange(one.after, one.before, one.aspects) for one in changes]
        return tuple(sorted(turned, key=lambda one: (order_key(one.before), order_key(one.after))))

    return replace(
        change,
        added=change.removed,
        removed=change.added,
        changed=swapped(change.changed),
        equivalent=swapped(change.equivalent),
    )
