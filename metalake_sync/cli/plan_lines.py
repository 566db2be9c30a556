"""The lines of a plan, one for each action, which terminal, Markdown and explanations share.

Owns: the wording and the order of lines. The line of an upload includes its annotation sets. Updates of several files
that are equal are one line; files that change in another way come first. A saved plan looks like a new one. Must not:
read a plan except by its document, or print.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, get_args

from metalake_sync.cli.terminal import count, shown, size
from metalake_sync.core.actions import Action
from metalake_sync.core.base_action import ActionDocument, ActionName
from metalake_sync.core.changes import CONTENT, LAKE_ID, SIZE, Change, Reason
from metalake_sync.core.set_changes import EqualChange, RenamedFile, SetChanges
from metalake_sync.lazy_dataclass import dataclass

SIGNS: dict[ActionName, str] = {action.action_name: action.sign for action in get_args(Action)}

VALUE_WIDTH = 60

GROUP_FROM = 3
"""So many files with equal changes are one line."""


@dataclass(frozen=True, slots=True)
class Line:
    sign: str
    what: str
    why: str
    details: tuple[str, ...] = ()
    """The single shapes of a changed annotation set."""
    files: int = 1
    """The number of files that the line covers."""


def plan_lines(actions: Sequence[ActionDocument], *, grouped: bool = False) -> Iterator[Line]:
    """Yield one line for each action of a collection. Annotation sets of uploaded files have no line of their own.

    `grouped`: updates of several files that are equal are one line. Their lines come last, the largest group first.
    """
    new = {action.file for action in actions if brings_sets(action)}
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
    if action.action not in ("annotate", "remove_annotations") or action.shape_changes is None:
        return ()
    theirs = action.shape_changes.by_others
    lines = [*action.shape_changes.details]
    if theirs is not None:
        lines.append(f"the other client: {theirs.summary}")
        lines += (f"  {line}" for line in theirs.details)
    return tuple(map(shown, lines))


def group_key(action: ActionDocument) -> Hashable:
    """Return what updates of several files have in common if they are equal. None: the action has a line of its own."""
    changes = action.shape_changes
    if action.file is None or action.action not in ("update_metadata", "annotate", "remove_annotations"):
        return None
    if changes is None:
        shapes = () if action.action != "remove_annotations" else (action.operation,)
        return (action.action, *shapes, *(_why(action, ()) if not shapes else _reasons(action)))
    own = (action.action, action.operation, *_reasons(action), action.merges)
    others = _others_key(changes)
    if others is None:
        return None
    if action.action == "remove_annotations":
        return *own, others  # Whatever its shapes are, the whole set goes.
    if changes.counts is None:
        return *own, changes.base
    if not changes.equal:
        return None
    return *own, tuple((one.text, one.type) for one in changes.equal), others


def _others_key(changes: SetChanges) -> Hashable:
    """Return what the other client changed. None: its changes need a line of their own."""
    theirs = changes.by_others
    if theirs is None:
        return ()
    return None if theirs.equal is None else tuple((one.text, one.type) for one in theirs.equal)


def group_words(members: Sequence[ActionDocument]) -> str:
    """Return what several files with one `group_key` have in common, with the number of shapes in all of them."""
    first = members[0]
    operation = shown(first.operation or "")
    changes = [action.shape_changes for action in members if action.shape_changes is not None]
    if first.action == "remove_annotations":
        shapes = sum(action.shapes or 0 for action in members)
        words = [*_reasons(first), f"{count(shapes, 'shape')} in {operation}"]
    elif not changes:
        return ", ".join(_why(first, ()))
    elif changes[0].counts is None:
        shapes = sum(action.shapes or 0 for action in members)
        words = [*_reason_of_set(first), f"{operation}: {changes[0].base} → {count(shapes, 'shape')}"]
    else:
        words = [*_reason_of_set(first), f"{operation}: {_equal_words([one.equal or () for one in changes])}"]
    by_others = [one.by_others.equal or () for one in changes if one.by_others is not None]
    theirs = [f"the other client: {_equal_words(by_others)}"] if any(by_others) else []
    return "; ".join([", ".join(words), *theirs])


def _equal_words(sets: Sequence[Sequence[EqualChange]]) -> str:
    """Return the changes that several sets have in common: `RBC relabeled to Erythrocyte, 4,153 boxes`."""
    from metalake_sync.core.shape_summary import counted_shapes
    from metalake_sync.core.shapes import ShapeType

    return "; ".join(
        f"{shown(equal[0].text)}, {counted_shapes(sum(one.shapes for one in equal), ShapeType(equal[0].type))}"
        for equal in zip(*sets, strict=True)
    )


def brings_sets(action: ActionDocument) -> bool:
    """Return whether the line of an action includes the annotation sets of its file."""
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
    yield from _reasons(action)
    if action.renamed_from is not None:
        yield f"from {shown(action.renamed_from)}: the lake cannot rename, so the file is sent again"
    if action.moves is not None:
        yield from _moved_words(action.moves)
    yield from map(change_words, sorted(changes, key=lambda change: change.what == SIZE))
    if action.bytes is not None and not any(change.what == SIZE for change in changes):
        yield _size_words(action.bytes, action.sent_before or 0)
    if action.action in ("annotate", "remove_annotations") and not changes:
        yield _set_words(action)
    yield from map(_set_words, sets)


def _size_words(to_send: int, sent_before: int) -> str:
    """Return how much of a file is sent: all of it, or what an interrupted run left."""
    if not sent_before:
        return size(to_send)
    whole = size(to_send + sent_before)
    return f"{size(to_send)} left of {whole}" if to_send else f"{whole}, all of it sent by an interrupted run"


def details_of(action: ActionDocument) -> Sequence[str]:
    """Return what an action changes, without its reason."""
    words = list(_why(action, ()))
    reason = action.reason.value.replace("_", " ")
    return words[1:] if words[:1] == [reason] else words


def _reasons(action: ActionDocument) -> list[str]:
    """Return the reason, and whether the action overwrites another client's work."""
    overwrites = ["overwrites what another client wrote"] if action.overwrites else []
    return [action.reason.value.replace("_", " "), *overwrites]


def _reason_of_set(action: ActionDocument) -> list[str]:
    """Return the reason, where it says more than that the set changed."""
    reason = _reasons(action)[action.reason is Reason.ANNOTATIONS_CHANGED :]
    merges = ["merged with another client's changes"] if action.merges and not action.overwrites else []
    return [*reason, *merges]


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
