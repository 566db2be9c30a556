"""What a plan says about a changed annotation set: values for JSON, and the words for people.

Owns: the document of a diff, its limits, and the port that supplies the two sets (`ShownSets`). Must
not: read sets, or decide about them (`core.diff_sets`).

Longer than 300 lines, because the values and the words describe the same changes in the same order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, cast

from metalake_sync.core.changes import UNKNOWN, Reason
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.core.actions import Action, UploadFile
    from metalake_sync.core.base_action import ActionDocument
    from metalake_sync.core.shape_diff import Diff, ShapeChange
    from metalake_sync.core.shapes import Point, Shape

CHANGES_PER_SET = 20
"""How many shapes the document of one set lists at most."""

CHANGES_PER_PLAN = 20_000
"""How many shapes the document of a plan lists at most. Further sets have their counts only."""

SETS_COMPARED = 50_000
"""How many sets a plan compares at most. Comparing one set takes about a millisecond."""

DETAILS_PER_SET = 5
"""How many lines describe the shapes of one set."""

TOGETHER_FROM = 3
"""So many equal changes of one set are one line."""

Known = Literal["known", "none", "unknown", "lake"]
What = Literal["added", "removed", "moved", "relabeled", "attributes", "confidence"]


@dataclass(frozen=True, slots=True)
class SetComparison:
    """A set of a plan beside its base."""

    base: Known
    """`known`: the state has the shapes that the lake last confirmed. `none`: the image had no set. `unknown`: the
    shapes before were not read. `lake`: another client changed the set, and the plan read it."""
    diff: Diff | None = None
    """From the base to the set that is sent. None: the base is not known."""
    theirs: Diff | None = None
    """From the set that the lake confirmed last to the other client's. None without another client's change, and
    where the confirmed set is not known."""


@dataclass(frozen=True, slots=True)
class RenamedFile:
    """What a renamed file keeps, and what stays with its old name."""

    metadata: bool
    """Whether the metadata is the same."""
    annotations: tuple[str, ...] = ()
    """The operations whose sets are the same."""
    left_behind: Mapping[str, int] = field(default_factory=dict)
    """Operation → number of shapes, for each set that the sources do not have under the new name."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


class ShownSets(Protocol):
    """The sets that the actions of a plan change, for showing them. They can be read while the plan's state and
    sources are open."""

    def renamed(self, action: UploadFile) -> RenamedFile | None:
        """Return what a renamed file keeps. None: the file is not renamed, or its old name has no record."""

    def is_comparable(self, action: Action) -> bool:
        """Whether an action changes a set that the lake has. False: it has no set, its image is uploaded with it, or
        another client changed the set."""

    def compare(self, action: Action) -> SetComparison:
        """Compare the set that an action sends or clears with its base. The action must be comparable."""

    def path(self, action: Action) -> str | None:
        """Return the local path of the image of a set, relative to the manifest's folder. None: it is not recorded, or
        the image is uploaded with its set."""


