"""The images and annotation sets behind the actions of a plan, of a plan in this process or a saved one.

Owns: which image belongs to which actions, and what of a set is known. Must not: word anything that a terminal shows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from metalake_sync.core.actions import Action, Annotate, RemoveAnnotations, ReplaceFile, UploadFile
from metalake_sync.core.addresses import Address, By
from metalake_sync.core.base_action import ActionDocument
from metalake_sync.core.set_changes import ChangedShape, SetChanges, ShapeValues
from metalake_sync.core.shape_diff import Aspect, Diff, ShapeChange, inverse
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape, ShapeType
from metalake_sync.engine import Engine, Observed
from metalake_sync.lake_access import lake_identity
from metalake_sync.report.image_files import LocalImage, MissingImage, Version
from metalake_sync.report.model import ImageFile, SetChange, set_change, unchanged_shapes

SetAction: TypeAlias = Annotate | RemoveAnnotations
"""An action on an annotation set."""


OURS_AFTER_THEIRS = "Another client changed this set. Before: what the lake has now. After: what the plan sends."
THEIRS = "What the other client changed since the last apply."


class ReadsLakeImages(Protocol):
    """Reads images of the lake for a plan that is shown."""

    def image(self, unique_name: str, size_bytes: int | None = None) -> ImageFile:
        """Return a file of the lake. `size_bytes`: None if it is unknown."""
        ...


class PlannedImages(Protocol):
    """What a report needs to know about the actions on one file. Actions are given by their numbers in the plan."""

    def ours(self, numbers: Sequence[int]) -> ImageFile:
        """Return the image after the plan."""
        ...

    def theirs(self, numbers: Sequence[int]) -> ImageFile | None:
        """Return the image that is replaced, or None."""
        ...

    def sets(self, numbers: Sequence[int]) -> Sequence[SetChange]:
        """Return the annotation sets that change."""
        ...


class OpenPlan:
    """A plan in this process, whose state and sources are open."""

    def __init__(self, engine: Engine, observed: Observed, lake: ReadsLakeImages | None) -> None:
        """`lake`: reads images of the lake. None: the plan did not ask the lake."""
        self._plan = observed.planned
        self._state = observed.state
        self._lake = lake
        self._base_dir = str(engine.manifest.base_dir)
        self._actions: list[Action] = list(observed.planned.plan.actions())
        self._lake_identity = lake_identity(engine.manifest)

    def ours(self, numbers: Sequence[int]) -> ImageFile:
        actions = [self._actions[number] for number in numbers]
        for action in actions:
            if action.local_file is not None:
                found = action.local_file.fingerprint
                version = Version(found.size_bytes, found.mtime_ns)
                return LocalImage(os.path.join(self._base_dir, action.local_file.path), version)
        for action in actions:
            if isinstance(action, Annotate | RemoveAnnotations):
                return self._in_lake(action)
        return MissingImage("no source has the file")

    def _in_lake(self, action: SetAction) -> ImageFile:
        """Return the image of a file that the lake has: the local one of a managed file, else the lake's."""
        at = action.at
        if at.managed:
            shown_sets = self._plan.plan.shown_sets
            path = shown_sets.path(action) if shown_sets is not None else None
            if path is None:
                return MissingImage("no source has the file")
            return LocalImage(os.path.join(self._base_dir, path))
        by_name = isinstance(at.place, Address) and at.place.by is By.UNIQUE_NAME
        unique_name = at.name if by_name else at.unique_name
        if self._lake is None:
            return MissingImage("it is only in the lake, and the plan did not ask the lake")
        if unique_name is None:
            return MissingImage("it is only in the lake, and the plan does not know its unique name")
        return self._lake.image(unique_name)

    def theirs(self, numbers: Sequence[int]) -> ImageFile | None:
        for number in numbers:
            action = self._actions[number]
            if isinstance(action, ReplaceFile):
                if self._lake is None:
                    return MissingImage("the plan did not ask the lake")
                replaced = action.replaced
                return self._lake.image(replaced.unique_name, replaced.size_bytes)
        return None

    def sets(self, numbers: Sequence[int]) -> Sequence[SetChange]:
        actions = [self._actions[number] for number in numbers]
        is_new = any(isinstance(action, UploadFile) for action in actions)
        is_replaced = any(isinstance(action, ReplaceFile) for action in actions)
        found: list[SetChange] = []
        for action in actions:
            if isinstance(action, Annotate | RemoveAnnotations):
                found += self._set(action, is_new=is_new, is_replaced=is_replaced)
        return found

    def _set(self, action: SetAction, *, is_new: bool, is_replaced: bool) -> Iterator[SetChange]:
        """Yield the change of a set, and the change that another client made, if the plan read it."""
        operation, kind = action.annotations.operation, action.annotations.kind.value
        after = self._after(action)
        nothing = ImageRecord(after.image, (), after.normalized)
        if is_new:
            yield set_change(operation, kind, nothing, after)
            return
        if is_replaced:
            before = self._base(action)
            # The two images may have different sizes, so the shapes are compared only where their unit is the same.
            is_comparable = before is not None and (before.normalized == after.normalized or not before.shapes)
            yield set_change(operation, kind, before if is_comparable else None, after)
            return
        shown_sets = self._plan.plan.shown_sets
        comparison = shown_sets.compare(action) if shown_sets is not None and shown_sets.is_comparable(action) else None
        if comparison is None or comparison.base == "unknown":
            yield set_change(operation, kind, None, after)
        elif comparison.diff is None:
            yield set_change(operation, kind, nothing, after)
        elif comparison.base == "lake" and isinstance(action, Annotate) and action.theirs is not None:
            # The set that is sent may be a merge, and the lake stores it in its own way: what stays is in both sets.
            same = tuple(unchanged_shapes(inverse(comparison.diff), action.theirs))
            yield SetChange(operation, kind, comparison.diff, unchanged=same, remarks=(OURS_AFTER_THEIRS,))
            if comparison.theirs is not None:
                same = tuple(unchanged_shapes(comparison.theirs, action.theirs))
                yield SetChange(operation, kind, comparison.theirs, unchanged=same, remarks=(THEIRS,))
        else:
            same = tuple(unchanged_shapes(comparison.diff, after))
            yield SetChange(operation, kind, comparison.diff, unchanged=same)

    def _after(self, action: SetAction) -> ImageRecord:
        at, operation = action.at, action.annotations.operation
        if isinstance(action, RemoveAnnotations):
            return ImageRecord(at.name, ())
        if isinstance(at.place, Address):
            return self._plan.addressed.annotations[at.place, operation].record(at.name)
        return self._plan.desired[at.place].record(operation, at.name)

    def _base(self, action: SetAction) -> ImageRecord | None:
        place = action.at.place
        if isinstance(place, Address):
            return None
        recorded = self._state.collections.of_lake(self._lake_identity).get(place)
        if recorded is None:
            return None
        return self._state.of_collection(recorded[0]).base(action.annotations.operation, action.at.name)


