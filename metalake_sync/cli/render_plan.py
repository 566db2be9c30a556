"""A plan on a terminal: by collection, one line for each action with its reason and changes, and a footer.

Owns: the wording and the order of lines. The line of an upload includes its annotation sets. Updates of several files
that are equal are one line; files that change in another way come first. A saved plan looks like a new one. Must not:
read a plan except by its document.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, get_args

import click

from metalake_sync.cli.plan_document import PlanDocument, WarningDocument, warning_documents
from metalake_sync.cli.wording import count, shown, size
from metalake_sync.core.actions import Action
from metalake_sync.core.base_action import ActionDocument, ActionName
from metalake_sync.core.changes import CONTENT, LAKE_ID, SIZE, Change, Reason
from metalake_sync.core.notes import REFUSALS, Note
from metalake_sync.core.selection import WHOLE_LAKE
from metalake_sync.core.set_changes import RenamedFile, SetChanges
from metalake_sync.lazy_dataclass import dataclass

LINES_SHOWN = 10
"""How many lines of one sign a collection shows, without `--verbose`."""

COLORS = {"+": "green", "~": "yellow", "-": "red", "-/+": "red", "=": "cyan", "<=": "cyan"}

SIGNS: dict[ActionName, str] = {action.action_name: action.sign for action in get_args(Action)}

NOTES_SHOWN = 5
VALUE_WIDTH = 60

GROUP_FROM = 3
"""So many files with equal changes are one line."""

DETAILS_SHOWN = 16
"""How many lines about single shapes a collection shows, without `--verbose`."""

LABELS_SHOWN = 8
DETAIL_INDENT = " " * 10


@dataclass(frozen=True, slots=True)
class Line:
    sign: str
    what: str
    why: str
    details: tuple[str, ...] = ()
    """The single shapes of a changed annotation set."""
    files: int = 1
    """The number of files that the line covers."""


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
        if _brings_sets(action) or action.action in ("update_metadata", "annotate", "remove_annotations"):
            places[_brings_sets(action)].add((action.address, action.collection, action.type, action.file))
    return len(places[False] - places[True])


def _label_sums(plan: PlanDocument) -> str:
    """Return by how many shapes each label grows or shrinks, as far as the plan knows."""
    sums: Counter[str] = Counter()
    unknown = plan.sets_not_compared or 0
    new = {(action.collection, action.type, action.file) for action in plan.actions if _brings_sets(action)}
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


def plan_lines(actions: Sequence[ActionDocument], *, grouped: bool = False) -> Iterator[Line]:
    """Yield one line for each action of a collection. Annotation sets of uploaded files have no line of their own.

    `grouped`: updates of several files that are equal are one line. Their lines come last, the largest group first.
    """
    new = {action.file for action in actions if _brings_sets(action)}
    sets: dict[str | None, list[ActionDocument]] = {}
    for action in actions:
        if action.action == "annotate" and action.file in new:
            sets.setdefault(action.file, []).append(action)
    own = [action for action in actions if not (action.action == "annotate" and action.file in new)]
    groups: dict[Hashable, list[ActionDocument]] = {}
    if grouped:
        for action in own:
            groups.setdefault(group_key(action), []).append(action)
    groups = {key: members for key, members in groups.items() if key is not None and len(members) >= GROUP_FROM}
    for action in own:
        if not groups or group_key(action) not in groups:
            why = ", ".join(_why(action, sets.get(action.file, [])))
            yield Line(SIGNS[action.action], _what(action), why, _details(action))
    for members in sorted(groups.values(), key=len, reverse=True):
        yield Line(SIGNS[members[0].action], count(len(members), "file"), group_words(members), files=len(members))


def _details(action: ActionDocument) -> tuple[str, ...]:
    if action.action != "annotate" or action.shape_changes is None:
        return ()
    return tuple(map(shown, action.shape_changes.details))


def group_key(action: ActionDocument) -> Hashable:
    """Return what updates of several files have in common if they are equal. None: the action has a line of its own."""
    changes = action.shape_changes
    if action.file is None or action.action not in ("update_metadata", "annotate"):
        return None
    if changes is None:
        return (action.action, *_why(action, ()))
    if changes.counts is None:
        return action.action, action.reason, action.operation, changes.base
    if not changes.equal:
        return None
    return action.action, action.reason, action.operation, tuple((one.text, one.type) for one in changes.equal)


def group_words(members: Sequence[ActionDocument]) -> str:
    """Return what several files with one `group_key` have in common, with the number of shapes in all of them."""
    first = members[0]
    if first.shape_changes is None:
        return ", ".join(_why(first, ()))
    reason = _reason_of_set(first)
    if first.shape_changes.counts is None:
        shapes = sum(action.shapes or 0 for action in members)
        words = f"{first.shape_changes.base} → {count(shapes, 'shape')}"
    else:
        sums = [0] * len(first.shape_changes.equal or ())
        for action in members:
            for number, one in enumerate((action.shape_changes and action.shape_changes.equal) or ()):
                sums[number] += one.shapes
        from metalake_sync.core.shape_summary import counted_shapes
        from metalake_sync.core.shapes import ShapeType

        words = "; ".join(
            f"{shown(one.text)}, {counted_shapes(number, ShapeType(one.type))}"
            for one, number in zip(first.shape_changes.equal or (), sums, strict=True)
        )
    return ", ".join([*reason, f"{shown(first.operation or '')}: {words}"])


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
            return shown(action.file or action.path or "")


def _why(action: ActionDocument, sets: Sequence[ActionDocument]) -> Iterator[str]:
    """Yield the reason, the values behind it, and the number of bytes or shapes to send."""
    if action.action == "annotate" and action.shape_changes is not None:
        yield from _reason_of_set(action)
        yield _set_change_words(action, action.shape_changes)
        return
    changes = action.changes or ()
    yield action.reason.value.replace("_", " ")
    if action.overwrites:
        yield "overwrites what another client wrote"
    if action.renamed_from is not None:
        yield f"from {shown(action.renamed_from)}: the lake cannot rename, so the file is sent again"
    if action.moves is not None:
        yield from _moved_words(action.moves)
    yield from map(change_words, sorted(changes, key=lambda change: change.what == SIZE))
    if action.bytes is not None and not any(change.what == SIZE for change in changes):
        yield size(action.bytes)
    if action.action in ("annotate", "remove_annotations"):
        yield _set_words(action)
    yield from map(_set_words, sets)


def details_of(action: ActionDocument) -> Sequence[str]:
    """Return what an action changes, without its reason."""
    words = list(_why(action, ()))
    reason = action.reason.value.replace("_", " ")
    return words[1:] if words[:1] == [reason] else words


def _reason_of_set(action: ActionDocument) -> list[str]:
    """Return the reason, where it says more than that the set changed."""
    return [] if action.reason is Reason.ANNOTATIONS_CHANGED else [action.reason.value.replace("_", " ")]


def _set_change_words(action: ActionDocument, changes: SetChanges) -> str:
    """Return what changes in a set: `human: 1 box moved, 21 unchanged`."""
    if changes.counts is None:
        return f"{shown(action.operation or '')}: {changes.base} → {count(action.shapes or 0, 'shape')}"
    return f"{shown(action.operation or '')}: {shown(changes.summary)}"


def _moved_words(moves: RenamedFile) -> Iterator[str]:
    """Yield what a renamed file keeps of its old name, and what it loses."""
    kept = [*(["metadata"] if moves.metadata else []), *(f"annotations of {shown(one)}" for one in moves.annotations)]
    if kept:
        yield f"keeps its {' and '.join(kept)}"
    if not moves.metadata:
        yield "its metadata changes"
    for operation, shapes in moves.left_behind.items():
        yield f"loses {count(shapes, 'shape')} of {shown(operation)}, because the source has none for the new name"


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
