"""A plan as Markdown, for a pull request's comment or a job's summary.

Names come from anybody, and the comment is posted in the name of the project: nothing in it mentions a person, refers
to an issue, links somewhere or is HTML. Owns: that, and the length of a comment.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

import click

from metalake_sync.cli.plan_document import PlanDocument, WarningDocument
from metalake_sync.cli.render_plan import Line, footer, plan_lines
from metalake_sync.cli.wording import count, shown
from metalake_sync.core.notes import REFUSALS

LENGTH_LIMIT = 60_000
"""Characters. GitHub takes 65,536 in a comment; the rest is left for what a pipeline puts around the plan."""

NOTES_SHARE = 4
"""Notes may take a quarter of the length, and collections half of it before any of their rows."""

CELL_LIMIT = 300
"""Characters of a name or a reason."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-!|~])")
_REFERENCE = re.compile(r"(?<=[@#!~%$&])(?=\w)|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=GH)(?=-\d)", re.IGNORECASE)
_PLAIN_NAME = re.compile(r"[^`|<>&@\\]+")
_NOT_PLAIN = re.compile(r"[^\w\s./=,;-]|_")

_BREAK = "&#8203;"
"""A space without width. After a sigil it keeps GitHub and GitLab from making a mention, a reference or a link."""


def markdown_plan(plan: PlanDocument) -> Iterator[str]:
    """The lines of a Markdown document: the footer first, then a table for each collection, then the notes."""
    head = [
        f"### metalake-sync plan: {_text(plan.manifest)}",
        "",
        " ".join(click.unstyle(footer(plan)).split()),
    ]
    notes = list(_notes(plan.warnings, LENGTH_LIMIT // NOTES_SHARE))
    tables = [
        (f"<code>{_entities(_cut(name))}</code> ({kind})", list(plan_lines(list(actions))))
        for (name, kind), actions in groupby(plan.actions, key=lambda action: (action.collection, action.type))
    ]
    yield from head
    yield from _tables(tables, LENGTH_LIMIT - _length(head) - _length(notes))
    yield from notes


def _tables(tables: Sequence[tuple[str, list[Line]]], room: int) -> Iterator[str]:
    """A table for each collection. The room for rows is shared out fairly: small tables are shown whole."""
    frames: list[list[str]] = []
    taken = 0
    for title, lines in tables:
        frame = _frame(title, lines, 0)
        if taken + _length(frame) > room // 2:
            break
        taken += _length(frame)
        frames.append(frame)
    left, room = len(frames), room - taken
    rows: dict[int, int] = {}
    for number in sorted(range(len(frames)), key=lambda number: len(tables[number][1])):
        share = room // left
        used = 0
        for line in tables[number][1]:
            used += len(_row(line)) + 1
            if used > share:
                break
            rows[number] = rows.get(number, 0) + 1
            room -= len(_row(line)) + 1
        left -= 1
    for number, (title, lines) in enumerate(tables[: len(frames)]):
        yield from _frame(title, lines, rows.get(number, 0))
    rest = tables[len(frames) :]
    if rest:
        changes = sum(len(lines) for _, lines in rest)
        yield ""
        yield f"… and {count(len(rest), 'more collection')} with {count(changes, 'change')}"


def _frame(title: str, lines: Sequence[Line], rows: int) -> list[str]:
    """One collection with its first rows."""
    more = [f"| | … and {len(lines) - rows} more | |"] if rows < len(lines) else []
    return [
        "",
        f"<details><summary>{title}: {count(len(lines), 'change')}</summary>",
        "",
        "| | what | why |",
        "| --- | --- | --- |",
        *map(_row, lines[:rows]),
        *more,
        "",
        "</details>",
    ]


def _notes(warnings: Sequence[WarningDocument], room: int) -> Iterator[str]:
    """As many notes as there is room for, refusals first."""
    ordered = sorted(warnings, key=lambda warning: warning.code not in REFUSALS)
    if ordered:
        yield ""
    for number, warning in enumerate(ordered):
        word = "refused" if warning.code in REFUSALS else "note"
        where = f"{_text(warning.where)}: " if warning.where else ""
        line = f"- **{word}**: {where}{_text(warning.message)}"
        room -= len(line) + 1
        if room < 0:
            yield f"- … and {count(len(ordered) - number, 'more note')}"
            return
        yield line


def _row(line: Line) -> str:
    return f"| `{line.sign}` | {_name(line.what)} | {_text(line.why)} |"


def _name(text: str) -> str:
    """A name as code, in which neither Markdown nor a mention means anything."""
    text = _cut(text)
    return f"`{text}`" if _PLAIN_NAME.fullmatch(text) else f"<code>{_entities(text)}</code>"


def _entities(text: str) -> str:
    """Text inside an HTML tag: whatever Markdown, a mention or a table's cell could be made of becomes an entity."""
    return _NOT_PLAIN.sub(lambda match: f"&#{ord(match[0])};", text)


def _text(text: str) -> str:
    """Text that means nothing to Markdown, GitHub, GitLab or a terminal, and can't end a table's cell."""
    # A zero byte is in no text that is shown: it stands for the break until all else is escaped.
    marked = _REFERENCE.sub("\0", _cut(text.replace("\n", " ")))
    return _SPECIAL.sub(r"\\\1", html.escape(marked, quote=False)).replace("\0", _BREAK)


def _cut(text: str) -> str:
    text = shown(text)
    return text if len(text) <= CELL_LIMIT else f"{text[: CELL_LIMIT // 3]}…{text[-CELL_LIMIT // 3 * 2 :]}"


def _length(lines: Sequence[str]) -> int:
    return sum(len(line) + 1 for line in lines)
