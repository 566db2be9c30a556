"""`metalake-sync history`: shows past runs and what each one changed."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from metalake_sync.cli.options import ManifestFlags, option, takes_manifest
from metalake_sync.cli.streams import echo_json
from metalake_sync.errors import UsageError

ACTIONS_SHOWN = 10


@click.command("history", epilog="Example: metalake-sync history birds.yaml --run 20260131T101500-1f2e3d4c")
@takes_manifest
@option("--run", "run_id", metavar="RUN", help="Show only this run, with all of its actions.")
@option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Number of runs to show.")
def command(flags: ManifestFlags, run_id: str | None, limit: int) -> None:
    """Show past runs, newest first, with their actions and the values before and after."""
    from metalake_sync.cli.wording import shown
    from metalake_sync.operations.state import require_state
    from metalake_sync.state.store import StateStore

    project = flags.project()
    require_state(project)
    with StateStore(project.state_backend) as state:
        runs = [run for run in state.runs.last(1_000_000 if run_id else limit) if run_id in (None, run.id)]
        if run_id is not None and not runs:
            raise UsageError(f"there is no run '{run_id}'", remedy="Run 'history' without --run to list all runs.")
        if flags.as_json:
            rows = [{**asdict(run), "actions": [asdict(row) for row in state.runs.actions(run.id)]} for run in runs]
            echo_json(json.dumps(rows, indent=2))
            return
        if not runs:
            click.echo("No run yet.")
        for run in runs:
            outcome = run.outcome or "was killed"
            click.echo(
                click.style(f"{run.started_at[:19]}  {run.id}  {outcome}", bold=True) + f"  {shown(run.command)}"
            )
            actions = state.runs.actions(run.id)
            visible = (
                actions if flags.verbose or run_id or len(actions) <= ACTIONS_SHOWN + 1 else actions[:ACTIONS_SHOWN]
            )
            for row in visible:
                where = row.collection if row.file is None else f"{row.collection}/{row.file}"
                values = f"  {_short(row.before)} → {_short(row.after)}" if row.before or row.after else ""
                click.echo(shown(f"  {row.action:<18} {where}  {row.reason.replace('_', ' ')}{values}"))
            if len(actions) > len(visible):
                click.echo(f"  … and {len(actions) - len(visible)} more (--run {run.id} shows all)")


def _short(value: str | None) -> str:
    if value is None:
        return "none"
    # Users need a complete id to find a trashed file. A digest may be shortened.
    return value if len(value) <= 32 else f"{value[:12]}…"
