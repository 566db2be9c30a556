"""`metalake-sync drift`: shows what other clients changed in the lake since the last apply."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.options import ManifestFlags, RunFlags, observes, option, takes_manifest
from metalake_sync.cli.streams import echo_json
from metalake_sync.errors import ExitCode

if TYPE_CHECKING:
    from metalake_sync.core.plan import Plan


@click.command("drift", epilog="Example: metalake-sync drift birds.yaml --detailed-exitcode")
@takes_manifest
@observes
@option("--detailed-exitcode", is_flag=True, help="Exit with 2 if there is drift.")
@option("--markdown", is_flag=True, help="Print Markdown, for the summary of a pipeline job.")
def command(flags: ManifestFlags, run: RunFlags, detailed_exitcode: bool, markdown: bool) -> None:
    """Compare the lake with what was last applied, with a full refresh. Changes nothing.

    The output is the plan that would undo the drift. Local changes of files and of the manifest are ignored, and so are
    new files of other clients.
    """
    from metalake_sync.cli.plan_document import plan_document
    from metalake_sync.operations.comparison import find_drift

    listener = flags.words(silent=flags.as_json or markdown)
    try:
        plan = find_drift(flags.project(listener, run.options()))
    finally:
        listener.close()
    if flags.as_json:
        from metalake_sync.cli.documents import to_json

        echo_json(to_json(plan_document(plan, full_names=flags.verbose), indent=2))
    else:
        for line in _lines(plan, flags, markdown):
            click.echo(line)
    if detailed_exitcode and not plan.empty:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.CHANGES)


def _lines(plan: Plan, flags: ManifestFlags, markdown: bool) -> Iterator[str]:
    from metalake_sync.cli.markdown_plan import markdown_plan
    from metalake_sync.cli.plan_document import plan_document
    from metalake_sync.cli.render_plan import render_plan

    shown = plan_document(plan, full_names=flags.verbose)
    if markdown:
        yield from markdown_plan(shown)
    elif plan.empty:
        yield f"No drift: {shown.summary.unchanged} files match the last apply."
    elif flags.quiet:
        yield f"Drift: {len(shown.actions)} differences."
    else:
        yield from list(render_plan(shown, all_lines=flags.verbose))[:-1]
        yield f"Drift: {len(shown.actions)} differences, shown as the actions that would undo them."
