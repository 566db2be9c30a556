"""`metalake-sync status` and `metalake-sync history`: what is synced, and what past runs did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from metalake_sync.cli.manifest_options import ManifestFlags, takes_manifest
from metalake_sync.cli.options import option
from metalake_sync.cli.terminal import count, echo_json, shown
from metalake_sync.errors import UsageError
from metalake_sync.planning.run_options import RunOptions

if TYPE_CHECKING:
    from metalake_sync.cli.plan_lines import Line
    from metalake_sync.state.runs import ActionRow, Provenance, Values
    from metalake_sync.state.store import StateStore

NOT_ACTIONS = frozenset({"unchanged", "unmanaged", "bytes_to_send"})
"""Keys in the summary of a run that do not count actions."""

ACTIONS_SHOWN = 10


@click.command("status", epilog="Example: metalake-sync status birds.yaml --json")
@takes_manifest
def status_command(flags: ManifestFlags) -> None:
    """Show what is synced, pending and failed, and the last runs. Makes no request to the lake."""
    from metalake_sync.operations.state import read_status

    with closing(flags.words(silent=flags.as_json)) as listener:
        status = read_status(flags.engine(listener, RunOptions(refresh="none")))
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
    for number, run in enumerate(status.runs):
        outcome, done = run.outcome, run.summary or {}
        nothing = "nothing to do"
        if outcome is None:
            outcome = "is running" if number == 0 and status.lock is not None else "was killed"
            done, nothing = status.recorded[run.id], "no action is recorded"
        did = ", ".join(f"{key} {value}" for key, value in done.items() if value and key not in NOT_ACTIONS)
        click.echo(f"  {run.started_at[:19]}  {outcome:<12} {did or nothing}")


@click.command("history", epilog="Example: metalake-sync history birds.yaml --run 20260131T101500-1f2e3d4c --diff")
@takes_manifest
@option("--run", "run_id", metavar="RUN", help="Show only this run, with all of its actions.")
@option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Number of runs to show.")
@option("--diff", is_flag=True, help="Show the metadata and the shapes before and after each action.")
def history_command(flags: ManifestFlags, run_id: str | None, limit: int, diff: bool) -> None:
    """Show past runs, newest first: who started them, their actions and the values before and after.

    A run shows its user, host, Git commit and CI job where they are known, and with --run its command line.
    """
    from metalake_sync.operations.state import require_state
    from metalake_sync.state.store import StateStore

    engine = flags.engine()
    require_state(engine)
    with StateStore(engine.state_backend) as state:
        runs = [run for run in state.runs.last(1_000_000 if run_id else limit) if run_id in (None, run.id)]
        if run_id is not None and not runs:
            raise UsageError(f"there is no run '{run_id}'", remedy="Run 'history' without --run to list all runs.")
        if flags.as_json:
            rows = [{**asdict(run), "actions": _action_documents(state, run.id, diff=diff)} for run in runs]
            echo_json(json.dumps(rows, indent=2))
            return
        if not runs:
            click.echo("No run yet.")
        for run in runs:
            outcome = run.outcome or "was killed"
            click.echo(
                click.style(f"{run.started_at[:19]}  {run.id}  {outcome}", bold=True) + f"  {shown(run.command)}"
            )
            if run.provenance is not None:
                for words in _provenance_lines(run.provenance, complete=run_id is not None or flags.verbose):
                    click.echo(f"  {words}")
            actions = state.runs.actions(run.id)
            visible = (
                actions if flags.verbose or run_id or len(actions) <= ACTIONS_SHOWN + 1 else actions[:ACTIONS_SHOWN]
            )
            for row, line in zip(visible, _lines(state, run.id), strict=False):
                where = row.collection if row.file is None else f"{row.collection}/{row.file}"
                if line is not None:
                    click.echo(f"  {row.action:<18} {shown(where)}  {line.why}")
                    for detail in line.details if diff else ():
                        click.echo(f"      {detail}")
                    continue
                click.echo(shown(f"  {row.action:<18} {where}  {row.reason.replace('_', ' ')}{ids_words(row)}"))
            if len(actions) > len(visible):
                click.echo(f"  … and {len(actions) - len(visible)} more (--run {run.id} shows all)")


def _lines(state: StateStore, run_id: str) -> Iterator[Line | None]:
    """Yield the words for each action of a run. None: the history has no values of the action."""
    from metalake_sync.cli.history_lines import history_line

    for row, values in zip(state.runs.actions(run_id), state.runs.values(run_id), strict=True):
        yield history_line(row, values)


def _action_documents(state: StateStore, run_id: str, *, diff: bool) -> list[dict[str, Any]]:
    """Return the actions of a run for JSON. `diff`: with the values before and after, as in the JSON of a plan."""
    rows = state.runs.actions(run_id)
    if not diff:
        return [_row_document(row) for row in rows]
    return [detailed_document(row, values) for row, values in zip(rows, state.runs.values(run_id), strict=True)]


def detailed_document(row: ActionRow, values: Values) -> dict[str, Any]:
    """Return an action with its values before and after, as `history --json --diff` prints it."""
    from metalake_sync.cli.history_lines import action_document

    known = action_document(row, values)
    found = asdict(known) if known is not None else {}
    details = {key: found[key] for key in ("operation", "changes", "shape_changes") if found.get(key) is not None}
    return {**_row_document(row), **details}


def _row_document(row: ActionRow) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if key not in ("type", "address", "confirmed")}


def _provenance_lines(known: Provenance, *, complete: bool) -> Iterator[str]:
    """Yield who started a run, and where. `complete`: with the command line."""
    who = " on ".join(shown(one) for one in (known.user, known.host) if one)
    commit = f"commit {shown(known.commit[:12])}" if known.commit else ""
    first = ", ".join(one for one in (f"by {who}" if who else "", commit) if one)
    if first:
        yield first
    if known.ci_url:
        yield shown(known.ci_url)
    if complete and known.command_line:
        yield f"$ {shown(known.command_line)}"


def ids_words(row: ActionRow) -> str:
    """Return the digests or ids before and after an action whose values the history does not have."""
    if row.action == "adopt":
        return f"  {_short(row.after)}"
    nothing = "unknown" if row.action in ("annotate", "update_metadata") else "none"
    return f"  {_short(row.before, nothing)} → {_short(row.after)}" if row.before or row.after else ""


def _short(value: str | None, nothing: str = "none") -> str:
    if value is None:
        return nothing
    # Users need a complete id to find a trashed file. A digest may be shortened.
    return value if len(value) <= 32 else f"{value[:12]}…"
