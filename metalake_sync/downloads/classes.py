"""The class ids of downloads: one order for all downloads of a manifest.

Owns: which order a download has. The default is the order of the names, over the labels of all downloads without a list
in the manifest. A list in one download also counts for those without one. Must not: read annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from metalake_sync.annotations.writing import class_order
from metalake_sync.core.downloads import DownloadPlan
from metalake_sync.core.notes import counted, some_of
from metalake_sync.errors import ManifestError, SyncError
from metalake_sync.format_registry import numbers_classes
from metalake_sync.manifest import LoadedManifest


def classes_in_common(manifest: LoadedManifest) -> tuple[str, ...]:
    """Return the classes of downloads that list none. Empty: the order of the names.

    Raises ManifestError for a download without a list if two others have different lists.
    """
    wanted = [block.annotations for block in manifest.model.downloads]
    lists = {tuple(one.classes) for one in wanted if one is not None and one.classes}
    if len(lists) < 2:
        return next(iter(lists), ())
    for number, one in enumerate(wanted):
        if one is not None and not one.classes and numbers_classes(one.format):
            raise ManifestError(
                "other downloads list different 'classes', so the class ids of this one are not known",
                where=manifest.where("downloads", number, "annotations"),
                remedy="Add 'classes' here.",
            )
    return ()


def default_order(plans: Iterable[DownloadPlan]) -> tuple[str, ...]:
    """Return the classes of downloads without a list, in the order of their ids."""
    return class_order(plan.labels for plan in plans if plan.spec.annotations and not plan.spec.annotations.classes)


def order_of(plan: DownloadPlan, default: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of a download in the order of their ids. `default`: as `default_order` returned them."""
    listed = plan.spec.annotations.classes if plan.spec.annotations else ()
    return listed or tuple(default)


def labels_not_in(classes: Sequence[str], labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels that have no class id, sorted."""
    return tuple(sorted(set(labels).difference(classes)))


def refusal(labels: Sequence[str]) -> SyncError:
    """Return the error for labels that have no class id."""
    what = counted(len(labels), "label is", "labels are")
    return SyncError(
        f"nothing is downloaded: {what} not among 'classes': {some_of(list(map(repr, labels)))}",
        remedy="Add them to 'classes', correct the shapes in the lake, or exclude them with 'operations' or 'query'.",
    )


def moved_ids(plan: DownloadPlan) -> str:
    """Return, as a clause, which class ids change in a folder, or '' if none does."""
    moved = plan.moved_classes
    if not moved:
        return ""
    before = {label: number for number, label in enumerate(plan.recorded_classes or ())}
    now = {label: number for number, label in enumerate(plan.classes or ())}
    added = [label for label in now if label not in before]
    gone = [label for label in before if label not in now]
    reasons = [
        *([f"new: {some_of(list(map(repr, added)))}"] if added else []),
        *([f"without a shape now: {some_of(list(map(repr, gone)))}"] if gone else []),
    ]
    why = f" ({'; '.join(reasons)})" if reasons else ""
    ids = some_of([f"{label!r} {before[label]} → {now[label]}" for label in moved])
    count = counted(len(moved), "class gets another id", "classes get other ids")
    listed = plan.spec.annotations is not None and plan.spec.annotations.classes
    remedy = "" if listed else ". To fix the ids, list the labels in 'annotations.classes'"
    return (
        f"{count}{why}: {ids}. Ids are counted from 0; COCO's are one higher. A model that was trained on the old ids"
        f" names the wrong classes{remedy}"
    )
