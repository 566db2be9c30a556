"""`metalake-sync status`: what is synced, pending, failed; the last runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from metalake_sync.cli.options import manifest_argument, manifest_options, open_session

LEFT_ALONE = frozenset({"unchanged", "unmanaged", "bytes_to_send"})
"""What a run's summary has besides what it did."""


@click.command("status", epilog="Example: metalake-sync status birds.yaml --json")
@manifest_argument
@manifest_options
def command(
    manifest: str,
    as_json: bool,
    state: Path | None,
    var: tuple[str, ...],
    var_file: tuple[str, ...],
    verbose: bool,
    quiet: bool,
) -> None:
    """Show what is synced, what waits for the next apply, what failed, and the last runs; the lake is not asked."""
    from metalake_sync.cli.listeners import TextListener
    from metalake_sync.cli.wording import count, shown
    from metalake_sync.engine.status import read_status

    listener = TextListener(quiet=quiet or as_json, verbose=verbose)
    session = open_session(manifest, listener, state=state, var=var, var_file=var_file, refresh="none")
    try:
        status = read_status(session)
    finally:
        listener.close()
    if as_json:
        click.echo(json.dumps(asdict(status), indent=2))
        return
    click.echo(click.style(shown(status.manifest), bold=True) + f"  →  {shown(status.lake)}")
    for row in status.collections:
        line = f"  {shown(row.name)} ({row.type}): {count(row.synced, 'file')} synced, {row.pending} pending"
        if row.adopted:
            line += f", {row.adopted} of them adopted"
        if row.annotation_sets:
            line += f", {count(row.annotation_sets, 'annotation set')}"
        click.echo(line)
        for failure in row.failures if verbose else row.failures[:5]:
            tries = f" ({count(failure.attempts, 'try', 'tries')})" if failure.attempts > 1 else ""
            click.secho(f"    failed: {shown(failure.name)}: {shown(failure.error)}{tries}", fg="red")
    if status.open_sessions:
        click.echo(f"  {count(status.open_sessions, 'upload')} of a run that was stopped; the next apply finishes them")
    if quiet:
        return
    click.echo("Last runs:" if status.runs else "No run yet.")
    for run in status.runs:
        did = ", ".join(
            f"{key} {value}" for key, value in (run.summary or {}).items() if value and key not in LEFT_ALONE
        )
        click.echo(f"  {run.started_at[:19]}  {run.outcome or 'was killed':<12} {did or 'nothing to do'}")
