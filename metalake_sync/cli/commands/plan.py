"""`metalake-sync plan|apply|show`: show what apply would do, make the lake match the manifest, print a saved plan."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.approval import Approval
from metalake_sync.cli.log_lines import log_error
from metalake_sync.cli.manifest_options import (
    LOCK_TIMEOUT,
    SAFE,
    WORKERS,
    ManifestFlags,
    RunFlags,
    max_delete_of,
    observes,
    takes_manifest,
)
from metalake_sync.cli.markdown_plan import markdown_plan
from metalake_sync.cli.options import option
from metalake_sync.cli.render_plan import footer, render_plan
from metalake_sync.cli.terminal import count, echo_json, say, shown
from metalake_sync.core.checks import failed
from metalake_sync.core.events import PlanMade
from metalake_sync.core.notes import UNUSABLE
from metalake_sync.documents.plan import plan_document
from metalake_sync.documents.saved_plan_files import (
    check_not_broken,
    is_saved_plan,
    load_plan,
    manifest_of,
    read_stream,
    save_plan,
)
from metalake_sync.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from metalake_sync.report.pages import Report

FULL = option("--full", is_flag=True, help="List every file, also those that change in the same way.")


HTML = option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the plan with images to this file, before and after of each change."
    " Needs: pip install 'metalake-sync[html]'.",
)
MAX_IMAGES = option(
    "--max-images",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="Number of entries that the HTML plan shows with images.",
)
MAX_SIZE = option(
    "--max-size",
    type=click.FloatRange(0.2),
    default=20.0,
    show_default=True,
    metavar="MB",
    help="Size limit of the HTML plan in megabytes.",
)


@click.command(
    "plan",
    epilog="Examples: metalake-sync plan birds.yaml --out birds.plan; metalake-sync apply birds.plan;"
    " metalake-sync plan birds.yaml --html plan.html",
)
@takes_manifest
@observes
@option("--detailed-exitcode", is_flag=True, help="Exit with 2 if there are changes.")
@option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Save the plan to this file, for 'apply'.")
@option(
    "--explain", metavar="FILE", help="Explain why one file is included or excluded, and what the plan does with it."
)
@SAFE
@option("--markdown", is_flag=True, help="Print Markdown, for a comment on a pull request.")
@FULL
@HTML
@MAX_IMAGES
@MAX_SIZE
def plan_command(
    flags: ManifestFlags,
    run: RunFlags,
    detailed_exitcode: bool,
    out: Path | None,
    explain: str | None,
    safe: bool,
    markdown: bool,
    full: bool,
    html: Path | None,
    max_images: int,
    max_size: float,
) -> None:
    """Show what apply would do. Changes nothing in the lake or in the sources.

    MANIFEST is a file, a folder of *.yaml files, or - for standard input. Exits with 7 if a check of the sources fails.
    """
    if html is not None:
        from metalake_sync.report.pages import need_libraries

        need_libraries()
    with closing(flags.words(silent=flags.as_json or markdown)) as listener:
        engine = flags.engine(listener, run.options(), safe=safe)
        if explain is not None:
            from metalake_sync.cli.explanation import print_explanation

            print_explanation(engine, explain, as_json=flags.as_json)
            return
        with engine.observe() as observed:
            planned = observed.planned
            if out is not None:
                save_plan(planned.plan, engine, out)
            listener.close()
            report = None
            if html is not None:
                from metalake_sync.cli.html_plan import open_plan_report, write_report

                report = open_plan_report(engine, observed, max_images=max_images, max_bytes=round(max_size * 1e6))
                write_report(report, html)
            if flags.as_json:
                from metalake_sync.documents.base import to_json

                echo_json(to_json(plan_document(planned.plan, full_names=flags.verbose), indent=2))
            elif markdown:
                click.echo("\n".join(markdown_plan(plan_document(planned.plan, full_names=flags.verbose))))
            elif flags.quiet:
                say(footer(plan_document(planned.plan, shapes=False)))
            else:
                everything = full or flags.verbose
                for line in render_plan(plan_document(planned.plan, full_names=flags.verbose), all_lines=everything):
                    say(line)
            if out is not None and not (flags.as_json or flags.quiet or markdown):
                say(f"Saved. To apply it: metalake-sync apply {out}")
            if report is not None and html is not None and not (flags.as_json or flags.quiet or markdown):
                _say_written(report, html)
            changes = not planned.plan.empty
            incomplete = any(note.code in UNUSABLE for note in planned.plan.notes)
            stopped = bool(failed(planned.plan.findings))
    if stopped:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.GUARDED)
    if incomplete:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.SOME_FAILED)
    if detailed_exitcode and changes:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.CHANGES)


@click.command("apply", epilog="Example: metalake-sync apply birds.yaml --var split=train")
@takes_manifest
@observes
@option("--auto-approve", is_flag=True, help="Trash, replace, remove and overwrite without asking for approval.")
@LOCK_TIMEOUT
@option(
    "--max-delete",
    metavar="N|P%",
    help="Stop a plan that trashes, replaces or removes more than N files, or more than P% of a collection or of a"
    " download. [default: 50% of a collection or 1000 files, whichever is smaller]",
)
@option("--dry-run", is_flag=True, help="Print the plan and stop.")
@WORKERS
def apply_command(
    flags: ManifestFlags,
    run: RunFlags,
    auto_approve: bool,
    lock_timeout: float,
    max_delete: str | None,
    dry_run: bool,
    workers: str | None,
) -> None:
    """Make the lake match the manifest. Files that the lake already has are not sent again.

    A plan that only adds or updates is applied at once. A plan that trashes, replaces or removes anything, or
    overwrites what another client wrote, needs approval: at the prompt on a terminal, or with --auto-approve.

    MANIFEST is a file, a folder of *.yaml files, - for standard input, or a plan saved with 'plan --out'. A saved plan
    counts as approved. It is applied unchanged, or not at all if anything that it depends on has changed.
    """
    named = flags.manifest
    listener = flags.listener()
    approve = Approval.of(listener, flags.manifest, approved=auto_approve, as_json=flags.as_json)

    try:
        options = replace(run.options(), max_delete=max_delete_of(max_delete), workers=workers)
        saved = None
        if flags.manifest != "-" and not os.path.lexists(flags.manifest):
            raise UsageError(
                "the file does not exist",
                where=shown(flags.manifest),
                remedy="Pass a manifest, or a plan that 'plan --out' saved. 'metalake-sync init' writes an example.",
            )
        content = read_stream(flags.manifest)
        if is_saved_plan(flags.manifest, content):
            saved = load_plan(flags.manifest, content)
            content = None
            for flag, given in (("--target", run.target), ("--exclude", run.exclude)):
                if given:
                    raise UsageError("a saved plan has its own targets", remedy=f"Remove {flag}, or make a new plan.")
            flags = replace(flags, manifest=manifest_of(saved, flags.manifest))
            options = saved.with_options(options)
        elif flags.manifest != "-":
            check_not_broken(flags.manifest, content)
        engine = flags.engine(listener, options, content)
        if saved is not None and saved.revert is not None:
            from metalake_sync.operations.revert import reverting

            engine = reverting(engine, saved.revert)
        if dry_run:
            with engine.plan() as planned:
                listener(PlanMade(planned.plan))
                stopped = bool(failed(planned.plan.findings))
            if stopped:
                click.get_current_context().exit(ExitCode.GUARDED)
            return
        command = f"apply {named}"
        if saved is not None and saved.revert is not None:
            command = f"revert {saved.revert} {flags.manifest} (saved as {named})"
        applied = engine.apply(
            approve if saved is None else lambda _plan: auto_approve or saved.destructive,
            lock_timeout_s=lock_timeout,
            command=command,
            approved=saved.approved() if saved is not None else None,
        )
        listener(applied.finished)
        if saved is not None and saved.revert is not None and not (flags.as_json or flags.quiet):
            from metalake_sync.cli.commands.revert import what_comes_next

            say(what_comes_next(flags.manifest))
    finally:
        listener.close()
    if applied.finished.failed or applied.unreadable:
        if applied.unreadable and not flags.as_json:
            parts = count(applied.unreadable, "part of the manifest", "parts of the manifest")
            log_error(f"{parts} could not be read or carried out; see the notes above", json_log=flags.json_log)
        click.get_current_context().exit(ExitCode.SOME_FAILED)


@click.command("show", epilog="Examples: metalake-sync show birds.plan; metalake-sync show birds.plan --html plan.html")
@option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@option("--markdown", is_flag=True, help="Print Markdown, for a comment on a pull request.")
@option("-v", "--verbose", is_flag=True, help="Show every action, not only the first 10 of each kind.")
@FULL
@HTML
@MAX_IMAGES
@MAX_SIZE
@click.argument("plan", metavar="PLANFILE", type=click.Path())
def show_command(
    plan: str,
    as_json: bool,
    markdown: bool,
    verbose: bool,
    full: bool,
    html: Path | None,
    max_images: int,
    max_size: float,
) -> None:
    """Print a plan that was saved with 'plan --out'. Reads neither the lake nor the sources, except that --html reads
    the images."""
    saved = load_plan(plan)
    document = saved.plan
    report = None
    if html is not None:
        from metalake_sync.cli.html_plan import saved_plan_report, write_report

        report = saved_plan_report(
            saved, manifest_of(saved, plan), max_images=max_images, max_bytes=round(max_size * 1e6)
        )
        write_report(report, html)
    if as_json:
        from metalake_sync.documents.base import to_json

        echo_json(to_json(document, indent=2))
    elif markdown:
        click.echo("\n".join(markdown_plan(document)))
    else:
        for line in render_plan(document, all_lines=verbose or full):
            say(line)
        if report is not None and html is not None:
            _say_written(report, html)


def _say_written(report: Report, html: Path) -> None:
    say(f"Wrote {shown(str(html))}, with images of {count(report.images, 'entry', 'entries')}.")
    for line in report.left_out:
        say(f"note: {line}")
