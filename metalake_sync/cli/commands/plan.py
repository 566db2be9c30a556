"""`metalake-sync plan`: show what apply would do."""

from __future__ import annotations

import sys

import click

from metalake_sync.cli.options import ManifestFlags, RunFlags, observes, option, takes_manifest
from metalake_sync.errors import ExitCode


@click.command("plan", epilog="Example: metalake-sync plan birds.yaml --detailed-exitcode")
@takes_manifest
@observes
@option("--detailed-exitcode", is_flag=True, help="End with 2 when there are changes.")
def command(flags: ManifestFlags, run: RunFlags, detailed_exitcode: bool) -> None:
    """Show what apply would do; change nothing in the lake or in the sources.

    MANIFEST is a file, a folder of *.yaml files, or - for standard input.
    """
    from metalake_sync.cli.documents import plan_document
    from metalake_sync.cli.listeners import TextListener
    from metalake_sync.cli.render_plan import footer, render_plan

    listener = TextListener(quiet=flags.quiet or flags.as_json, verbose=flags.verbose)
    try:
        with flags.session(listener, run.options()).plan() as planned:
            listener.close()
            if flags.as_json:
                click.echo(plan_document(planned.plan).model_dump_json(indent=2, exclude_none=True))
            elif flags.quiet:
                click.echo(footer(planned.plan))
            else:
                for line in render_plan(planned.plan, all_lines=flags.verbose):
                    click.echo(line)
            changes = not planned.plan.empty
    finally:
        listener.close()
    if detailed_exitcode and changes:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.CHANGES)
