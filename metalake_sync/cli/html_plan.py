"""A plan as one HTML file: the words of the terminal, with the images behind them.

Owns: which actions are one entry of the report. Must not: draw, or read images (`report`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.plan_lines import GROUP_FROM, SIGNS, details_of, group_key, group_words
from metalake_sync.cli.render_plan import footer
from metalake_sync.core.base_action import CONTENT, VERSION, ActionDocument
from metalake_sync.documents.plan import PlanDocument, plan_document
from metalake_sync.documents.saved_plan_files import write_output
from metalake_sync.errors import UsageError
from metalake_sync.report.image_files import LakeImages, Version
from metalake_sync.report.model import ActionLine, Entry, ReportPlan
from metalake_sync.report.pages import Report, need_libraries, render_report
from metalake_sync.report.planned_images import OpenPlan, PlannedImages, SavedPlanImages

if TYPE_CHECKING:
    from metalake_sync.documents.saved_plan import SavedPlan
    from metalake_sync.engine import Engine, Observed

_WITH_IMAGE = frozenset({"upload", "replace", "annotate", "remove_annotations"})
_OF_SETS = frozenset({"annotate", "remove_annotations"})

NO_SHAPES_OF_NEW_FILES = "A saved plan does not contain the shapes of new files, so they are shown without shapes."


def open_plan_report(engine: Engine, observed: Observed, *, max_images: int, max_bytes: int) -> Report:
    """Return the report of a plan whose state and sources are open. Replaced images are read from the lake."""
    need_libraries()
    document = plan_document(observed.planned.plan)
    if observed.client is None:
        images = OpenPlan(engine, observed, None)
        return render_report(report_plan(document, images), max_images=max_images, max_bytes=max_bytes)
    with LakeImages(observed.client.address) as lake:
        images = OpenPlan(engine, observed, lake)
        return render_report(report_plan(document, images), max_images=max_images, max_bytes=max_bytes)


def saved_plan_report(saved: SavedPlan, manifest: str, *, max_images: int, max_bytes: int) -> Report:
    """Return the report of a saved plan. It asks no lake, and reads no source but the images.

    `manifest`: the manifest's path in this checkout.
    """
    base_dir = manifest if os.path.isdir(manifest) else os.path.dirname(manifest)
    images = SavedPlanImages(base_dir, saved.plan.actions, dict(_versions(saved)))
    remarks = (NO_SHAPES_OF_NEW_FILES,) if any(action.action == "upload" for action in saved.plan.actions) else ()
    return render_report(report_plan(saved.plan, images, remarks), max_images=max_images, max_bytes=max_bytes)


def write_report(report: Report, path: Path) -> None:
    """Write the file, which only its owner can read. Raises UsageError."""
    try:
        write_output(path, report.html)
    except OSError as error:
        raise UsageError(f"cannot write the HTML plan: {error.strerror}", where=str(path)) from error


def _versions(saved: SavedPlan) -> Iterator[tuple[tuple[str, str], Version]]:
    for one in saved.basis:
        size, version = one.facts.get("size"), one.facts.get(VERSION)
        if one.file is not None and isinstance(size, int) and isinstance(version, list):
            yield (one.collection, one.file), Version(size, version[0], one.facts.get(CONTENT))


def report_plan(plan: PlanDocument, images: PlannedImages, remarks: tuple[str, ...] = ()) -> ReportPlan:
    """Return the entries of a plan in the words of the terminal. `remarks`: sentences about the report."""
    return ReportPlan(
        os.path.basename(plan.manifest) or plan.manifest,
        tuple(line.strip() for line in click.unstyle(footer(plan)).splitlines()),
        list(_entries(plan.actions, images)),
        warnings=[(one.code, one.message, one.where) for one in plan.warnings],
        remarks=remarks,
    )


def _entries(actions: Sequence[ActionDocument], images: PlannedImages) -> Iterator[Entry]:
    by_file: dict[tuple[str, str, str | None, str | None], list[int]] = {}
    for number, action in enumerate(actions):
        # Each action on a collection or a download is an entry of its own.
        file = action.file if action.file is not None else f"\0{number}"
        by_file.setdefault((action.type, action.collection, action.address, file), []).append(number)
    keys = {place: _group(actions[number] for number in numbers) for place, numbers in by_file.items()}
    sizes = Counter(keys.values())
    members: dict[Hashable, list[ActionDocument]] = {}
    for place, numbers in by_file.items():
        if keys[place] is not None and sizes[keys[place]] >= GROUP_FROM:
            members.setdefault(keys[place], []).extend(actions[number] for number in numbers)
    texts = {key: _group_text(of_group, sizes[key]) for key, of_group in members.items()}
    for place, numbers in by_file.items():
        yield _entry([actions[number] for number in numbers], numbers, images, texts, keys[place])


def _group(actions: Iterable[ActionDocument]) -> Hashable:
    """Return what files that change in the same way have in common, or None."""
    keys = tuple((action.type, action.collection, action.address, group_key(action)) for action in actions)
    return None if any(key[-1] is None for key in keys) else keys


def _group_text(actions: Sequence[ActionDocument], files: int) -> str:
    by_kind: dict[tuple[str, str | None], list[ActionDocument]] = {}
    for action in actions:
        by_kind.setdefault((action.action, action.operation), []).append(action)
    return f"{files:,} files: {'; '.join(map(group_words, by_kind.values()))}"


def _entry(
    actions: Sequence[ActionDocument],
    numbers: Sequence[int],
    images: PlannedImages,
    texts: dict[Hashable, str],
    key: Hashable,
) -> Entry:
    first = actions[0]
    collection = first.collection if first.address is None else first.address
    names = {action.action for action in actions}
    has_image = first.type == "image" and first.file is not None and bool(names & _WITH_IMAGE)
    return Entry(
        collection,
        first.type,
        first.file if first.file is not None else first.path,
        tuple(map(_line, actions)),
        images.ours(numbers) if has_image else None,
        images.theirs(numbers) if has_image else None,
        "upload" in names,
        partial(images.sets, list(numbers)),
        key if key in texts else None,
        texts.get(key, ""),
        tuple(dict.fromkeys(_labels(actions))),
    )


def _line(action: ActionDocument) -> ActionLine:
    details = list(details_of(action))
    if action.shape_changes is not None:
        details += action.shape_changes.details
    return ActionLine(
        SIGNS[action.action], action.action, action.reason.value, tuple(details), action.action in _OF_SETS
    )


def _labels(actions: Iterable[ActionDocument]) -> Iterator[str]:
    for action in actions:
        if action.shape_changes is not None:
            yield from action.shape_changes.labels
            for one in action.shape_changes.changes:
                yield from (shape.label for shape in (one.before, one.after) if shape is not None)
