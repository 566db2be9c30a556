"""`metalake-sync state|status|history`: show and repair the local state, and show past runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metalake_sync.cli.manifest_options import LOCK_TIMEOUT, ManifestFlags, RunFlags, observes, takes_manifest
from metalake_sync.cli.options import option
from metalake_sync.cli.terminal import count, echo_json, shown, size
from metalake_sync.errors import ExitCode, UsageError
from metalake_sync.planning.run_options import RunOptions

if TYPE_CHECKING:
    from metalake_sync.cli.plan_lines import Line
    from metalake_sync.state.runs import ActionRow, Provenance
    from metalake_sync.state.store import StateStore, StateVersion

NOT_ACTIONS = frozenset({"unchanged", "unmanaged", "bytes_to_send"})
"""Keys in the summary of a run that do not count actions."""

ACTIONS_SHOWN = 10


@click.group("state", epilog="Example: metalake-sync state show birds.yaml")
def state_command() -> None:
    """Show, copy, move, lock, rebuild or repair the state."""


@state_command.command("show", epilog="Example: metalake-sync state show birds.yaml --target 'birds/*.jpg'")
@takes_manifest
@option("--target", multiple=True, metavar="COLLECTION[/GLOB]", help="List the records of this part. Can be repeated.")
def show(flags: ManifestFlags, target: tuple[str, ...]) -> None:
    """Show the content of the state: collections, files, annotation sets, open uploads, and the holder of the lock."""
    from metalake_sync.operations.state import describe_state, listed_records

    project = flags.project()
    if target:
        records = listed_records(project, target)
        if flags.as_json:
            echo_json(
                json.dumps([{"collection": key.name, **_record_document(file)} for key, file in records], indent=2)
            )
            return
        for key, file in records:
            sets = "".join(
                f", {count(one.shape_count, 'shape')} in {one.operation}" for one in file.annotations.values()
            )
            click.echo(
                shown(
                    f"{key.name}/{file.name}  {file.origin}  {size(file.fingerprint.size_bytes)}"
                    f"  {file.content_hash[:12]}  {file.lake_id}{sets}"
                )
            )
        return
    described = describe_state(project)
    if flags.as_json:
        echo_json(json.dumps(described, indent=2))
        return
    click.echo(f"{shown(described['location'])} ({size(described['bytes'])}), serial {described['serial']}")
    if described["shared"] is not None:
        log = described["shared"]
        click.echo(f"  shared: sequence {log['sequence']}, {count(log['segments'], 'segment')} after the last snapshot")
    for row in described["collections"]:
        words = f"{count(row['files'], 'file')}, {row['adopted']} adopted, {count(row['sets'], 'annotation set')}"
        click.echo(f"  {shown(row['name'])} ({row['type']}) in {shown(row['lake'])}: {words}")
    if described["open_uploads"]:
        click.echo(f"  {count(described['open_uploads'], 'upload')} of an interrupted run")
    click.echo(f"  lock: {shown(described['lock'] or 'free')}")


@state_command.command("backup", epilog="Example: metalake-sync state backup birds.yaml --to birds-state.db")
@takes_manifest
@option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the copy (default: a file in 'backups' beside the state).",
)
def backup(flags: ManifestFlags, to: Path | None) -> None:
    """Copy the state. The copy is consistent even while a run writes to the state."""
    from metalake_sync.operations.state import back_up

    if to is not None and to.exists():
        raise UsageError(f"'{to}' exists already", remedy="Nothing was copied. Choose another name.")
    copy = back_up(flags.project(), to)
    if flags.as_json:
        echo_json(json.dumps({"copy": str(copy)}))
    else:
        click.echo(f"Copied to {copy}")


@state_command.command("rebuild", epilog="Example: metalake-sync state rebuild birds.yaml")
@takes_manifest
@observes
@LOCK_TIMEOUT
def rebuild(flags: ManifestFlags, run: RunFlags, lock_timeout: float) -> None:
    """Make a new state from the lake, without sending a byte. Moves the old state to 'backups', even if it is broken.

    Files of the manifest that the lake has with the same size are adopted. Annotation sets that match the manifest are
    recorded. Adopted files are never pruned.
    """
    from metalake_sync.operations.adoption import rebuild as rebuild_state

    with closing(flags.listener()) as listener:
        rebuilt = rebuild_state(flags.project(listener, run.options()), lock_timeout_s=lock_timeout)
        listener(rebuilt.applied.finished)
    if rebuilt.old is not None and not (flags.as_json or flags.quiet):
        click.echo(f"The old state is in {rebuilt.old}")
    if rebuilt.applied.finished.failed or rebuilt.applied.unreadable:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


@state_command.command("forget", epilog="Example: metalake-sync state forget birds.yaml --target birds/a.jpg")
@takes_manifest
@option(
    "--target", multiple=True, metavar="COLLECTION[/GLOB]", help="Forget the records of this part. Can be repeated."
)
@option(
    "--trashed-names",
    is_flag=True,
    help="Forget that the lake refused the name of a trashed file. The next apply tries again with one file.",
)
def forget(flags: ManifestFlags, target: tuple[str, ...], trashed_names: bool) -> None:
    """Delete records, so that the next run treats these files as new. Makes a copy first. Does not change the lake."""
    from metalake_sync.operations.state import forget as drop

    if not target and not trashed_names:
        raise UsageError("nothing to forget", remedy="Give --target COLLECTION[/GLOB] or --trashed-names.")
    project = flags.project()
    dropped, copy = drop(project, target, trashed_names=trashed_names)
    if flags.as_json:
        echo_json(json.dumps({"forgotten": dropped, "copy": str(copy)}))
    else:
        click.echo(f"Forgot {count(dropped, 'file')}; the copy of the old state is {copy}")


@state_command.command("lock", epilog="Example: metalake-sync state lock birds.yaml")
@takes_manifest
@LOCK_TIMEOUT
def lock(flags: ManifestFlags, lock_timeout: float) -> None:
    """Keep every run from writing to a shared state until 'state unlock', for example during a migration of the lake.

    Such a lock does not expire. The lock of a state file cannot be taken by hand: it ends with its process.
    """
    from metalake_sync.operations.shared_state import lock as lock_by_hand

    project = flags.project()
    lock_by_hand(project, lock_timeout_s=lock_timeout)
    location = project.state_backend.location
    if flags.as_json:
        echo_json(json.dumps({"locked": location}))
    else:
        click.echo(f"Locked {shown(location)}. Release it with 'metalake-sync state unlock {shown(flags.manifest)}'.")


@state_command.command("pull", epilog="Example: metalake-sync state pull birds.yaml --to birds-state.db")
@takes_manifest
@option("--to", required=True, type=click.Path(path_type=Path, dir_okay=False), help="New file for the copy.")
def pull(flags: ManifestFlags, to: Path) -> None:
    """Copy the state from where it is into a local file. 'state push' puts it back."""
    from metalake_sync.operations.shared_state import pull as pull_state

    if to.exists():
        raise UsageError(f"'{to}' exists already", remedy="Nothing was copied. Choose another name.")
    _say_version(flags, f"Copied to {to}", pull_state(flags.project(), to))


@state_command.command("push", epilog="Example: metalake-sync state push birds.yaml birds-state.db")
@takes_manifest
@click.argument("file", type=click.Path(exists=True, path_type=Path, dir_okay=False))
@option("--force", is_flag=True, help="Also replace a newer or another state.")
@LOCK_TIMEOUT
def push(flags: ManifestFlags, file: Path, force: bool, lock_timeout: float) -> None:
    """Make FILE the state, for example one that 'state pull' or 'state backup' wrote. Does not change the lake."""
    from metalake_sync.operations.shared_state import push as push_state

    project = flags.project()
    version = push_state(project, file, force=force, lock_timeout_s=lock_timeout)
    _say_version(flags, f"The state is at {project.state_backend.location}", version)


@state_command.command("migrate", epilog="Example: metalake-sync state migrate birds.yaml --to s3://acme-state/birds")
@takes_manifest
@option("--to", required=True, metavar="FILE|URL", help="Where the state should be from now on.")
@option("--force", is_flag=True, help="Also replace a newer or another state that is there.")
@LOCK_TIMEOUT
def migrate(flags: ManifestFlags, to: str, force: bool, lock_timeout: float) -> None:
    """Copy the state to another place. Afterwards, name that place in the manifest or with --state.

    The old state stays where it is. Remove it when no run uses it any more.
    """
    from metalake_sync.operations.shared_state import migrate as migrate_state

    version = migrate_state(flags.project(), to, force=force, lock_timeout_s=lock_timeout)
    _say_version(flags, f"Copied to {to}. Write 'state: {to}' into the manifest, or use --state", version)


def _say_version(flags: ManifestFlags, words: str, version: StateVersion) -> None:
    """Print what was done, and with which state."""
    if flags.as_json:
        echo_json(json.dumps({"lineage": version.lineage, "serial": version.serial}))
    else:
        click.echo(f"{shown(words)} (serial {version.serial}).")


@state_command.command("unlock", epilog="Example: metalake-sync state unlock birds.yaml")
@takes_manifest
@option("--force", is_flag=True, help="Also release the lock of a holder that seems to be alive.")
def unlock(flags: ManifestFlags, force: bool) -> None:
    """Release a lock that was left behind. A holder that died on this machine has released it automatically.

    --force also takes the lock from a living holder. Make sure that its run has ended, or two runs write at once.
    """
    from metalake_sync.operations.state import unlock as free

    held_by = free(flags.project(), force=force)
    if flags.as_json:
        echo_json(json.dumps({"was_held_by": held_by}))
    else:
        click.echo(f"Released the lock of {held_by}." if held_by else "The lock is free.")


def _record_document(file: Any) -> dict[str, Any]:
    return {
        "file": file.name,
        "path": file.path,
        "bytes": file.fingerprint.size_bytes,
        "content": file.content_hash,
        "lake_id": file.lake_id,
        "unique_name": file.unique_name,
        "origin": file.origin.value,
        "shapes": {operation: one.shape_count for operation, one in file.annotations.items()},
    }


@click.command("status", epilog="Example: metalake-sync status birds.yaml --json")
@takes_manifest
def status_command(flags: ManifestFlags) -> None:
    """Show what is synced, pending and failed, and the last runs. Makes no request to the lake."""
    from metalake_sync.operations.state import read_status

    with closing(flags.words(silent=flags.as_json)) as listener:
        status = read_status(flags.project(listener, RunOptions(refresh="none")))
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

    project = flags.project()
    require_state(project)
    with StateStore(project.state_backend) as state:
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
                values = f"  {_short(row.before)} → {_short(row.after)}" if row.before or row.after else ""
                click.echo(shown(f"  {row.action:<18} {where}  {row.reason.replace('_', ' ')}{values}"))
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
    from metalake_sync.cli.history_lines import action_document

    documents: list[dict[str, Any]] = []
    for row, values in zip(rows, state.runs.values(run_id), strict=True):
        known = action_document(row, values)
        found = asdict(known) if known is not None else {}
        details = {key: found[key] for key in ("operation", "changes", "shape_changes") if found.get(key) is not None}
        documents.append({**_row_document(row), **details})
    return documents


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


def _short(value: str | None) -> str:
    if value is None:
        return "none"
    # Users need a complete id to find a trashed file. A digest may be shortened.
    return value if len(value) <= 32 else f"{value[:12]}…"
