"""`metalake-sync state`: show, copy, move, lock and repair the state."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metalake_sync.cli.manifest_options import LOCK_TIMEOUT, ManifestFlags, RunFlags, observes, takes_manifest
from metalake_sync.cli.options import option
from metalake_sync.cli.terminal import ask, can_ask, count, echo_json, say, shown, size
from metalake_sync.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from metalake_sync.state.store import StateVersion


@click.group("state", epilog="Example: metalake-sync state show birds.yaml")
def state_command() -> None:
    """Show, copy, move, lock, rebuild or repair the state."""


@state_command.command("show", epilog="Example: metalake-sync state show birds.yaml --target 'birds/*.jpg'")
@takes_manifest
@option("--target", multiple=True, metavar="COLLECTION[/GLOB]", help="List the records of this part. Can be repeated.")
def show(flags: ManifestFlags, target: tuple[str, ...]) -> None:
    """Show the content of the state: collections, files, annotation sets, open uploads, and the holder of the lock."""
    from metalake_sync.operations.state import describe_state, listed_records

    engine = flags.engine()
    if target:
        records = listed_records(engine, target)
        if flags.as_json:
            echo_json(
                json.dumps([{"collection": key.name, **_record_document(file)} for key, file in records], indent=2)
            )
            return
        for key, file in records:
            sets = "".join(
                f", {count(one.shape_count, 'shape')} in {one.operation}" for one in file.annotations.values()
            )
            say(
                shown(
                    f"{key.name}/{file.name}  {file.origin}  {size(file.fingerprint.size_bytes)}"
                    f"  {file.content_hash[:12]}  {file.lake_id}{sets}"
                )
            )
        return
    described = describe_state(engine)
    if flags.as_json:
        echo_json(json.dumps(described, indent=2))
        return
    say(f"{shown(described['location'])} ({size(described['bytes'])}), serial {described['serial']}")
    if described["shared"] is not None:
        log = described["shared"]
        say(f"  shared: sequence {log['sequence']}, {count(log['segments'], 'segment')} after the last snapshot")
    for row in described["collections"]:
        words = f"{count(row['files'], 'file')}, {row['adopted']} adopted, {count(row['sets'], 'annotation set')}"
        say(f"  {shown(row['name'])} ({row['type']}) in {shown(row['lake'])}: {words}")
    if described["open_uploads"]:
        living = described["lock"] is not None
        whose = "of the run that holds the lock, or of an interrupted run" if living else "of an interrupted run"
        say(f"  {count(described['open_uploads'], 'open upload session')} {whose}")
    say(f"  lock: {shown(described['lock'] or 'free')}")


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

    if to is not None:
        _check_new_file(to)
    copy = back_up(flags.engine(), to)
    if flags.as_json:
        echo_json(json.dumps({"copy": str(copy)}))
    else:
        say(f"Copied to {copy}")


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
        rebuilt = rebuild_state(flags.engine(listener, run.options()), lock_timeout_s=lock_timeout)
        listener(rebuilt.applied.finished)
    if rebuilt.old is not None and not (flags.as_json or flags.quiet):
        say(f"The old state is in {rebuilt.old}")
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
@option("--auto-approve", is_flag=True, help="Forget files that this manifest uploaded without asking for approval.")
def forget(flags: ManifestFlags, target: tuple[str, ...], trashed_names: bool, auto_approve: bool) -> None:
    """Delete records, so that the next run treats these files as new. Makes a copy first. Does not change the lake.

    The next run adopts the files that the manifest still contains. Files that this manifest uploaded are then never
    pruned, so forgetting them needs approval.
    """
    from metalake_sync.operations.state import Forgotten
    from metalake_sync.operations.state import forget as drop

    if not target and not trashed_names:
        raise UsageError("nothing to forget", remedy="Give --target COLLECTION[/GLOB] or --trashed-names.")
    engine = flags.engine()

    def approve(found: Forgotten) -> None:
        consequence = f"{_uploaded_here(found.uploaded)}, and no later run prunes {_them(found.uploaded)}"
        facts = f"of {count(found.files, 'file')}, {consequence}"
        question = f"Forget the records? Note: {facts}."
        ask(question, approved=auto_approve, as_json=flags.as_json, without=f"Nothing was forgotten: {facts}.")

    dropped, copy = drop(engine, target, approve, trashed_names=trashed_names)
    if flags.as_json:
        echo_json(json.dumps({"forgotten": dropped.files, "uploaded": dropped.uploaded, "copy": str(copy)}))
        return
    words = f" ({_uploaded_here(dropped.uploaded)})" if dropped.uploaded else ""
    click.echo(f"Forgot {count(dropped.files, 'file')}{words}; the copy of the old state is {copy}")


def _uploaded_here(number: int) -> str:
    return f"{number} {'was' if number == 1 else 'were'} uploaded by this manifest"


def _them(number: int) -> str:
    return "it" if number == 1 else "them"


@state_command.command("lock", epilog="Example: metalake-sync state lock birds.yaml")
@takes_manifest
@LOCK_TIMEOUT
def lock(flags: ManifestFlags, lock_timeout: float) -> None:
    """Keep every run from writing to a shared state until 'state unlock', for example during a migration of the lake.

    Such a lock does not expire. The lock of a state file cannot be taken by hand: it ends with its process.
    """
    from metalake_sync.operations.shared_state import lock as lock_by_hand

    engine = flags.engine()
    lock_by_hand(engine, lock_timeout_s=lock_timeout)
    location = engine.state_backend.location
    if flags.as_json:
        echo_json(json.dumps({"locked": location}))
    else:
        say(f"Locked {shown(location)}. Release it with 'metalake-sync state unlock {shown(flags.manifest)}'.")


@state_command.command("pull", epilog="Example: metalake-sync state pull birds.yaml --to birds-state.db")
@takes_manifest
@option("--to", required=True, type=click.Path(path_type=Path, dir_okay=False), help="New file for the copy.")
def pull(flags: ManifestFlags, to: Path) -> None:
    """Copy the state from where it is into a local file. 'state push' puts it back."""
    from metalake_sync.operations.shared_state import pull as pull_state

    _check_new_file(to)
    _say_version(flags, f"Copied to {to}", pull_state(flags.engine(), to))


@state_command.command("push", epilog="Example: metalake-sync state push birds.yaml birds-state.db")
@takes_manifest
@click.argument("file", type=click.Path(exists=True, path_type=Path, dir_okay=False))
@option("--force", is_flag=True, help="Also replace another state, or one with runs that FILE lacks.")
@LOCK_TIMEOUT
def push(flags: ManifestFlags, file: Path, force: bool, lock_timeout: float) -> None:
    """Make FILE the state, for example one that 'state pull' or 'state backup' wrote. Does not change the lake."""
    from metalake_sync.operations.shared_state import push as push_state

    engine = flags.engine()
    version = push_state(engine, file, force=force, lock_timeout_s=lock_timeout)
    _say_version(flags, f"The state is at {engine.state_backend.location}", version)


@state_command.command("migrate", epilog="Example: metalake-sync state migrate birds.yaml --to s3://acme-state/birds")
@takes_manifest
@option("--to", required=True, metavar="FILE|URL", help="Where the state should be from now on.")
@option("--force", is_flag=True, help="Also replace another state that is there, or one with more runs.")
@LOCK_TIMEOUT
def migrate(flags: ManifestFlags, to: str, force: bool, lock_timeout: float) -> None:
    """Copy the state to another place. Afterwards, name that place in the manifest or with --state.

    The old state stays where it is. Remove it when no run uses it any more.
    """
    from metalake_sync.operations.shared_state import migrate as migrate_state

    version = migrate_state(flags.engine(), to, force=force, lock_timeout_s=lock_timeout)
    _say_version(flags, f"Copied to {to}. Write 'state: {to}' into the manifest, or use --state", version)


def _check_new_file(to: Path) -> None:
    """Raise UsageError if a copy cannot be written to a path."""
    from metalake_sync.state.backends.opening import check_no_near_url

    # A path drops one of the two slashes of a URL, and so looks like one with too few.
    check_no_near_url(str(to), "the file for the copy")
    if to.exists():
        raise UsageError(f"'{to}' exists already", remedy="Nothing was copied. Choose another name.")


def _say_version(flags: ManifestFlags, words: str, version: StateVersion) -> None:
    """Print what was done, and with which state."""
    if flags.as_json:
        echo_json(json.dumps({"lineage": version.lineage, "serial": version.serial}))
    else:
        say(f"{shown(words)} (serial {version.serial}).")


@state_command.command("unlock", epilog="Example: metalake-sync state unlock birds.yaml")
@takes_manifest
@option("--force", is_flag=True, help="Also release the lock of a holder that seems to be alive.")
def unlock(flags: ManifestFlags, force: bool) -> None:
    """Release a lock that was left behind. A holder that died on this machine has released it automatically.

    On a terminal, it names the holder and asks. --force does not ask, and takes the lock from a living holder. Make
    sure that its run has ended, or two runs write at once.
    """
    from metalake_sync.operations.state import unlock as free

    engine = flags.engine()
    if not force and can_ask(as_json=flags.as_json):
        holder = engine.state_backend.lock_holder()
        if holder is not None:
            question = f"The lock is held by {shown(holder)}. Has that run ended, and should the lock be released?"
            ask(question, approved=False, as_json=False, without="The lock was not released.", flag="--force")
            force = True
    held_by = free(engine, force=force)
    if flags.as_json:
        echo_json(json.dumps({"was_held_by": held_by}))
    else:
        say(f"Released the lock of {held_by}." if held_by else "The lock is free.")


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