class SavedPlanImages:
    """A saved plan. It contains the changes of annotation sets, and no other shapes."""

    def __init__(
        self, base_dir: str, actions: Sequence[ActionDocument], versions: Mapping[tuple[str, str], Version]
    ) -> None:
        """`base_dir`: the manifest's folder. `versions`: collection and file → what the plan saw of the local file."""
        self._base_dir = base_dir
        self._actions = actions
        self._versions = versions

    def ours(self, numbers: Sequence[int]) -> ImageFile:
        for number in numbers:
            action = self._actions[number]
            if action.path is not None:
                version = self._versions.get((action.collection, action.file or ""))
                return LocalImage(os.path.join(self._base_dir, action.path), version)
        if any(self._actions[number].address is not None for number in numbers):
            return MissingImage("it is only in the lake, and a saved plan is shown without asking the lake")
        return MissingImage("the saved plan does not name its local path")

    def theirs(self, numbers: Sequence[int]) -> ImageFile | None:
        if any(self._actions[number].action == "replace" for number in numbers):
            return MissingImage("a saved plan is shown without asking the lake")
        return None

    def sets(self, numbers: Sequence[int]) -> Sequence[SetChange]:
        found: list[SetChange] = []
        for action in (self._actions[number] for number in numbers):
            changes = action.shape_changes
            if changes is not None:
                found.append(_saved_set(action, changes, (OURS_AFTER_THEIRS,) if changes.base == "lake" else ()))
                if changes.by_others is not None:
                    found.append(_saved_set(action, changes.by_others, (THEIRS,)))
        return found


def _saved_set(action: ActionDocument, changes: SetChanges, remarks: tuple[str, ...]) -> SetChange:
    added, removed, changed = [], [], []
    for one in changes.changes:
        before = _shape(one.before) if one.before is not None else None
        after = _shape(one.after) if one.after is not None else None
        if before is not None and after is not None:
            changed.append(ShapeChange(before, after, _aspects(one)))
        elif after is not None:
            added.append(after)
        elif before is not None:
            removed.append(before)
    unchanged = changes.counts.unchanged if changes.counts is not None else 0
    # Which types and labels the unchanged shapes have is not in the plan, only how many they are.
    kinds = {(ShapeType.RECTANGLE, ""): unchanged} if unchanged else {}
    diff = Diff(changes.unit == "fractions", None, tuple(added), tuple(removed), tuple(changed), unchanged_kinds=kinds)
    return SetChange(
        action.operation or "",
        "",
        diff,
        before_known=changes.base != "unknown",
        not_listed=changes.left_out,
        summary=changes.summary,
        remarks=remarks,
    )


def _aspects(change: ChangedShape) -> tuple[Aspect, ...]:
    return tuple(aspect for aspect in Aspect if aspect.value in change.what)


def _shape(values: ShapeValues) -> Shape:
    if values.bbox is not None:
        x, y, width, height = values.bbox
        points: tuple[tuple[float, float], ...] = ((x, y), (width, height))
    else:
        points = tuple(values.points or ())
    attributes = {name: tuple(map(AttributeValue, _listed(value))) for name, value in (values.attributes or {}).items()}
    return Shape(ShapeType(values.type), points, values.label, values.confidence, values.metadata or {}, attributes)


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else [value]
