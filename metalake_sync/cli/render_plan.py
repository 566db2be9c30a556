"""A plan on a terminal: by collection, one line for each action with its reason and changes, and a footer.

Owns: the wording and the order of lines. The line of an upload includes its annotation sets. A saved plan looks like a
new one. Must not: read a plan except by its document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, get_args

import click

from metalake_sync.cli.plan_document import PlanDocument, WarningDocument, warning_documents
from metalake_sync.cli.wording import count, shown, size
from metalake_sync.core.actions import Action
from metalake_sync.core.base_action import ActionDocument, ActionName
from metalake_sync.core.changes import CONTENT, LAKE_ID, SIZE, Change
from metalake_sync.core.notes import REFUSALS, Note
from metalake_sync.core.selection import WHOLE_LAKE
from metalake_sync.lazy_dataclass import dataclass

LINES_SHOWN = 10
"""How many lines of one sign a collection shows, without `--verbose`."""

COLORS = {"+": "green", "~": "yellow", "-": "red", "-/+": "red", "=": "cyan", "<=": "cyan"}

SIGNS: dict[ActionName, str] = {action.action_name: action.sign for action in get_args(Action)}

NOTES_SHOWN = 5
VALUE_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Line:
    sign: str
    what: str
    why: str


def render_plan(plan: PlanDocument, *, all_lines: bool) -> Iterator[str]:
    """Yield the lines of a plan with colors. `click.echo` removes the colors without a terminal."""
    for heading, actions in groupby(plan.actions, key=_heading):
        yield click.style(heading, bold=True)
        yield from _grouped(list(plan_lines(list(actions))), all_lines)
        yield ""
    yield from _warnings(plan.warnings, all_lines)
    yield footer(plan)


def footer(plan: PlanDocument) -> str:
    """Return the last line of a plan: the counts."""
    summary = plan.summary
    new = {(action.collection, action.type, action.file) for action in plan.actions if _brings_sets(action)}
    later_sets = sum(
        action.action in ("annotate", "remove_annotations") and (action.collection, action.type, action.file) not in new
        for action in plan.actions
    )
    if not plan.actions:
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
            (summary.attach_model_run, count(summary.attach_model_run, "model run") + " to attach"),
            (summary.unmanaged, f"{summary.unmanaged} unmanaged, left alone"),
        )
        if number
    ]
    return "\n      ".join([click.style(line, bold=True), *([", ".join(extras)] if extras else [])])


def render_notes(notes: tuple[Note, ...], *, all_notes: bool) -> Iterator[str]:
    """Yield notes by code. Without `all_notes`, only the first few of each code."""
    return _warnings(warning_documents(notes, full_names=all_notes), all_notes)


def _warnings(warnings: Sequence[WarningDocument], all_of_them: bool) -> Iterator[str]:
    by_code: dict[str, list[WarningDocument]] = {}
    for warning in warnings:
        by_code.setdefault(warning.code, []).append(warning)
    for code, group in by_code.items():
        word, color = ("refused", "red") if code in REFUSALS else ("note", "yellow")
        visible = group if all_of_them else group[:NOTES_SHOWN]
        for warning in visible:
            where = f"{warning.where}: " if warning.where else ""
            yield click.style(f"{word}: ", fg=color) + shown(where + warning.message)
        if len(group) > len(visible):
            yield (
                click.style(f"{word}: ", fg=color) + f"and {len(group) - len(visible)} more of this kind (-v shows all)"
            )
    if warnings:
        yield ""


def _grouped(lines: list[Line], all_lines: bool) -> Iterator[str]:
    by_sign: dict[str, list[Line]] = {}
    for line in lines:
        by_sign.setdefault(line.sign, []).append(line)
    for sign, group in by_sign.items():
        # An ellipsis is not shorter than one more line.
        visible = group if all_lines or len(group) <= LINES_SHOWN + 1 else group[:LINES_SHOWN]
        width = min(48, max(len(line.what) for line in visible))
        for line in visible:
            yield f"  {click.style(f'{sign:>3}', fg=COLORS[sign])} {line.what:<{width}}  {line.why}"
        if len(group) > len(visible):
            yield f"  {click.style(f'{sign:>3}', fg=COLORS[sign])} … and {len(group) - len(visible)} more"


def _heading(action: ActionDocument) -> str:
    """Return the heading of an action: its collection, or the address of files that the manifest does not upload."""
    if action.address is None:
        place = "the whole lake" if action.collection == WHOLE_LAKE else shown(action.collection)
        return f"{place} ({action.type})"
    what = f"annotations of {shown(action.operation)}" if action.operation else "metadata"
    return f"{what}, by {shown(action.address)}"


def plan_lines(actions: Sequence[ActionDocument]) -> Iterator[Line]:
    """Yield one line for each action of a collection. Annotation sets of uploaded files have no line of their own."""
    new = {action.file for action in actions if _brings_sets(action)}
    sets: dict[str | None, list[ActionDocument]] = {}
    for action in actions:
        if action.action == "annotate" and action.file in new:
            sets.setdefault(action.file, []).append(action)
    for action in actions:
        if not (action.action == "annotate" and action.file in new):
            yield Line(SIGNS[action.action], _what(action), ", ".join(_why(action, sets.get(action.file, []))))


def _brings_sets(action: ActionDocument) -> bool:
    return action.action in ("upload", "replace")


def _what(action: ActionDocument) -> str:
    match action.action:
        case "create_collection":
            return "the collection"
        case "update_metadata" if action.file is None:
            return "the collection's metadata"
        case "trash" if action.file is None:
            return f"the collection with {count(action.items or 0, 'item')}"
        case "attach_model_run":
            return f"model run {shown(action.operation or '')} to project {shown(action.project or '')}"
        case _:
            return shown(action.path or action.file or "")


def _why(action: ActionDocument, sets: Sequence[ActionDocument]) -> Iterator[str]:
    """Yield the reason, the values behind it, and the number of bytes or shapes to send."""
    changes = action.changes or ()
    yield action.reason.value.replace("_", " ")
    if action.overwrites:
        yield "overwrites what another client wrote"
    if action.renamed_from is not None:
        yield f"from {shown(action.renamed_from)}: the lake cannot rename, so the file is sent again"
    yield from map(change_words, sorted(changes, key=lambda change: change.what == SIZE))
    if action.bytes is not None and not any(change.what == SIZE for change in changes):
        yield size(action.bytes)
    if action.action in ("annotate", "remove_annotations"):
        yield _set_words(action)
    yield from map(_set_words, sets)


def _set_words(action: ActionDocument) -> str:
    return f"{count(action.shapes or 0, 'shape')} in {shown(action.operation or '')}"


def change_words(change: Change) -> str:
    """Return the values of a change: `Tags: [a] → [a, b]`, `content: 3f1c… → a210…`."""
    if change.what == SIZE:
        return f"{size(change.before)} → {size(change.after)}"
    shorten = _short_digest if change.what in (CONTENT, LAKE_ID) else value_words
    return f"{shown(change.what)}: {shorten(change.before)} → {shorten(change.after)}"


def _short_digest(value: Any) -> str:
    if value is None:
        return "none"
    text = shown(str(value))
    return f"{text[:4]}…{text[-4:]}" if len(text) > 12 else text


def value_words(value: Any) -> str:
    """Return a metadata value as short text."""
    match value:
        case None:
            text = "none"
        case str():
            text = value
        case list() if all(isinstance(item, str) for item in value):
            text = f"[{', '.join(value)}]"
        case _:
            text = json.dumps(value, ensure_ascii=False)
    text = shown(text.replace("\n", " "))
    return text if len(text) <= VALUE_WIDTH else text[: VALUE_WIDTH - 1] + "…"