@dataclass(frozen=True, slots=True)
class ShapeValues:
    """One shape. Coordinates are in pixels, or fractions of the image where the document says so."""

    type: str
    label: str
    bbox: tuple[float, ...] | None = None
    """Left, top, width and height of a rectangle."""
    points: tuple[tuple[float, float], ...] | None = None
    """The points of any other shape."""
    confidence: float | None = None
    attributes: Mapping[str, Any] | None = None
    """Attribute → value, or list of values."""
    metadata: Mapping[str, Any] | None = None

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class ChangedShape:
    """One shape that is added, removed or changed."""

    what: tuple[What, ...]
    """All that differs."""
    before: ShapeValues | None = None
    """Absent for an added shape."""
    after: ShapeValues | None = None
    """Absent for a removed shape."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class ShapeCounts:
    """Numbers of shapes. A shape that is moved and relabeled counts as both."""

    added: int = 0
    removed: int = 0
    moved: int = 0
    relabeled: int = 0
    attributes: int = 0
    confidence: int = 0
    unchanged: int = 0

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class EqualChange:
    """A change that can be described without a place in the image, so that many files can have it."""

    text: str
    """For example `RBC relabeled to Erythrocyte`."""
    type: str
    """The type of the shapes."""
    shapes: int
    """How many shapes of the set change in this way."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class SetChanges:
    """What changes in an annotation set, shape by shape."""

    base: Known
    """`known`: the state has the shapes that the lake last confirmed. `none`: the image had no set. `unknown`: the
    shapes before were not read. `lake`: another client changed the set; the shapes before are theirs."""
    summary: str
    """For example `1 box moved, 21 unchanged`."""
    unit: Literal["pixels", "fractions"] = "pixels"
    """The unit of the coordinates."""
    counts: ShapeCounts | None = None
    """Absent if the base is unknown."""
    labels: Mapping[str, int] = field(default_factory=dict)
    """By how many shapes each label grows or shrinks."""
    changes: tuple[ChangedShape, ...] = ()
    """The shapes that differ, at most 20."""
    left_out: int = 0
    """How many further shapes differ."""
    equal: tuple[EqualChange, ...] | None = None
    """All changes, if each can be described without a place in the image. Sets with the same texts change in the same
    way."""
    details: tuple[str, ...] = ()
    """The changes as text, at most 6 lines."""
    by_others: SetChanges | None = None
    """What the other client changed since the lake confirmed the set last."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


class SetChangesMaker:
    """Makes the documents of one plan, within the limits of the plan."""

    def __init__(self, shown_sets: ShownSets, *, everything: bool = False) -> None:
        """`everything`: compare every set."""
        self._shown_sets = shown_sets
        self._shapes_left = CHANGES_PER_PLAN
        self._sets_left = None if everything else SETS_COMPARED
        self.not_compared = 0
        """How many changed sets were not compared, because the plan has too many of them."""

    def document(self, action: Action) -> ActionDocument:
        """Return the document of an action with what changes in its set, or what its renamed file keeps."""
        document = action.document()
        if document.renamed_from is not None:
            return replace(document, moves=self._shown_sets.renamed(cast("UploadFile", action)))
        if document.action not in ("annotate", "remove_annotations"):
            return document
        changes = self._of(action)
        path = self._shown_sets.path(action)
        if changes is None:
            return replace(document, path=path)
        listed = document.changes
        if listed is not None and changes.base == "unknown" and action.reason is Reason.NEW:
            # The image has no record of the operation, so the number of shapes before is not known either.
            listed = tuple(replace(one, before=UNKNOWN) for one in listed)
        return replace(document, changes=listed, shape_changes=changes, path=path)

    def _of(self, action: Action) -> SetChanges | None:
        if not self._shown_sets.is_comparable(action):
            return None
        if self._sets_left == 0:
            self.not_compared += 1
            return None
        if self._sets_left is not None:
            self._sets_left -= 1
        comparison = self._shown_sets.compare(action)
        if comparison.diff is None:
            return SetChanges(comparison.base, f"{comparison.base} before")
        changes = set_changes(comparison.base, comparison.diff, limit=min(CHANGES_PER_SET, self._shapes_left))
        self._shapes_left -= len(changes.changes)
        if comparison.theirs is None:
            return changes
        theirs = set_changes("known", comparison.theirs, limit=min(CHANGES_PER_SET, self._shapes_left))
        self._shapes_left -= len(theirs.changes)
        return replace(changes, by_others=theirs)


def set_changes(base: Known, diff: Diff, *, limit: int = CHANGES_PER_SET) -> SetChanges:
    """Return the document of a diff. `limit`: how many shapes it lists."""
    from metalake_sync.core.shape_groups import changes_without_places
    from metalake_sync.core.shape_summary import label_sums, summary

    equal = changes_without_places(diff)
    differing = len(diff.removed) + len(diff.changed) + len(diff.added)
    listed = tuple(one for one, _ in zip(_changed_shapes(diff), range(limit), strict=False))
    text = summary(diff) if diff else "the same shapes in another order or notation"
    return SetChanges(
        base,
        text,
        "fractions" if diff.normalized and diff.size is None else "pixels",
        ShapeCounts(
            len(diff.added),
            len(diff.removed),
            len(diff.moved),
            len(diff.relabeled),
            len(diff.attributes_changed),
            len(diff.confidence_changed),
            diff.unchanged,
        ),
        label_sums([diff]),
        listed,
        differing - len(listed),
        None if equal is None else tuple(EqualChange(one.words, one.type.value, count) for one, count in equal),
        tuple(_details(diff)),
    )


def _changed_shapes(diff: Diff) -> Iterator[ChangedShape]:
    """Yield the shapes that differ, rare changes first."""
    scale = diff.frame.scale
    for one in _rare_first(diff.changed):
        what = cast("tuple[What, ...]", tuple(aspect.value for aspect in one.aspects))
        yield ChangedShape(what, _values(one.before, scale), _values(one.after, scale))
    for shape in diff.removed:
        yield ChangedShape(("removed",), before=_values(shape, scale))
    for shape in diff.added:
        yield ChangedShape(("added",), after=_values(shape, scale))


def _rare_first(changes: Sequence[ShapeChange]) -> list[ShapeChange]:
    kinds = Counter(map(_kind, changes))
    return sorted(changes, key=lambda one: kinds[_kind(one)] >= TOGETHER_FROM)


def _kind(change: ShapeChange) -> tuple[object, ...]:
    """What changes of one label have in common, except for places and values."""
    return change.before.label, change.after.label, change.before.type, change.aspects


def _values(shape: Shape, scale: Point) -> ShapeValues:
    pairs = tuple((x * scale[0], y * scale[1]) for x, y in shape.points)
    is_box = shape.type.value == "rectangle"
    attributes = {
        name: [value.value for value in values] if len(values) != 1 else values[0].value
        for name, values in shape.attributes.items()
    }
    return ShapeValues(
        shape.type.value,
        shape.label,
        tuple(number for pair in pairs for number in pair) if is_box else None,
        None if is_box else pairs,
        shape.confidence,
        attributes or None,
        shape.metadata or None,
    )


def _details(diff: Diff) -> Iterator[str]:
    """Yield the lines that describe the shapes of a set. Equal changes of several shapes are one line, the last one."""
    from metalake_sync.core.shape_groups import change_without_place
    from metalake_sync.core.shape_summary import change_text, place_text

    frame, scale = diff.frame, diff.frame.scale
    common = [change_without_place(one, frame) for one in diff.changed]
    uses = Counter(common)
    uses[None] = 0
    lines = [
        change_text(one, scale) for one, kind in zip(diff.changed, common, strict=True) if uses[kind] < TOGETHER_FROM
    ]
    lines += [f"{shape.label}  {place_text(shape, scale)} removed" for shape in diff.removed]
    lines += [f"{shape.label}  {place_text(shape, scale)} added" for shape in diff.added]
    together = [
        (kind.text(count), count) for kind, count in uses.most_common() if kind is not None and count >= TOGETHER_FROM
    ]
    room = max(1, DETAILS_PER_SET - len(together))
    shown = DETAILS_PER_SET - min(room, len(lines))
    yield from lines[:room]
    yield from (text for text, _ in together[:shown])
    hidden = max(0, len(lines) - room) + sum(count for _, count in together[shown:])
    if hidden:
        yield f"… and {hidden} more shape{'' if hidden == 1 else 's'}"
