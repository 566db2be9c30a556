"""`metalake-sync ui`: a manifest's status, plans, runs and history as pages in the browser."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.manifest_options import ManifestFlags, RunFlags, max_delete_of, observes, takes_manifest
from metalake_sync.cli.options import option
from metalake_sync.cli.terminal import echo_json
from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.core.events import EventSink
    from metalake_sync.engine import Engine
    from metalake_sync.state.runs import ActionRow, Values
    from metalake_sync.web.access import RemoteAccess
    from metalake_sync.web.words import ActionWords, Words


@click.command("ui", epilog="Example: metalake-sync ui birds.yaml --open")
@takes_manifest
@observes
@option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 selects a free one.")
@option("--read-only", is_flag=True, help="Show plans and history, and apply or revert nothing.")
@option(
    "--allow-remote",
    is_flag=True,
    help="Serve other machines too, after they sign in with the password. Use it behind a proxy with TLS.",
)
@option("--password-file", metavar="FILE", help="File with the password on its first line, for --allow-remote.")
@option(
    "--public-host",
    "public_hosts",
    multiple=True,
    metavar="NAME[:PORT]",
    help="A name under which browsers of other machines reach the server. Can be given several times.",
)
@option("--open", "open_browser", is_flag=True, help="Open the address in the default browser.")
@option(
    "--max-delete",
    metavar="N|P%",
    help="Do not apply a plan that would trash or replace more files."
    " [default: 50% of a collection or 1000 files, whichever is smaller]",
)
def ui_command(
    flags: ManifestFlags,
    run: RunFlags,
    host: str,
    port: int,
    read_only: bool,
    allow_remote: bool,
    password_file: str | None,
    public_hosts: tuple[str, ...],
    open_browser: bool,
    max_delete: str | None,
) -> None:
    """Show a manifest in the browser: its status, plans with images, the lake, runs and history. Apply plans there.

    The command prints an address whose token is valid once, for the browser that opens it. It serves this machine only,
    unless --allow-remote is given, until Ctrl-C or SIGTERM. A run that is active then is cancelled; what it finished is
    recorded.
    """
    from metalake_sync.manifest.reading import is_stream
    from metalake_sync.report.pages import need_libraries
    from metalake_sync.web.server import serve_until_stopped
    from metalake_sync.web.workspace import Workspace

    for source in (flags.manifest, *flags.var_file):
        if is_stream(source):
            what = "standard input" if source == "-" else f"'{source}' is a pipe, which"
            raise UsageError(f"{what} cannot be read again for each plan", remedy="Write its content to a file.")
    need_libraries("the pages need", "ui")
    remote = _remote_access(host, password_file, public_hosts, allowed=allow_remote)
    options = replace(run.options(), max_delete=max_delete_of(max_delete))

    def open_engine(emit: EventSink, is_cancelled: Callable[[], bool] | None) -> Engine:
        return flags.engine(emit, replace(options, is_cancelled=is_cancelled))

    manifest = open_engine(lambda _event: None, None).manifest

    def announce(address: str) -> None:
        if flags.as_json:
            echo_json(f'{{"address": "{address}"}}')
        else:
            click.echo(f"Open {address}")
            if not flags.quiet:
                click.echo("The token in it is valid once. Ctrl-C ends the server.")
        if open_browser:
            webbrowser.open(address)

    serve_until_stopped(
        Workspace(manifest.name, open_engine, words(), read_only=read_only), host, port, announce, remote
    )


def _remote_access(
    host: str, password_file: str | None, names: tuple[str, ...], *, allowed: bool
) -> RemoteAccess | None:
    """Return how other machines may use the server, or None. Raises UsageError for options that do not fit."""
    from metalake_sync.web.access import WILDCARDS, RemoteAccess, read_password

    if not allowed:
        for flag, given in (("--password-file", password_file), ("--public-host", names)):
            if given:
                raise UsageError(f"'{flag}' needs '--allow-remote'", remedy="Add it, or remove the option.")
        return None
    if password_file is None:
        raise UsageError("'--allow-remote' needs a password", remedy="Write one to a file, and add '--password-file'.")
    if host in WILDCARDS and not names:
        remedy = "Add '--public-host' with the name that browsers use."
        raise UsageError(f"'--host {host}' does not tell the names of the server", remedy=remedy)
    return RemoteAccess(read_password(password_file), names)


def words() -> Words:
    """Return the words of the terminal, for the pages."""
    from metalake_sync.cli.commands.history import detailed_document
    from metalake_sync.cli.html_plan import report_plan
    from metalake_sync.web.words import Words

    return Words(report_plan, _past_action, detailed_document)


def _past_action(row: ActionRow, values: Values) -> ActionWords:
    from metalake_sync.cli.commands.history import ids_words
    from metalake_sync.cli.history_lines import history_line
    from metalake_sync.cli.plan_lines import SIGNS
    from metalake_sync.web.words import ActionWords

    line = history_line(row, values)
    sign = next((sign for name, sign in SIGNS.items() if name == row.action), "")
    if line is not None:
        return ActionWords(sign, line.why, line.details)
    ids = ids_words(row).strip()
    return ActionWords(sign, row.reason.replace("_", " "), (ids,) if ids else ())
