"""Checks the annotation sets that a plan sends: their labels, the shares of labels, and shapes outside of images.

Owns: which sets are read for it. The sets of an operation are read only if the labels of its sources, or its recorded
sets, make that necessary. Must not: decide which shapes are sent (`annotations`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING

from metalake_sync.core.actions import Annotate, SetAction
from metalake_sync.core.addresses import Place
from metalake_sync.core.checks import Check, Finding, Level
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex


@dataclass(frozen=True, slots=True)
class CheckedSets:
    """The sets of one operation that a plan changes."""

    collection: CollectionKey
    operation: str
    index: AnnotationIndex | None
    """None: the manifest does not have the operation any more."""
    images: Sequence[str]
    """The images whose sets are sent."""
    handle: CollectionHandle | None
    """The recorded collection. None: it was never recorded, or the images are unmanaged."""


def changed_sets(
    actions: Iterable[SetAction],
    indexes: Mapping[tuple[Place, str], AnnotationIndex],
    handles: Mapping[CollectionKey, CollectionHandle],
) -> list[CheckedSets]:
    """Group the actions on sets by place and operation. `handles`: the recorded collections."""
    images: dict[tuple[Place, CollectionKey, str], list[str]] = {}
    for action in actions:
        sent = images.setdefault((action.at.place, action.collection, action.annotations.operation), [])
        if isinstance(action, Annotate):
            sent.append(action.at.name)
    return [
        CheckedSets(
            collection,
            operation,
            indexes.get((place, operation)),
            names,
            handles.get(collection) if isinstance(place, CollectionKey) else None,
        )
        for (place, collection, operation), names in images.items()
    ]


def unknown_labels(sets: CheckedSets, allowed: Set[str], level: Level) -> Iterator[Finding]:
    """Yield the images that have a label which is not allowed, for each such label."""
    if sets.index is None or sets.index.labels().keys() <= allowed:
        return
    for name in sets.images:
        labels = dict.fromkeys(shape.label for shape in sets.index.record(name).shapes)
        for label in labels:
            if label not in allowed:
                about = f"'{label}' of '{sets.operation}'"
                message = f"has the label {about}, which 'checks.labels.allow' does not have"
                yield Finding(
                    Check.UNKNOWN_LABEL,
                    level,
                    sets.collection,
                    name,
                    sets.index.images()[name].place,
                    message,
                    about=about,
                    label=label,
                )


def shapes_outside(sets: CheckedSets, level: Level) -> Iterator[Finding]:
    """Yield the images of which a shape reaches outside, in the stored orientation and in the displayed one."""
    if sets.index is None:
        return
    outside = sets.index.checks.outside
    for name in sets.images if outside else ():
        if name in outside:
            message = f"has a shape of '{sets.operation}' that reaches outside of it ({outside[name]})"
            about = f"'{sets.operation}'"
            place = sets.index.images()[name].place
            yield Finding(Check.BOX_OUTSIDE, level, sets.collection, name, place, message, about=about)


def moved_shares(sets: CheckedSets, state: StateStore, most_percent: float, level: Level) -> Iterator[Finding]:
    """Yield the labels whose share of the shapes differs from that of the recorded sets by more than a limit."""
    if sets.handle is None:
        return
    before, after = _labels_before_and_after(sets, state, sets.handle)
    if not before.total() or not after.total():
        return
    where = sets.index.declared_at if sets.index is not None else ""
    for label in sorted(before | after):
        share_before = 100 * before[label] / before.total()
        share_after = 100 * after[label] / after.total()
        if abs(share_after - share_before) > most_percent:
            message = (
                f"is {share_after:.1f} % of the shapes of '{sets.operation}' and was {share_before:.1f} %,"
                f" and 'max_share_change' is {most_percent:g} %"
            )
            yield Finding(
                Check.LABEL_SHARE, level, sets.collection, label, where, message, f"'{label}'", sets.operation, label
            )


def _labels_before_and_after(
    sets: CheckedSets, state: StateStore, handle: CollectionHandle
) -> tuple[Counter[str], Counter[str]]:
    """Count the shapes of each label in the recorded sets, and in the sets that the manifest wants."""
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    wanted = dict(sets.index.images()) if sets.index is not None else {}
    keeps_others = sets.index is not None and sets.index.mode == "append"
    for name, recorded in state.annotation_sets.of_operation(handle, sets.operation).items():
        base = state.annotation_sets.base(handle, name, sets.operation) if recorded.shape_count else None
        labels = Counter(shape.label for shape in base.shapes) if base is not None else Counter[str]()
        before += labels
        image = wanted.get(name)
        if (image is None and keeps_others) or (image is not None and image.digest == recorded.digest and base):
            after += labels
            wanted.pop(name, None)
    for name, image in wanted.items():
        if image.shape_count and sets.index is not None:
            after.update(shape.label for shape in sets.index.record(name).shapes)
    return before, after
