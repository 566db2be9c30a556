"""`metalake-sync status`: shows what is synced, pending and failed, and the last runs."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from metalake_sync.cli.options import ManifestFlags, takes_manifest
from metalake_sync.cli.streams import echo_json

NOT_ACTIONS = frozenset({"unchanged", "unmanaged", "bytes_to_send"})
"""Keys in the summary of a run that do not count actions."""


@click.command("status", epilog="Example: metalake-sync status birds.yaml --json")
@takes_manifest
def command(flags: ManifestFlags) -> None:
    """Show what is synced, pending and failed, and the last runs. Makes no request to the lake."""
    from metalake_sync.cli.wording import count, shown
    from metalake_sync.operations.state import read_status
    from metalake_sync.planning.run_options import RunOptions

    listener = flags.words(silent=flags.as_json)
    try:
        status = read_status(flags.project(listener, RunOptions(refresh="none")))
    finally:
        listener.close()
    if flags.as_json:
        echo_json(json.dumps(asdict(status), indent=2))
        return
    click.echo(click.style(shown(status.manifest), bold=True) + f"  →  {shown(status.lake)}")
    for row in status.collections:
        line = f"  {shown(row.name)} ({row.type}): {count(row.synced, 'file')} synced, {row.pending} pending"
        if row.adopted:
            line += f", {row.adopted} of them adopted"
        if row.annotation_sets:
            line += f", {count(row.annotation_sets, 'annotation set')}"
        click.echo(line)
        for failure in row.failures if flags.verbose else row.failures[:5]:
            tries = f" ({count(failure.attempts, 'try', 'tries')})" if failure.attempts > 1 else ""
            click.secho(f"    failed: {shown(failure.name)}: {shown(failure.error)}{tries}", fg="red")
    for part in status.broken:
        what = f"'{shown(part.operation)}'" if part.operation else "everything"
        where = f" of {shown(part.collection)}" if part.collection else ""
        for line in part.error.splitlines():
            click.secho(f"  broken, not changed in the lake: {what}{where}: {shown(line)}", fg="red")
    if status.open_sessions:
        click.echo(f"  {count(status.open_sessions, 'upload')} of an interrupted run; the next apply finishes them")
    if flags.quiet:
        return
    click.echo("Last runs:" if status.runs else "No run yet.")
    for run in status.runs:
        did = ", ".join(
            f"{key} {value}" for key, value in (run.summary or {}).items() if value and key not in NOT_ACTIONS
        )
        click.echo(f"  {run.started_at[:19]}  {run.outcome or 'was killed':<12} {did or 'nothing to do'}")
