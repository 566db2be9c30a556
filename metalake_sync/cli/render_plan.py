"""A plan on a terminal: one line for each action with its reason, by collection, and a footer.

Signs are Terraform's: `+` add, `~` update, `-` trash, `-/+` replace, `<=` download, `=` adopt. An upload's annotation
sets stand on its own line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

import click

from metalake_sync.cli.wording import count, shown, size
from metalake_sync.core.actions import (
    Action,
    AdoptFile,
    Annotate,
    CreateCollection,
    DownloadAnnotations,
    DownloadFile,
    RemoveAnnotations,
    ReplaceFile,
    TrashFile,
    TrashMatched,
    UpdateFileMetadata,
    UpdateHead,
    UploadFile,
)
from metalake_sync.core.facts import CollectionKey
from metalake_sync.core.notes import REFUSALS, Note, NoteCode
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.core.selection import WHOLE_LAKE

LINES_SHOWN = 10
"""How many lines of one sign a collection shows unless all are asked for."""

COLORS = {"+": "green", "~": "yellow", "-": "red", "-/+": "red", "=": "cyan", "<=": "cyan"}

NOTES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Line:
    sign: str
    what: str
    why: str


def render_plan(plan: Plan, *, all_lines: bool) -> Iterator[str]:
    """The lines of a plan, coloured; whoever prints them strips colours where there is no terminal."""
    for collection in plan.collections:
        lines = list(_lines(collection))
        if not lines:
            continue
        yield click.style(f"{shown(collection.key.name)} ({collection.key.type.value})", bold=True)
        yield from _grouped(lines, all_lines)
        yield ""
    for heading, actions in _beside_collections(plan):
        yield click.style(heading, bold=True)
        yield from _grouped([_line(action, {}) for action in actions], all_lines)
        yield ""
    yield from render_notes(plan.notes, all_notes=all_lines)
    yield footer(plan)


def footer(plan: Plan) -> str:
    """The line that everybody looks for."""
    summary = plan.summary()
    new = {(c.key, upload.file.name) for c in plan.collections for upload in c.uploads}
    later_sets = sum((action.collection, action.name) not in new for c in plan.collections for action in c.annotations)
    if not summary.changes:
        unmanaged = f", {summary.unmanaged} unmanaged" if summary.unmanaged else ""
        return f"Nothing to do: {summary.unchanged} unchanged{unmanaged}."
    line = (
        f"Plan: {summary.upload} to add, {summary.update_metadata + later_sets} to update,"
        f" {summary.replace} to replace, {summary.trash} to trash, {summary.unchanged} unchanged"
        f" ({size(summary.bytes_to_send)} to send)"
    )
    extras = [
        text
        for number, text in (
            (summary.create_collection, count(summary.create_collection, "collection") + " to create"),
            (summary.adopt, f"{summary.adopt} to adopt"),
            (summary.download, f"{summary.download} to download"),
            (summary.annotate, count(summary.annotate, "annotation set") + " to send"),
            (summary.remove_annotations, count(summary.remove_annotations, "annotation set") + " to clear"),
            (summary.unmanaged, f"{summary.unmanaged} unmanaged, left alone"),
        )
        if number
    ]
    return "\n      ".join([click.style(line, bold=True), *([", ".join(extras)] if extras else [])])


def render_notes(notes: tuple[Note, ...], *, all_notes: bool) -> Iterator[str]:
    """Notes by kind; the first few of each unless all are asked for."""
    by_code: dict[NoteCode, list[Note]] = {}
    for note in notes:
        by_code.setdefault(note.code, []).append(note)
    for code, group in by_code.items():
        word, color = ("refused", "red") if code in REFUSALS else ("note", "yellow")
        visible = group if all_notes else group[:NOTES_SHOWN]
        for note in visible:
            yield click.style(f"{word}: ", fg=color) + shown(str(note))
        if len(group) > len(visible):
            yield click.style(f"{word}: ", fg=color) + f"and {len(group) - len(visible)} more like it (-v shows all)"
    if notes:
        yield ""


def _beside_collections(plan: Plan) -> Iterator[tuple[str, list[Action]]]:
    """Downloads and trash rules that have something to do, each with its heading."""
    for download in plan.downloads:
        actions: list[Action] = [*download.files, *download.annotations]
        if actions:
            yield f"{_place(download.wish.key)} → {shown(download.wish.to)}", actions
    for rule in plan.trash_rules:
        if rule.items:
            query = f" {rule.selection.query}" if rule.selection.query else ""
            yield f"trash rule for {_place(rule.selection.key)}{shown(query)}", list(rule.items)


def _place(key: CollectionKey) -> str:
    return f"the lake ({key.type.value})" if key.name == WHOLE_LAKE else f"{shown(key.name)} ({key.type.value})"


def _grouped(lines: list[Line], all_lines: bool) -> Iterator[str]:
    by_sign: dict[str, list[Line]] = {}
    for line in lines:
        by_sign.setdefault(line.sign, []).append(line)
    for sign, group in by_sign.items():
        # A list that is one line too long is not worth an ellipsis.
        visible = group if all_lines or len(group) <= LINES_SHOWN + 1 else group[:LINES_SHOWN]
        width = min(48, max(len(line.what) for line in visible))
        for line in visible:
            yield f"  {click.style(f'{sign:>3}', fg=COLORS[sign])} {line.what:<{width}}  {line.why}"
        if len(group) > len(visible):
            yield f"  {click.style(f'{sign:>3}', fg=COLORS[sign])} … and {len(group) - len(visible)} more"


def _lines(collection: CollectionPlan) -> Iterator[Line]:
    new = {upload.file.name for upload in collection.uploads}
    sets: dict[str, list[Annotate]] = {}
    for annotate in collection.annotations:
        if isinstance(annotate, Annotate) and annotate.name in new:
            sets.setdefault(annotate.name, []).append(annotate)
    for action in collection.actions():
        if isinstance(action, Annotate) and action.name in new:
            continue
        yield _line(action, sets)


def _line(action: Action, sets: dict[str, list[Annotate]]) -> Line:
    why = action.reason.value.replace("_", " ")
    match action:
        case CreateCollection():
            return Line("+", "the collection", why)
        case UpdateHead():
            return Line("~", "the collection's metadata", why)
        case UploadFile() | ReplaceFile():
            details = [why, size(action.file.fingerprint.size_bytes)]
            details += [_set_words(s) for s in sets.get(action.file.name, ())]
            sign = "+" if isinstance(action, UploadFile) else "-/+"
            return Line(sign, shown(action.file.path), ", ".join(details))
        case AdoptFile():
            return Line("=", shown(action.file.path), why)
        case UpdateFileMetadata():
            return Line("~", shown(action.file.path), why)
        case Annotate():
            return Line("~", shown(action.name), f"{why}, {_set_words(action)}")
        case RemoveAnnotations():
            words = f"{count(action.annotations.shape_count, 'shape')} of {shown(action.annotations.operation)}"
            return Line("-", shown(action.name), f"{why}: {words}")
        case TrashFile():
            return Line("-", shown(action.recorded.name), why)
        case TrashMatched():
            return Line("-", shown(action.file.unique_name), why)
        case DownloadFile():
            return Line("<=", shown(action.path), why)
        case DownloadAnnotations():
            return Line("<=", shown(action.path), f"{why}, {count(action.images, 'image')}")
        case _:
            assert_never(action)


def _set_words(action: Annotate) -> str:
    return f"{count(action.annotations.shape_count, 'shape')} in {shown(action.annotations.operation)}"
