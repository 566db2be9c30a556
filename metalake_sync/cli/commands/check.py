"""`metalake-sync check`: verifies that the lake has the synced files."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from metalake_sync.cli.options import ManifestFlags, RunFlags, observes, option, takes_manifest
from metalake_sync.cli.streams import echo_json
from metalake_sync.errors import ExitCode

SHOWN = 20


@click.command("check", epilog="Example: metalake-sync check birds.yaml --download")
@takes_manifest
@observes
@option("--download", is_flag=True, help="Also download every file and compare its hash.")
@option("--detailed-exitcode", is_flag=True, help="Exit with 2 instead of 1 if a file is missing or differs.")
def command(flags: ManifestFlags, run: RunFlags, download: bool, detailed_exitcode: bool) -> None:
    """Verify that the lake has each synced file with the right size. Changes nothing.

    Exits with 1 if a file is missing or differs.
    """
    from metalake_sync.cli.wording import count, shown, size
    from metalake_sync.operations.comparison import check

    listener = flags.words(silent=flags.as_json)
    try:
        checked = check(flags.project(listener, run.options()), download=download)
    finally:
        listener.close()
    wrong = checked.mismatches
    if flags.as_json:
        echo_json(json.dumps(asdict(checked), indent=2))
    else:
        for one in wrong if flags.verbose else wrong[:SHOWN]:
            click.secho(f"wrong: {shown(one.collection)}/{shown(one.file)} {shown(one.problem)}", fg="red")
        if len(wrong) > SHOWN and not flags.verbose:
            click.echo(f"… and {len(wrong) - SHOWN} more (-v shows all)")
        read = f", {size(checked.bytes_read)} read back" if download else ""
        click.echo(f"{count(checked.files, 'file')} checked{read}: {len(wrong)} wrong.")
    if wrong:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.CHANGES if detailed_exitcode else ExitCode.FAILED)
