"""A plan as Markdown, for a pull request's comment or a job's summary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

import click

from metalake_sync.cli.render_plan import Line, footer, plan_lines
from metalake_sync.cli.shown_plan import ShownPlan
from metalake_sync.cli.wording import shown
from metalake_sync.core.notes import REFUSALS

ROWS_SHOWN = 100
"""Comments have a limit of some 65,000 characters."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-!|<>~])")


def markdown_plan(plan: ShownPlan) -> Iterator[str]:
    """The lines of a Markdown document: the footer first, then a table for each collection, then the notes."""
    yield f"### metalake-sync plan: {_text(plan.manifest)}"
    yield ""
    yield " ".join(click.unstyle(footer(plan)).split())
    for (name, kind), actions in groupby(plan.actions, key=lambda action: (action.collection, action.type)):
        lines = list(plan_lines(list(actions)))
        yield ""
        yield f"<details><summary>{_text(name)} ({kind}): {len(lines)} changes</summary>"
        yield ""
        yield "| | what | why |"
        yield "| --- | --- | --- |"
        yield from map(_row, lines[:ROWS_SHOWN])
        if len(lines) > ROWS_SHOWN:
            yield f"| | … and {len(lines) - ROWS_SHOWN} more | |"
        yield ""
        yield "</details>"
    if plan.warnings:
        yield ""
    for warning in plan.warnings[:ROWS_SHOWN]:
        word = "refused" if warning.code in REFUSALS else "note"
        where = f"{_text(warning.where)}: " if warning.where else ""
        yield f"- **{word}**: {where}{_text(warning.message)}"
    if len(plan.warnings) > ROWS_SHOWN:
        yield f"- … and {len(plan.warnings) - ROWS_SHOWN} more notes"


def _row(line: Line) -> str:
    return f"| `{line.sign}` | {_text(line.what)} | {_text(line.why)} |"


def _text(text: str) -> str:
    """Text that means nothing to Markdown or a terminal, and can't end a table's cell."""
    return _SPECIAL.sub(r"\\\1", shown(text.replace("\n", " "))).replace("\\<", "&lt;").replace("\\>", "&gt;")
