"""Which shape of one set is which shape of another.

Owns: the rules of a match and their order. Must not: decide what a match means.

The rules, each for what the rules before have left:

1. Exactly equal shapes. Duplicates count: two equal shapes match two equal shapes.
2. Equal shapes but for rounding, the first vertex of a polygon, or its direction.
3. The same, but for the source's id: sources renumber shapes.
4. The same id from the source, where the id occurs once in each set, and the same type.
5. The same type and label, and a similarity of SAME_LABEL or more, best first.
6. The same type, another label, and a similarity of OTHER_LABEL or more, best first.
7. The same type, a label that the other set renamed, and a similarity of SAME_LABEL or more, best first. A label is
   renamed if pairs show it, the second set does not have the old name, and the first set does not have the new one.

Similarity is what `shape_geometry` measures: IoU for boxes and polygons, mean distance for lines and points. Ties go to
the pair with the lower values, so the order of shapes never matters, nor which set is called the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from metalake_sync.core.shape_geometry import (
    Outline,
    box_around,
    diagonal_around,
    neighbors,
    reach,
    similarity,
)
from metalake_sync.core.shape_values import (
    ID_FIELDS,
    Frame,
    OrderKey,
    ShapeId,
    is_same_confidence,
    is_same_extras,
    is_same_geometry,
    order_key,
    shape_id,
)
from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.lazy_dataclass import dataclass

SAME_LABEL = 0.5
"""The lowest similarity at which two shapes of one label are the same shape."""

OTHER_LABEL = 0.9
"""The lowest similarity at which two shapes of different labels are the same shape."""

ShapePair = tuple[Shape, Shape]


@dataclass(frozen=True, slots=True)
class Matches:
    """Two sets, shape by shape. Each sequence is sorted by the values of its shapes."""

    equal: Sequence[Shape]
    """Shapes that both sets contain."""
    equivalent: Sequence[ShapePair]
    """Pairs that differ in rounding, or in where and in which direction a polygon starts, and in nothing else."""
    changed: Sequence[ShapePair]
    """Other pairs."""
    only_first: Sequence[Shape]
    only_second: Sequence[Shape]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A shape that has no match yet."""

    shape: Shape
    key: OrderKey
    outline: Outline


def match(
    first: Iterable[Shape], second: Iterable[Shape], frame: Frame, id_fields: Sequence[str] = ID_FIELDS
) -> Matches:
    """Match two sets of shapes in the unit of `frame`. `id_fields`: metadata fields that may hold the source's id."""
    ours, theirs = _keyed(first), _keyed(second)
    equal, rest, others = _equal_shapes(ours, theirs)
    if not rest or not others:
        return Matches(equal, [], [], [shape for _, shape in rest], [shape for _, shape in others])
    matching = _Matching(rest, others, frame, id_fields)
    matching.pair_alike(matching.equivalent, ())
    if any(shape.metadata for _, shape in rest):
        matching.pair_alike(matching.changed, id_fields)
        matching.pair_by_id(_single_ids(ours, id_fields), _single_ids(theirs, id_fields))
    diagonal = frame.diagonal or diagonal_around([box_around(shape, frame) for _, shape in (*ours, *theirs)])
    matching.pair_by_geometry(diagonal, SAME_LABEL, lambda shape: (shape.type, shape.label))
    matching.pair_by_geometry(diagonal, OTHER_LABEL, lambda shape: (shape.type, ""))
    renamed = _renamed_labels(matching.changed, ours, theirs)
    if renamed:
        matching.pair_by_geometry(
            diagonal, SAME_LABEL, lambda shape: (shape.type, renamed.get(shape.label, shape.label))
        )
    return matching.result(equal)


_Keyed = list[tuple[OrderKey, Shape]]


def _keyed(shapes: Iterable[Shape]) -> _Keyed:
    return sorted(((order_key(shape), shape) for shape in shapes), key=lambda pair: pair[0])


def _equal_shapes(first: _Keyed, second: _Keyed) -> tuple[list[Shape], _Keyed, _Keyed]:
    """Return the shapes that both sets contain, and what each has besides."""
    unmatched = Counter(key for key, _ in second)
    equal: list[Shape] = []
    rest: _Keyed = []
    for key, shape in first:
        if unmatched[key]:
            unmatched[key] -= 1
            equal.append(shape)
        else:
            rest.append((key, shape))
    others: _Keyed = []
    for key, shape in second:
        if unmatched[key]:
            unmatched[key] -= 1
            others.append((key, shape))
    return equal, rest, others


def _renamed_labels(pairs: Sequence[ShapePair], first: _Keyed, second: _Keyed) -> Mapping[str, str]:
    """Return each label of the first set that has one new name in the second set, with this name."""
    old, new = {shape.label for _, shape in first}, {shape.label for _, shape in second}
    names = {(one.label, other.label) for one, other in pairs if one.label not in new and other.label not in old}
    times = Counter(one for one, _ in names)
    times_new = Counter(other for _, other in names)
    return {one: other for one, other in names if times[one] == times_new[other] == 1}


def _single_ids(shapes: _Keyed, fields: Sequence[str]) -> frozenset[ShapeId]:
    ids = Counter(found for _, shape in shapes if (found := shape_id(shape, fields)) is not None)
    return frozenset(one for one, count in ids.items() if count == 1)


