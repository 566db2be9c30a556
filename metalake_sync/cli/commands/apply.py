"""`metalake-sync apply`: makes the lake match the manifest."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.options import ManifestFlags, RunFlags, max_delete_of, observes, option, takes_manifest
from metalake_sync.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from metalake_sync.core.plan import Plan


@click.command("apply", epilog="Example: metalake-sync apply birds.yaml --var split=train")
@takes_manifest
@observes
@option("--auto-approve", is_flag=True, help="Trash, replace, remove and overwrite without asking for approval.")
@option(
    "--lock-timeout",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Seconds to wait for another run's lock (default: 0).",
)
@option(
    "--max-delete",
    metavar="N|P%",
    help="Stop a plan that trashes or replaces more than N files, or more than P% of a collection."
    " [default: 50% of a collection or 1000 files, whichever is smaller]",
)
@option("--dry-run", is_flag=True, help="Print the plan and stop.")
def command(
    flags: ManifestFlags,
    run: RunFlags,
    auto_approve: bool,
    lock_timeout: float,
    max_delete: str | None,
    dry_run: bool,
) -> None:
    """Make the lake match the manifest. Files that the lake already has are not sent again.

    A plan that only adds or updates is applied at once. A plan that trashes, replaces or removes anything, or
    overwrites what another client wrote, needs approval: at the prompt on a terminal, or with --auto-approve.

    MANIFEST is a file, a folder of *.yaml files, - for standard input, or a plan saved with 'plan --out'. A saved plan
    counts as approved. It is applied unchanged, or not at all if anything that it depends on has changed.
    """
    from metalake_sync.cli.log_lines import log_error
    from metalake_sync.cli.saved_plans import is_saved_plan, load_plan, read_stream
    from metalake_sync.cli.wording import count
    from metalake_sync.core.events import PlanMade

    named = flags.manifest
    listener = flags.listener()
    asks = not flags.as_json and flags.manifest != "-" and sys.stdin.isatty() and sys.stdout.isatty()

    def approve(_plan: Plan) -> bool:
        if auto_approve or not asks:
            return auto_approve
        listener.pause()
        return click.confirm("Something will be trashed, replaced, removed or overwritten. Continue?", default=False)

    try:
        options = replace(run.options(), max_delete=max_delete_of(max_delete))
        saved = None
        content = read_stream(flags.manifest)
        if is_saved_plan(flags.manifest, content):
            saved = load_plan(flags.manifest, content)
            content = None
            if run.target:
                raise UsageError("a saved plan has its own targets", remedy="Remove --target, or make a new plan.")
            flags = replace(flags, manifest=saved.manifest)
            options = replace(
                options,
                refresh=saved.refresh,
                checksum=saved.checksum,
                targets=tuple(saved.targets),
                targets_may_miss=True,
            )
        project = flags.project(listener, options, content)
        if dry_run:
            with project.plan() as planned:
                listener(PlanMade(planned.plan))
            return
        applied = project.apply(
            approve if saved is None else lambda _plan: True,
            lock_timeout_s=lock_timeout,
            command=f"apply {named}",
            approved=saved.approved() if saved is not None else None,
        )
        listener(applied.finished)
    finally:
        listener.close()
    if applied.finished.failed or applied.unreadable:
        if applied.unreadable and not flags.as_json:
            unreadable = count(applied.unreadable, "file or folder", "files or folders")
            log_error(f"{unreadable} could not be read; see the notes above", json_log=flags.json_log)
        click.get_current_context().exit(ExitCode.SOME_FAILED)
