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
from metalake_sync.cli.run_words import VERBS, done_words, outcome_words, run_words, when
from metalake_sync.cli.terminal import count, echo_json, say, shown
from metalake_sync.errors import UsageError
from metalake_sync.planning.run_options import RunOptions

if TYPE_CHECKING:
    from metalake_sync.cli.plan_lines import Line
    from metalake_sync.state.runs import ActionRow, Provenance, Values
    from metalake_sync.state.store import StateStore

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
    say(click.style(shown(status.manifest), bold=True) + f"  →  {shown(status.lake)}")
    for row in status.collections:
        line = f"  {shown(row.name)} ({row.type}): {count(row.synced, 'file')} synced, {row.pending} pending"
        if row.adopted:
            line += f", {row.adopted} of them adopted"
        if row.annotation_sets:
            line += f", {count(row.annotation_sets, 'annotation set')}"
        say(line)
        for failure in row.failures if flags.verbose else row.failures[:5]:
            tries = f" ({count(failure.attempts, 'try', 'tries')})" if failure.attempts > 1 else ""
            say(f"    failed: {shown(failure.name)}: {shown(failure.error)}{tries}", fg="red")
    for part in status.broken:
        what = f"'{shown(part.operation)}'" if part.operation else "everything"
        where = f" of {shown(part.collection)}" if part.collection else ""
        for line in part.error.splitlines():
            say(f"  broken, not changed in the lake: {what}{where}: {shown(line)}", fg="red")
    if status.open_sessions:
        them = "it" if status.open_sessions == 1 else "them"
        left = count(status.open_sessions, "upload session")
        say(f"  {left} of an interrupted run left open; the next apply finishes {them}")
    if flags.quiet:
        return
    say("Last runs:" if status.runs else "No run yet.")
    for number, run in enumerate(status.runs):
        outcome, did = outcome_words(run.outcome), run_words(run)
        if run.outcome is None:
            outcome = "is running" if number == 0 and status.lock is not None else outcome
            did = ", ".join(done_words(status.recorded[run.id])) or "no action is recorded"
        say(f"  {when(run.started_at)}  {outcome:<12} {did}")


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
            say("No run yet.")
        for run in runs:
            heading = f"{when(run.started_at)}  {run.id}  {outcome_words(run.outcome)}"
            say(click.style(heading, bold=True) + f"  {shown(run.command)}")
            if run.summary is not None:
                say(f"  {run_words(run)}")
            if run.provenance is not None:
                for words in _provenance_lines(run.provenance, complete=run_id is not None or flags.verbose):
                    say(f"  {words}")
            actions = state.runs.actions(run.id)
            visible = (
                actions if flags.verbose or run_id or len(actions) <= ACTIONS_SHOWN + 1 else actions[:ACTIONS_SHOWN]
            )
            for row, line in zip(visible, _lines(state, run.id), strict=False):
                where = row.collection if row.file is None else f"{row.collection}/{row.file}"
                if line is not None:
                    say(f"  {_verb(row):<10} {shown(where)}  {line.why}")
                    for detail in line.details if diff else ():
                        say(f"      {detail}")
                    continue
                say(shown(f"  {_verb(row):<10} {where}  {', '.join(_row_words(row))}"))
            if len(actions) > len(visible):
                say(f"  … and {len(actions) - len(visible)} more (--run {run.id} shows all)")


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


def _verb(row: ActionRow) -> str:
    return VERBS.get(row.action, row.action)


def _row_words(row: ActionRow) -> Iterator[str]:
    yield row.reason.replace("_", " ")
    if words := ids_words(row):
        yield words


def ids_words(row: ActionRow) -> str:
    """Return what a person needs of the ids and values of an action that the history has no more values of."""
    match row.action:
        case "trash" | "replace" if row.before:
            # The id finds the file in the lake's trash.
            what = "id" if row.action == "trash" else "id of the old file"
            return f"{what} in the lake's trash: {row.before}"
        case "claim":
            return f"{row.before} → {row.after}"
        case "remove_downloaded" if row.before:
            return row.before
        case "attach_model_run" if row.after:
            return f"to project {row.after}"
        case "annotate" | "update_metadata":
            return "values unknown"
        case _:
            return ""
