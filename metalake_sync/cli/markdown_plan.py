"""A plan as Markdown, for a pull request's comment or a job's summary.

Owns: the escaping, and the length of a comment. Untrusted users choose names, and the project posts the comment. So
nothing in it may mention a person, refer to an issue, be a link or be HTML. Must not: decide what a plan shows
(`plan_lines`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

import click

from metalake_sync.cli.plan_lines import Line, plan_lines
from metalake_sync.cli.render_plan import footer
from metalake_sync.cli.terminal import count, shown
from metalake_sync.core.notes import BLOCKING
from metalake_sync.documents.plan import PlanDocument, WarningDocument

LENGTH_LIMIT = 60_000
"""Maximum number of characters. GitHub accepts 65,536; the rest is for text that a pipeline adds."""

NOTES_SHARE = 4
"""Notes may take a quarter of the length. Collections may take half of it without their rows."""

CELL_LIMIT = 300
"""Maximum number of characters of a name or a reason."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-!|~])")
_REFERENCE = re.compile(r"(?<=[@#!~%$&])(?=\w)|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=GH)(?=-\d)", re.IGNORECASE)
_PLAIN_NAME = re.compile(r"[^`|<>&@\\]+")
_NOT_PLAIN = re.compile(r"[^\w\s./=,;-]|_")

_BREAK = "&#8203;"
"""A zero-width space. After a sigil, it stops GitHub and GitLab from making a mention, a reference or a link."""


def markdown_plan(plan: PlanDocument) -> Iterator[str]:
    """Yield the lines of a Markdown document: the footer, a table for each collection, and the notes."""
    head = [
        f"### metalake-sync plan: {_text(plan.manifest)}",
        "",
        "; ".join(_text(line.strip()) for line in click.unstyle(footer(plan)).splitlines()),
    ]
    notes = list(_notes(plan.warnings, LENGTH_LIMIT // NOTES_SHARE))
    tables = [
        (f"<code>{_entities(_cut(name))}</code> ({kind})", list(plan_lines(list(actions), grouped=True)))
        for (name, kind), actions in groupby(plan.actions, key=lambda action: (action.collection, action.type))
    ]
    yield from head
    yield from _tables(tables, LENGTH_LIMIT - _length(head) - _length(notes))
    yield from notes


def _tables(tables: Sequence[tuple[str, list[Line]]], space: int) -> Iterator[str]:
    """Yield a table for each collection. Tables share the space for rows fairly; small tables are complete."""
    frames: list[list[str]] = []
    taken = 0
    for title, lines in tables:
        frame = _frame(title, lines, 0)
        if taken + _length(frame) > space // 2:
            break
        taken += _length(frame)
        frames.append(frame)
    left, space = len(frames), space - taken
    rows: dict[int, int] = {}
    for number in sorted(range(len(frames)), key=lambda number: len(tables[number][1])):
        share = space // left
        used = 0
        for line in tables[number][1]:
            used += len(_row(line)) + 1
            if used > share:
                break
            rows[number] = rows.get(number, 0) + 1
            space -= len(_row(line)) + 1
        left -= 1
    for number, (title, lines) in enumerate(tables[: len(frames)]):
        yield from _frame(title, lines, rows.get(number, 0))
    rest = tables[len(frames) :]
    if rest:
        changes = sum(line.files for _, lines in rest for line in lines)
        yield ""
        yield f"… and {count(len(rest), 'more collection')} with {count(changes, 'change')}"


def _frame(title: str, lines: Sequence[Line], rows: int) -> list[str]:
    """Return the table of a collection with its first rows."""
    hidden = sum(line.files for line in lines[rows:])
    more = [f"| | … and {hidden} more | |"] if hidden else []
    return [
        "",
        f"<details><summary>{title}: {count(sum(line.files for line in lines), 'change')}</summary>",
        "",
        "| | what | why |",
        "| --- | --- | --- |",
        *map(_row, lines[:rows]),
        *more,
        "",
        "</details>",
    ]


def _notes(warnings: Sequence[WarningDocument], space: int) -> Iterator[str]:
    """Yield as many notes as there is space for, blocking notes first."""
    ordered = sorted(warnings, key=lambda warning: warning.code not in BLOCKING)
    if ordered:
        yield ""
    for number, warning in enumerate(ordered):
        word = "blocks apply" if warning.code in BLOCKING else "note"
        where = f"{_text(warning.where)}: " if warning.where else ""
        line = f"- **{word}**: {where}{_text(warning.message)}"
        space -= len(line) + 1
        if space < 0:
            yield f"- … and {count(len(ordered) - number, 'more note')}"
            return
        yield line


def _row(line: Line) -> str:
    why = "<br>".join(_text(text.strip()) for text in (line.why, *line.details))
    return f"| `{line.sign}` | {_name(line.what)} | {why} |"


def _name(text: str) -> str:
    """Return a name as code, in which Markdown and mentions have no effect."""
    text = _cut(text)
    return f"`{text}`" if _PLAIN_NAME.fullmatch(text) else f"<code>{_entities(text)}</code>"


def _entities(text: str) -> str:
    """Return text for an HTML tag: every character with a meaning in Markdown, a mention or a table is an entity."""
    return _NOT_PLAIN.sub(lambda match: f"&#{ord(match[0])};", text)


def _text(text: str) -> str:
    """Return text that has no meaning to Markdown, GitHub, GitLab or a terminal, and does not end a table's cell."""
    # `shown` leaves no zero byte, so it can mark the places of breaks until everything else is escaped.
    marked = _REFERENCE.sub("\0", _cut(text.replace("\n", " ")))
    return _SPECIAL.sub(r"\\\1", html.escape(marked, quote=False)).replace("\0", _BREAK)


def _cut(text: str) -> str:
    text = shown(text)
    return text if len(text) <= CELL_LIMIT else f"{text[: CELL_LIMIT // 3]}…{text[-CELL_LIMIT // 3 * 2 :]}"


def _length(lines: Sequence[str]) -> int:
    return sum(len(line) + 1 for line in lines)
