"""Text that users and contributors read is plain technical English.

The project used to have a private idiom ("whoever reads it is told"). This module searches every text for the words and
phrases that gave it away, so that the idiom does not return. `docs/glossary.md` has the terms to use instead.

Run it alone with: python -m pytest -q -n 0 tests/docs/test_language.py
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from metalake_sync.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[2]

BANNED: dict[str, str] = {
    r"whoever": "name the actor: the planner, the lake, another client, the caller",
    r"whomever": "name the actor",
    r"nobody": "name the actor, or say 'no client', 'no caller'",
    r"somebody": "name the actor: another client, the user",
    r"everybody": "name the readers: every user, every client",
    r"(?<!there\s)is no(?! longer| more than| less than|t)": "is not a …, or there is no …",
    r"(?<!there\s)are no(?! longer| more than| less than|t|ne)": "are not …, or there are no …",
    r"(?-i:is none|are none)": "does not exist, is not one",
    r"(is|are|was|were|be) told": "name the actor: prints, reports, receives",
    r"(tell|tells|told|telling) of": "reports, describes, explains",
    r"(is|are|was|were) asked": "name the actor: the planner reads, the lake receives",
    r"such as it is": "say what it is",
    r"be it": "whether it is …",
    r"(be|is|are) had": "is available",
    r"mistakes?": "error",
    r"pictures?": "image, or diagram",
    r"patience": "retry timeout, or backoff",
    r"wish|wishes|wished": "spec, or 'wants'",
    r"of ours": "of this project, of metalake-sync",
    r"anew": "again",
    r"(lay|lays|laid) \w+(?: \w+){0,4} beside": "compares … with …",
    r"meets nothing": "finds nothing",
    r"stands(?! for\b)": "is",
    r"stand (?:in|on|at|under|below|above|beside|before|here|there|as)": "are",
    r"in words": "as text",
    r"hears?|heard": "receives",
    r"doors?": "name the component",
    r"rooms?": "package, module, or space",
    r"look(?:s|ed|ing)? closely|close looks?": "inspects",
    r"go on|goes on|went on|going on": "continues",
    r"by itself": "automatically, or alone",
    r"over and done": "finished",
}
"""Regular expressions of whole words, in any case, with what to write instead. A space matches any white space."""

NOT_YET_REWRITTEN: set[str] = set()
"""Files, and folders without their subfolders, whose text is still to be rewritten.

An entry without any finding has to be removed.
"""

ALLOWED: dict[str, set[str]] = {
    "README.md": {"pictures"},
    "examples/quickstart/README.md": {"pictures"},
    "examples/quickstart/manifest.yaml": {"pictures"},
    "metalake_sync/cli/commands/annotations.py": {"pictures"},
}
"""Banned phrases that a file has to use, such as words of the protocol or of another tool."""


class Finding(NamedTuple):
    """A banned phrase, with its place as `file:line`, or the command whose help has it."""

    file: str
    line: int
    phrase: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.phrase!r}. Write: {self.instead}."


_PATTERN = re.compile(
    "|".join(rf"(?P<_{number}>\b(?:{phrase}))(?!\w)" for number, phrase in enumerate(BANNED)).replace(" ", r"\s+"),
    re.IGNORECASE,
)
_INSTEAD = list(BANNED.values())


def findings_in(text: str, file: str, first_line: int = 1) -> Iterator[Finding]:
    """Yield the banned phrases of a text that begins on `first_line` of `file`."""
    for match in _PATTERN.finditer(text):
        phrase = " ".join(match[0].split())
        if phrase.lower() not in ALLOWED.get(file, ()):
            instead = _INSTEAD[int(str(match.lastgroup)[1:])]
            yield Finding(file, first_line + text.count("\n", 0, match.start()), phrase, instead)


def texts_in_python(source: str) -> Iterator[tuple[int, str]]:
    """Yield the string literals, docstrings and comments of a module with the number of their first line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if block and token.start[0] != last + 1:
                yield last - len(block) + 1, "\n".join(block)
                block = []
            last = token.start[0]
            block.append(token.string.lstrip("#"))
    if block:
        yield last - len(block) + 1, "\n".join(block)


def is_pending(file: str) -> bool:
    return file in NOT_YET_REWRITTEN or file.rpartition("/")[0] in NOT_YET_REWRITTEN


@cache
def all_findings() -> tuple[Finding, ...]:
    found: list[Finding] = []
    for path in sorted((ROOT / "metalake_sync").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        for line, text in texts_in_python(path.read_text()):
            found += findings_in(text, file, line)
    for path in pages():
        found += findings_in(path.read_text(), path.relative_to(ROOT).as_posix())
    for name, text in help_texts():
        found += (one._replace(file="--help", phrase=f"{name}: {one.phrase}") for one in findings_in(text, "--help"))
    return tuple(found)


def pages() -> Iterator[Path]:
    """Yield the README and every page of the documentation and the examples."""
    yield from sorted(ROOT.glob("*.md"))
    for folder in ("docs", "examples"):
        yield from sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in (".md", ".yaml", ".yml"))


def help_texts() -> Iterator[tuple[str, str]]:
    """Yield the help of every command and subcommand as printed, without wrapped lines."""
    context = click.Context(cli, info_name="metalake-sync", max_content_width=10_000, terminal_width=10_000)
    yield "metalake-sync", cli.get_help(context)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None, name
        yield from _help_of(name, command, context)


def _help_of(name: str, command: click.Command, parent: click.Context) -> Iterator[tuple[str, str]]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=10_000, terminal_width=10_000)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for sub, subcommand in command.commands.items():
            yield from _help_of(f"{name} {sub}", subcommand, context)


def test_no_text_uses_a_banned_phrase() -> None:
    found = [str(one) for one in all_findings() if not is_pending(one.file)]
    assert not found, "\n" + "\n".join(found)


def test_the_list_of_files_to_rewrite_shrinks() -> None:
    """A file or folder that has no banned phrase any more must not be listed."""
    files = {one.file for one in all_findings()}
    done = sorted(NOT_YET_REWRITTEN - files - {file.rpartition("/")[0] for file in files})
    assert not done, f"remove from NOT_YET_REWRITTEN, which is rewritten already: {done}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Whoever reads this", 1),
        ("a file that\nis\nno image", 2),
        ("there is no such file; it is no longer here", None),
        ("it understands the request", None),
        ("the value stands\nin the manifest", 1),
        ("`*` stands for every item", None),
    ],
)
def test_the_search_finds_phrases_across_lines(text: str, line: int | None) -> None:
    assert [one.line for one in findings_in(text, "example")] == ([line] if line else [])


def test_python_sources_are_searched_in_strings_docstrings_and_comments() -> None:
    source = '"""Whoever."""\n\nx = f"{1} nobody"\n# a comment\n# of ours\nnobody = 1\n'
    found = [one for line, text in texts_in_python(source) for one in findings_in(text, "x.py", line)]
    assert sorted((one.line, one.phrase.lower()) for one in found) == [(1, "whoever"), (3, "nobody"), (5, "of ours")]
