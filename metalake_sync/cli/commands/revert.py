"""`metalake-sync revert`: undo what a run changed in metadata and annotation sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.approval import Approval
from metalake_sync.cli.manifest_options import LOCK_TIMEOUT, CallFlags, ManifestFlags, takes_calls, takes_manifest
from metalake_sync.cli.options import option
from metalake_sync.cli.terminal import say, shown
from metalake_sync.core.events import Event, PlanMade
from metalake_sync.core.notes import NoteCode
from metalake_sync.documents.saved_plan_files import save_plan
from metalake_sync.errors import ExitCode

if TYPE_CHECKING:
    from metalake_sync.core.plan import Plan


def what_comes_next(manifest: str) -> str:
    """Return the sentence that follows a revert."""
    return f"The sources have not changed: the next apply of {shown(manifest)} makes the lake match them again."


@click.command(
    "revert",
    epilog="Examples: metalake-sync revert 20260131T101500-1f2e3d4c birds.yaml;"
    " metalake-sync revert 20260131T101500-1f2e3d4c birds.yaml --out back.plan",
)
@click.argument("run_id", metavar="RUN")
@takes_manifest
@takes_calls
@option("--auto-approve", is_flag=True, help="Remove sets and overwrite other clients' changes without asking.")
@option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Save the plan to this file, for 'apply'.")
@option("--dry-run", is_flag=True, help="Print the plan and stop.")
@LOCK_TIMEOUT
def revert_command(
    flags: ManifestFlags,
    calls: CallFlags,
    run_id: str,
    auto_approve: bool,
    out: Path | None,
    dry_run: bool,
    lock_timeout: float,
) -> None:
    """Undo a run: restore the metadata and the annotation sets that the lake had before it.

    RUN is the id of a run, as 'history' prints it. The command shows its plan and asks for approval as 'apply' does:
    before it removes a set, or overwrites what another client wrote since the run. With --out or --dry-run, it only
    makes the plan. What a later run changed again stays, and is named. Files that the run uploaded, replaced or trashed
    stay as they are, and are named.

    The sources do not change: the next apply makes the same changes again, unless you change the sources too.
    """
    from metalake_sync.operations.revert import reverting
    from metalake_sync.operations.state import require_state

    listener = flags.listener()
    plans: list[Plan] = []

    def emit(event: Event) -> None:
        if isinstance(event, PlanMade):
            plans.append(event.plan)
        listener(event)

    approve = Approval.of(listener, flags.manifest, approved=auto_approve, as_json=flags.as_json)
    failed = False
    try:
        engine = flags.engine(emit, calls.options())
        require_state(engine)
        engine = reverting(engine, run_id)
        if dry_run or out is not None:
            with engine.plan() as planned:
                if out is not None:
                    save_plan(planned.plan, engine, out, revert=run_id)
                emit(PlanMade(planned.plan))
            if out is not None and not (flags.as_json or flags.quiet):
                say(f"Saved. To apply it: metalake-sync apply {shown(str(out))}")
        else:
            command = f"revert {run_id} {flags.manifest}"
            applied = engine.apply(approve, lock_timeout_s=lock_timeout, command=command)
            failed = bool(applied.finished.failed)
            if plans[-1].empty and not flags.as_json:
                say(
                    "Nothing was sent: the lake has what it had before the run, or the notes say why not. Compared were"
                    f" the metadata and annotation sets that run {run_id} changed, not files."
                )
            else:
                listener(applied.finished)
                if not (flags.as_json or flags.quiet):
                    say(what_comes_next(flags.manifest))
    finally:
        listener.close()
    if failed or any(note.code is NoteCode.NOT_REVERTED for note in plans[-1].notes):
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.SOME_FAILED)