class _Matching:
    """Two lists of shapes without a match, from which pairs are taken rule by rule."""

    def __init__(self, first: _Keyed, second: _Keyed, frame: Frame, id_fields: Sequence[str]) -> None:
        self._frame = frame
        self._id_fields = id_fields
        self._first = self._candidates(first)
        self._second = self._candidates(second)
        self.equivalent: list[ShapePair] = []
        self.changed: list[ShapePair] = []

    def _candidates(self, shapes: _Keyed) -> list[_Candidate]:
        return [_Candidate(shape, key, Outline(shape, self._frame)) for key, shape in shapes]

    def pair_alike(self, into: list[ShapePair], ignored: Sequence[str]) -> None:
        """Pair shapes of equal values up to rounding. `ignored`: metadata fields that may differ."""

        def scores(one: _Candidate, other: _Candidate) -> float | None:
            ours, theirs = one.shape, other.shape
            gap = max(abs(a - b) for a, b in zip(one.outline.box, other.outline.box, strict=True))
            if (
                gap <= 2 * self._frame.tolerance
                and is_same_geometry(ours, theirs, self._frame)
                and is_same_confidence(ours.confidence, theirs.confidence)
                and is_same_extras(ours, theirs, ignored)
            ):
                return -gap
            return None

        self._pair_best(into, lambda shape: (shape.type, shape.label), self._frame.tolerance, scores)

    def pair_by_id(self, first_ids: frozenset[ShapeId], second_ids: frozenset[ShapeId]) -> None:
        """Pair shapes of one type with the same id. Only the ids given count."""
        shared = first_ids & second_ids
        if not shared:
            return
        by_id = {shape_id(one.shape, self._id_fields): number for number, one in enumerate(self._second)}
        pairs = []
        for number, one in enumerate(self._first):
            found = shape_id(one.shape, self._id_fields)
            other = by_id.get(found) if found in shared else None
            if other is not None and self._second[other].shape.type is one.shape.type:
                pairs.append((number, other))
        self._take(self.changed, pairs)

    def pair_by_geometry(self, diagonal: float, threshold: float, group: Callable[[Shape], tuple[str, str]]) -> None:
        """Pair shapes of one group that are similar enough. `diagonal`: of the image, in the unit of the outlines."""

        def scores(one: _Candidate, other: _Candidate) -> float | None:
            found = similarity(one.outline, other.outline, diagonal, threshold)
            return found if found >= threshold else None

        apart = max(reach(shape_type, diagonal, threshold) for shape_type in ShapeType)
        self._pair_best(self.changed, group, apart, scores)

    def _pair_best(
        self,
        into: list[ShapePair],
        group: Callable[[Shape], tuple[str, str]],
        apart: float,
        scores: Callable[[_Candidate, _Candidate], float | None],
    ) -> None:
        """Pair within groups, the highest score first."""
        if not self._first or not self._second:
            return
        scored: list[tuple[float, OrderKey, OrderKey, int, int]] = []
        second = _grouped(self._second, group)
        for name, ours in _grouped(self._first, group).items():
            theirs = second.get(name, [])
            wider = apart if name[0] in (ShapeType.LINE, ShapeType.POINTS) else self._frame.tolerance
            for number, other in self._close(ours, theirs, wider):
                score = scores(self._first[number], self._second[other])
                if score is not None:
                    key, other_key = self._first[number].key, self._second[other].key
                    scored.append((-score, min(key, other_key), max(key, other_key), number, other))
        scored.sort()
        pairs: list[tuple[int, int]] = []
        taken: set[int] = set()
        taken_of_second: set[int] = set()
        for *_, number, other in scored:
            if number not in taken and other not in taken_of_second:
                taken.add(number)
                taken_of_second.add(other)
                pairs.append((number, other))
        self._take(into, pairs)

    def _close(self, ours: Sequence[int], theirs: Sequence[int], apart: float) -> Iterator[tuple[int, int]]:
        boxes = [self._first[number].outline.box for number in ours]
        for one, other in neighbors(boxes, [self._second[number].outline.box for number in theirs], apart):
            yield ours[one], theirs[other]

    def _take(self, into: list[ShapePair], pairs: Sequence[tuple[int, int]]) -> None:
        into += [(self._first[number].shape, self._second[other].shape) for number, other in pairs]
        taken, taken_of_second = {number for number, _ in pairs}, {other for _, other in pairs}
        self._first = [one for number, one in enumerate(self._first) if number not in taken]
        self._second = [one for number, one in enumerate(self._second) if number not in taken_of_second]

    def result(self, equal: Sequence[Shape]) -> Matches:
        return Matches(
            equal,
            sorted(self.equivalent, key=_pair_key),
            sorted(self.changed, key=_pair_key),
            [one.shape for one in self._first],
            [one.shape for one in self._second],
        )


def _pair_key(pair: ShapePair) -> tuple[OrderKey, OrderKey]:
    return order_key(pair[0]), order_key(pair[1])


def _grouped(
    candidates: Sequence[_Candidate], group: Callable[[Shape], tuple[str, str]]
) -> Mapping[tuple[str, str], list[int]]:
    groups: dict[tuple[str, str], list[int]] = {}
    for number, candidate in enumerate(candidates):
        groups.setdefault(group(candidate.shape), []).append(number)
    return groups
