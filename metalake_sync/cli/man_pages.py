"""Manual pages, made from the help of the commands: one for the program, and one for each command.

Owns: the form of a page (roff, with the macros of man(7)). Must not: have a text that the help has.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator

import click

from metalake_sync import __version__
from metalake_sync.errors import ExitCode

PROGRAM = "metalake-sync"

ENVIRONMENT = (
    (
        "METALAKE_SYNC_OPTION",
        "Sets an option: METALAKE_SYNC_LOCK_TIMEOUT is --lock-timeout. The option takes precedence.",
    ),
    (
        "LAYERNEXT_URL, LAYERNEXT_API_KEY, LAYERNEXT_SECRET",
        "The lake and its credentials, for commands without a manifest. A manifest names its own variables.",
    ),
    ("NO_COLOR", "Prints errors without colors."),
    ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "The proxy for requests, also in lower case."),
)

EXIT_STATUS = {
    ExitCode.DONE: "The command succeeded.",
    ExitCode.FAILED: "The command failed.",
    ExitCode.CHANGES: "There are changes. Only with --detailed-exitcode.",
    ExitCode.SOME_FAILED: "The run finished, but some items failed. The output names each of them, and the next run"
    " tries them again. plan also ends with 3 when it cannot use something in a source, or when a download names a"
    " collection or a label that the lake does not have.",
    ExitCode.LAKE_AWAY: "The lake, or the place of the state, could not be reached or kept failing. A later run may"
    " succeed.",
    ExitCode.GUARDED: "A guard stopped the run: a destructive plan was not approved, the plan exceeded --max-delete"
    " (replacements count), a source lost all files that were synced from it, a check of the sources failed, or a saved"
    " plan is stale.",
    ExitCode.LOCKED: "Another run holds the lock.",
    ExitCode.CREDENTIALS_REJECTED: "The lake, or the place of the state, rejected the credentials.",
    ExitCode.USAGE: "The command line or the manifest has an error.",
    ExitCode.INTERRUPTED: "The run was interrupted. What it finished is recorded.",
}
"""The exit codes, as the README has them."""

FILES = (
    (".metalake-sync/NAME.db", "The state, beside the manifest."),
    (".metalakeignore", "Files that no run uploads, in the grammar of .gitignore, in any folder."),
)


def page_names(root: click.Group) -> Iterator[str]:
    """Yield the names of all pages: `metalake-sync`, `metalake-sync-apply`, …"""
    context = click.Context(root, info_name=PROGRAM)
    yield PROGRAM
    for name in root.list_commands(context):
        yield f"{PROGRAM}-{name}"


def man_page(root: click.Group, name: str | None = None) -> str:
    """Return the page of a command, or of the program. A page of a group has its subcommands too."""
    context = click.Context(root, info_name=PROGRAM, help_option_names=["-h", "--help"])
    command: click.Command = root
    if name is not None:
        found = root.get_command(context, name)
        assert found is not None, f"the caller checks that the command '{name}' exists"
        command, context = found, click.Context(found, info_name=name, parent=context)
    title = PROGRAM if name is None else f"{PROGRAM}-{name}"
    summary = "declarative sync of files, metadata and annotations into a LayerNext MetaLake"
    if name is not None:
        summary = command.get_short_help_str(limit=200).rstrip(".")
        summary = summary[:1].lower() + summary[1:]
    lines = [
        f'.TH "{title.upper()}" 1 "" "{PROGRAM} {__version__}" "User Commands"',
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{_roff(title)} \\- {_roff(summary)}",
        *_body(command, context, sections=True),
    ]
    if isinstance(command, click.Group):
        lines += _of_subcommands(command, context, brief=name is None)
    if name is None:
        lines += [".SH EXIT STATUS", *_terms((str(int(code)), words) for code, words in EXIT_STATUS.items())]
        lines += [".SH ENVIRONMENT", *_terms(ENVIRONMENT), ".SH FILES", *_terms(FILES)]
        others = [one for one in page_names(root) if one != PROGRAM]
    else:
        others = [PROGRAM]
    lines += [".SH SEE ALSO", ",\n".join(f"\\fB{_roff(one)}\\fR(1)" for one in others)]
    return "\n".join(lines) + "\n"


def _body(command: click.Command, context: click.Context, *, sections: bool) -> Iterator[str]:
    """Yield synopsis, description, options and examples. `sections`: with a heading for each."""

    def part(heading: str) -> str:
        return f".SH {heading}" if sections else ".PP"

    yield part("SYNOPSIS")
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"\\fB{_roff(context.command_path)}\\fR {_roff(pieces)}"
    yield part("DESCRIPTION")
    yield from _paragraphs(command.help or "")
    yield part("OPTIONS")
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    yield from _terms(record for one in options if (record := one.get_help_record(context)))
    if command.epilog:
        yield part("EXAMPLES")
        examples = re.sub(r"^Examples?: ", "", command.epilog) if sections else command.epilog
        yield from _paragraphs(examples.replace("; metalake-sync ", "\n\nmetalake-sync "))


def _of_subcommands(group: click.Group, context: click.Context, *, brief: bool) -> Iterator[str]:
    yield ".SH COMMANDS"
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if brief:
            yield from _terms([(name, f"{command.get_short_help_str(limit=200)} See {PROGRAM}-{name}(1).")])
        else:
            yield f".SS {_roff(name)}"
            yield from _body(command, click.Context(command, info_name=name, parent=context), sections=False)


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text. One that begins with \\b keeps its lines."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\f")[0].split("\n\n")):
        if number:
            yield ".PP"
        lines = paragraph.strip("\n").split("\n")
        if lines[0].strip() == "\b":
            yield ".nf"
            yield from map(_roff, lines[1:])
            yield ".fi"
        elif any(lines):
            yield _roff(" ".join(line.strip() for line in lines))


def _terms(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, words in rows:
        yield ".TP"
        yield f"\\fB{_roff(term)}\\fR"
        yield _roff(" ".join(words.split())) or "\\&"


_ESCAPES = {"\\": "\\e", "-": "\\-", "^": "\\(ha", "~": "\\(ti", "`": "\\(ga", "'": "\\(aq", "|": "|\\:"}
"""A line may break after the bar between choices."""


def _roff(text: str) -> str:
    """Return text that roff prints as it is. Characters beyond ASCII become escapes, whatever the locale is."""
    text = "".join(_ESCAPES.get(char) or (char if char.isascii() else f"\\[u{ord(char):04X}]") for char in text)
    return f"\\&{text}" if text.startswith(".") else text
