"""`metalake-sync plan`: shows what apply would do."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from metalake_sync.cli.options import SAFE, ManifestFlags, RunFlags, observes, option, takes_manifest
from metalake_sync.cli.streams import echo_json
from metalake_sync.errors import ExitCode


@click.command("plan", epilog="Example: metalake-sync plan birds.yaml --out birds.plan; metalake-sync apply birds.plan")
@takes_manifest
@observes
@option("--detailed-exitcode", is_flag=True, help="Exit with 2 if there are changes.")
@option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Save the plan to this file, for 'apply'.")
@option(
    "--explain", metavar="FILE", help="Explain why one file is included or excluded, and what the plan does with it."
)
@SAFE
@option("--markdown", is_flag=True, help="Print Markdown, for a comment on a pull request.")
def command(
    flags: ManifestFlags,
    run: RunFlags,
    detailed_exitcode: bool,
    out: Path | None,
    explain: str | None,
    safe: bool,
    markdown: bool,
) -> None:
    """Show what apply would do. Changes nothing in the lake or in the sources.

    MANIFEST is a file, a folder of *.yaml files, or - for standard input.
    """
    from metalake_sync.cli.plan_document import plan_document
    from metalake_sync.cli.render_plan import footer, render_plan
    from metalake_sync.core.notes import UNUSABLE

    listener = flags.words(silent=flags.as_json or markdown)
    try:
        project = flags.project(listener, run.options(), safe=safe)
        if explain is not None:
            from metalake_sync.cli.explanation import print_explanation

            print_explanation(project, explain, as_json=flags.as_json)
            return
        with project.plan() as planned:
            listener.close()
            if out is not None:
                from metalake_sync.cli.saved_plans import save_plan

                save_plan(planned.plan, project, out)
            if flags.as_json:
                from metalake_sync.cli.documents import to_json

                echo_json(to_json(plan_document(planned.plan, full_names=flags.verbose), indent=2))
            elif markdown:
                from metalake_sync.cli.markdown_plan import markdown_plan

                click.echo("\n".join(markdown_plan(plan_document(planned.plan, full_names=flags.verbose))))
            elif flags.quiet:
                click.echo(footer(plan_document(planned.plan)))
            else:
                for line in render_plan(plan_document(planned.plan, full_names=flags.verbose), all_lines=flags.verbose):
                    click.echo(line)
            if out is not None and not (flags.as_json or flags.quiet or markdown):
                click.echo(f"Saved. To apply it: metalake-sync apply {out}")
            changes = not planned.plan.empty
            incomplete = any(note.code in UNUSABLE for note in planned.plan.notes)
    finally:
        listener.close()
    if incomplete:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.SOME_FAILED)
    if detailed_exitcode and changes:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.CHANGES)
