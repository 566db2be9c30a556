"""`metalake-sync man`: print or write the manual pages."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from metalake_sync.cli.options import FolderPath, option
from metalake_sync.cli.terminal import count, say, shown
from metalake_sync.errors import UsageError


@click.command(
    "man",
    epilog="Examples: metalake-sync man --to ~/.local/share/man/man1; metalake-sync man apply | man -l -",
)
@option(
    "--to",
    type=FolderPath(),
    help="Write the pages of all commands into this folder. It is created if it does not exist.",
)
@click.argument("name", metavar="[COMMAND]", required=False)
def man_command(name: str | None, to: Path | None) -> None:
    """Print the manual page of the program or of a command, for man(1).

    With --to, write all pages. 'man metalake-sync' and 'man metalake-sync-apply' then find them, if man searches the
    folder above: manpath(1) lists where it does.
    """
    from metalake_sync.cli.main import COMMANDS, cli
    from metalake_sync.cli.man_pages import PROGRAM, man_page, page_names

    if name is not None and name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        remedy = f"Did you mean '{near[0]}'?" if near else "'metalake-sync --help' lists the commands."
        raise UsageError(f"'{shown(name)}' is not a command", remedy=remedy)
    if to is None:
        click.echo(man_page(cli, name), nl=False)
        return
    if name is not None:
        raise UsageError("--to writes the pages of all commands", remedy="Remove the command, or remove --to.")
    try:
        to.mkdir(parents=True, exist_ok=True)
        written = 0
        for page in page_names(cli):
            of = None if page == PROGRAM else page.removeprefix(f"{PROGRAM}-")
            (to / f"{page}.1").write_text(man_page(cli, of))
            written += 1
    except OSError as error:
        raise UsageError(f"'{to}' cannot be written: {error.strerror}", remedy="Choose another folder.") from None
    say(f"Wrote {count(written, 'page')} into {shown(str(to))}. Read one with: man {PROGRAM}-apply")
