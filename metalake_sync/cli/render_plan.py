"""A plan on a terminal: by collection, one line for each action, notes, and a footer with the counts.

Owns: colors, and how many lines, notes and shapes are shown. Must not: word a line (`plan_lines`), or read a plan
except by its document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import click

from metalake_sync.cli.plan_lines import Line, brings_sets, plan_lines
from metalake_sync.cli.terminal import count, shown, size
from metalake_sync.core.base_action import ActionDocument
from metalake_sync.core.notes import BLOCKING, UNUSABLE, Note
from metalake_sync.core.selection import WHOLE_LAKE
from metalake_sync.documents.plan import PlanDocument, WarningDocument, warning_documents

LINES_SHOWN = 10
"""How many lines of one sign a collection shows, without `--verbose`."""

COLORS = {"+": "green", "~": "yellow", "-": "red", "-/+": "red", "=": "cyan", "<=": "cyan"}

NOTES_SHOWN = 5

DETAILS_SHOWN = 16
"""How many lines about single shapes a collection shows, without `--verbose`."""

LABELS_SHOWN = 8

DETAIL_INDENT = " " * 10


def render_plan(plan: PlanDocument, *, all_lines: bool) -> Iterator[str]:
    """Yield the lines of a plan with colors. `click.echo` removes the colors without a terminal."""
    for heading, actions in groupby(plan.actions, key=_heading):
        yield click.style(heading, bold=True)
        yield from _printed(list(plan_lines(list(actions), grouped=not all_lines)), all_lines)
        yield ""
    yield from _warnings(plan.warnings, all_lines)
    yield footer(plan)


def footer(plan: PlanDocument) -> str:
    """Return the last lines of a plan: the counts."""
    summary = plan.summary
    if not plan.actions:
        unmanaged = f", {summary.unmanaged} unmanaged" if summary.unmanaged else ""
        return f"Nothing to do: {summary.unchanged} unchanged{unmanaged}."
    line = (
        f"Plan: {summary.upload} to add, {_updated(plan.actions)} to update,"
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
            (summary.remove_downloaded, count(summary.remove_downloaded, "local file") + " to remove"),
            (summary.attach_model_run, count(summary.attach_model_run, "model run") + " to attach"),
            (summary.unmanaged, f"{summary.unmanaged} unmanaged, left alone"),
        )
        if number
    ]
    sums = _label_sums(plan)
    return "\n      ".join(
        [click.style(line, bold=True), *([", ".join(extras)] if extras else []), *([sums] if sums else [])]
    )


def _updated(actions: Iterable[ActionDocument]) -> int:
    """Count the files and collections that are updated and not also uploaded. A file with several updates counts
    once."""
    places: dict[bool, set[tuple[str | None, ...]]] = {True: set(), False: set()}
    for action in actions:
        if brings_sets(action) or action.action in ("update_metadata", "annotate", "remove_annotations"):
            places[brings_sets(action)].add((action.address, action.collection, action.type, action.file))
    return len(places[False] - places[True])


def _label_sums(plan: PlanDocument) -> str:
    """Return by how many shapes each label grows or shrinks, as far as the plan knows."""
    sums: Counter[str] = Counter()
    unknown = plan.sets_not_compared or 0
    new = {(action.collection, action.type, action.file) for action in plan.actions if brings_sets(action)}
    of_new_files = False
    for action in plan.actions:
        if action.shape_changes is not None:
            sums.update(action.shape_changes.labels)
            unknown += action.shape_changes.counts is None
        elif action.action == "annotate":
            of_new_files |= (action.collection, action.type, action.file) in new
    order = sorted((label for label in sums if sums[label]), key=lambda label: (-abs(sums[label]), sums[label], label))
    parts = [f"{shown(label)} {'+' if sums[label] > 0 else '−'}{abs(sums[label]):,}" for label in order[:LABELS_SHOWN]]
    if len(order) > LABELS_SHOWN:
        parts.append(f"… and {len(order) - LABELS_SHOWN} more labels")
    left_out = [
        *(["new files"] if of_new_files and parts else []),
        *([f"{count(unknown, 'set')} whose shapes before are unknown"] if unknown and parts else []),
    ]
    without = f" (without {' and '.join(left_out)})" if left_out else ""
    return f"labels: {', '.join(parts)}{without}" if parts else ""


def render_notes(notes: tuple[Note, ...], *, all_notes: bool) -> Iterator[str]:
    """Yield notes by code. Without `all_notes`, only the first few of each code."""
    return _warnings(warning_documents(notes, full_names=all_notes), all_notes)


def _warnings(warnings: Sequence[WarningDocument], all_of_them: bool) -> Iterator[str]:
    by_code: dict[str, list[WarningDocument]] = {}
    for warning in warnings:
        by_code.setdefault(warning.code, []).append(warning)
    for code, group in by_code.items():
        word, color = _word_of(code)
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


def _word_of(code: str) -> tuple[str, str]:
    """Return what a note of a code is called, and its color."""
    if code in BLOCKING:
        return "blocks apply", "red"
    return ("error", "red") if code in UNUSABLE else ("note", "yellow")


def _printed(lines: list[Line], all_lines: bool) -> Iterator[str]:
    by_sign: dict[str, list[Line]] = {}
    for line in lines:
        by_sign.setdefault(line.sign, []).append(line)
    for sign, group in by_sign.items():
        single = [line for line in group if line.files == 1]
        together = [line for line in group if line.files > 1]
        styled = click.style(f"{sign:>3}", fg=COLORS[sign])
        hidden = 0
        # An ellipsis is not shorter than one more line.
        if not all_lines and len(single) > LINES_SHOWN + 1:
            hidden = len(single) - LINES_SHOWN
            single = single[:LINES_SHOWN]
        room = max(1, DETAILS_SHOWN // max(1, sum(bool(line.details) for line in single)))
        width = min(48, max(len(line.what) for line in (*single, *together)))
        for number, line in enumerate((*single, *together)):
            if hidden and number == len(single):
                yield f"  {styled} … and {hidden} more"
            yield f"  {styled} {line.what:<{width}}  {line.why}"
            for detail in line.details if all_lines else _cut_details(line.details, room):
                yield DETAIL_INDENT + detail
        if hidden and not together:
            yield f"  {styled} … and {hidden} more"


def _cut_details(details: tuple[str, ...], room: int) -> Iterator[str]:
    if len(details) <= room:
        yield from details
    else:
        yield from details[: room - 1]
        yield f"{details[room - 1]} …"


def _heading(action: ActionDocument) -> str:
    """Return the heading of an action: its collection, or the address of files that the manifest does not upload."""
    if action.address is None:
        place = "the whole lake" if action.collection == WHOLE_LAKE else shown(action.collection)
        return f"{place} ({action.type})"
    what = f"annotations of {shown(action.operation)}" if action.operation else "metadata"
    return f"{what}, by {shown(action.address)}"
