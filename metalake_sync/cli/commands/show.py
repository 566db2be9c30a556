"""`metalake-sync show`: prints a saved plan."""

from __future__ import annotations

import click

from metalake_sync.cli.options import option
from metalake_sync.cli.streams import echo_json


@click.command("show", epilog="Example: metalake-sync show birds.plan")
@option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@option("--markdown", is_flag=True, help="Print Markdown, for a comment on a pull request.")
@option("-v", "--verbose", is_flag=True, help="Show every action, not only the first 10 of each kind.")
@click.argument("plan", metavar="PLANFILE", type=click.Path())
def command(plan: str, as_json: bool, markdown: bool, verbose: bool) -> None:
    """Print a plan that was saved with 'plan --out'. Reads neither the lake nor the sources."""
    from metalake_sync.cli.markdown_plan import markdown_plan
    from metalake_sync.cli.render_plan import render_plan
    from metalake_sync.cli.saved_plans import load_plan

    document = load_plan(plan).plan
    if as_json:
        from metalake_sync.cli.documents import to_json

        echo_json(to_json(document, indent=2))
    elif markdown:
        click.echo("\n".join(markdown_plan(document)))
    else:
        for line in render_plan(document, all_lines=verbose):
            click.echo(line)
