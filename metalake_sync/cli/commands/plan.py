"""`metalake-sync plan`: show what apply would do."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from metalake_sync.cli.options import manifest_argument, manifest_options, open_session, option, run_options
from metalake_sync.errors import ExitCode


@click.command("plan", epilog="Example: metalake-sync plan birds.yaml --detailed-exitcode")
@manifest_argument
@manifest_options
@run_options
@option("--detailed-exitcode", is_flag=True, help="End with 2 when there are changes.")
def command(
    manifest: str,
    as_json: bool,
    state: Path | None,
    var: tuple[str, ...],
    var_file: tuple[str, ...],
    verbose: bool,
    quiet: bool,
    refresh: str,
    checksum: bool,
    parallelism: int,
    bwlimit: str | None,
    retry_for: float | None,
    detailed_exitcode: bool,
) -> None:
    """Show what apply would do; change nothing in the lake or in the sources.

    MANIFEST is a file, a folder of *.yaml files, or - for standard input.
    """
    from metalake_sync.cli.listeners import TextListener
    from metalake_sync.cli.render_plan import footer, render_plan

    listener = TextListener(quiet=quiet or as_json, verbose=verbose)
    session = open_session(
        manifest,
        listener,
        state=state,
        var=var,
        var_file=var_file,
        refresh=refresh,
        checksum=checksum,
        parallelism=parallelism,
        bwlimit=bwlimit,
        retry_for=retry_for,
    )
    try:
        with session.plan() as planned:
            listener.close()
            if as_json:
                from metalake_sync.cli.documents import plan_document

                click.echo(plan_document(planned.plan).model_dump_json(indent=2, exclude_none=True))
            elif quiet:
                click.echo(footer(planned.plan))
            else:
                for line in render_plan(planned.plan, all_lines=verbose):
                    click.echo(line)
            changes = not planned.plan.empty
    finally:
        listener.close()
    if detailed_exitcode and changes:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.CHANGES)
