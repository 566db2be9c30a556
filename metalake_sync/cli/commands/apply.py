"""`metalake-sync apply`: bring the lake to what the manifest says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.options import manifest_argument, manifest_options, open_session, option, run_options
from metalake_sync.errors import ExitCode

if TYPE_CHECKING:
    from metalake_sync.core.plan import Plan


@click.command("apply", epilog="Example: metalake-sync apply birds.yaml --var split=train")
@manifest_argument
@manifest_options
@run_options
@option("--auto-approve", is_flag=True, help="Also trash, replace and remove without asking.")
@option(
    "--lock-timeout", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Wait so long for another run."
)
@option("--dry-run", is_flag=True, help="Stop after the plan.")
def command(
    manifest: str,
    as_json: bool,
    state: Path | None,
    var: tuple[str, ...],
    var_file: tuple[str, ...],
    verbose: bool,
    quiet: bool,
    refresh: str,
    checksum: bool,
    parallelism: int,
    bwlimit: str | None,
    retry_for: float | None,
    auto_approve: bool,
    lock_timeout: float,
    dry_run: bool,
) -> None:
    """Bring the lake to what the manifest says, and send nothing that it has.

    Goes ahead when the plan only adds or updates. A plan that trashes, replaces or removes anything asks on a terminal,
    and off one needs --auto-approve.

    MANIFEST is a file, a folder of *.yaml files, or - for standard input.
    """
    from metalake_sync.cli.listeners import make_listener
    from metalake_sync.core.events import PlanMade

    listener = make_listener(as_json=as_json, quiet=quiet, verbose=verbose)
    session = open_session(
        manifest,
        listener,
        state=state,
        var=var,
        var_file=var_file,
        refresh=refresh,
        checksum=checksum,
        parallelism=parallelism,
        bwlimit=bwlimit,
        retry_for=retry_for,
    )

    def approve(_plan: Plan) -> bool:
        if auto_approve:
            return True
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()) or manifest == "-":
            return False
        listener.pause()
        return click.confirm("Something will be trashed, replaced or removed. Go on?", default=False)

    try:
        if dry_run:
            with session.plan() as planned:
                listener(PlanMade(planned.plan))
            return
        applied = session.apply(approve, lock_timeout_s=lock_timeout, command=f"apply {manifest}")
        listener(applied.finished)
    finally:
        listener.close()
    if applied.finished.failed or applied.unreadable:
        if applied.unreadable and not as_json:
            click.secho(f"{applied.unreadable} things could not be read; see the notes above", fg="red", err=True)
        click.get_current_context().exit(ExitCode.SOME_FAILED)
