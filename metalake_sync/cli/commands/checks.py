"""`metalake-sync drift|check|doctor`: compare the lake with the last apply, verify files, and check what a run needs.

Must not: change anything.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from itertools import groupby
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.manifest_options import ComparisonFlags, ManifestFlags, compares, takes_manifest
from metalake_sync.cli.markdown_plan import markdown_plan
from metalake_sync.cli.options import IGNORE_COMPATIBILITY, on_command_line, option
from metalake_sync.cli.plan_lines import plan_lines
from metalake_sync.cli.render_plan import render_plan
from metalake_sync.cli.terminal import count, echo_json, say, shown, size
from metalake_sync.documents.plan import PlanDocument, plan_document
from metalake_sync.errors import ExitCode, UsageError
from metalake_sync.planning.run_options import RunOptions

if TYPE_CHECKING:
    from metalake_sync.core.plan import Plan

MISMATCHES_SHOWN = 20

MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "wrong": ("wrong", "red")}


@click.command("drift", epilog="Example: metalake-sync drift birds.yaml --detailed-exitcode")
@takes_manifest
@compares
@option("--detailed-exitcode", is_flag=True, help="Exit with 2 if there is drift.")
@option("--markdown", is_flag=True, help="Print Markdown, for the summary of a pipeline job.")
def drift_command(flags: ManifestFlags, compared: ComparisonFlags, detailed_exitcode: bool, markdown: bool) -> None:
    """Compare the lake with what was last applied, with a full refresh. Changes nothing.

    The output is the plan that would undo the drift. Local changes of files and of the manifest are ignored, and so are
    new files of other clients.
    """
    from metalake_sync.operations.drift import find_drift

    with closing(flags.words(silent=flags.as_json or markdown)) as listener:
        plan = find_drift(flags.engine(listener, compared.options()))
    if flags.as_json:
        from metalake_sync.documents.base import to_json

        echo_json(to_json(plan_document(plan, full_names=flags.verbose), indent=2))
    else:
        for line in _drift_lines(plan, flags, markdown):
            say(line)
    if detailed_exitcode and not plan.empty:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.CHANGES)


def _drift_lines(plan: Plan, flags: ManifestFlags, markdown: bool) -> Iterator[str]:

    shown = plan_document(plan, full_names=flags.verbose)
    if markdown:
        yield from markdown_plan(shown)
    elif plan.empty:
        yield f"No drift: {shown.summary.unchanged} files match the last apply."
    elif flags.quiet:
        yield f"Drift: {count(_differences(shown), 'difference')}."
    else:
        yield from list(render_plan(shown, all_lines=flags.verbose))[:-1]
        differences = count(_differences(shown), "difference")
        yield f"Drift: {differences}, shown as the actions that would undo them."


def _differences(plan: PlanDocument) -> int:
    """Return the number of lines, if each file has its own."""
    by_place = groupby(plan.actions, key=lambda action: (action.collection, action.type, action.address))
    return sum(1 for _, actions in by_place for _ in plan_lines(list(actions)))


@click.command(
    "check",
    epilog="Examples: metalake-sync check birds.yaml --download; metalake-sync check birds.yaml --sources --json",
)
@takes_manifest
@compares
@option(
    "--sources",
    is_flag=True,
    help="Check the local sources instead, without a lake: damaged files, placeholders of Git LFS, files with equal"
    " bytes, labels. Exit with 7 if a check fails.",
)
@option("--download", is_flag=True, help="Also download every file and compare its hash.")
@option("--detailed-exitcode", is_flag=True, help="Exit with 2 instead of 1 if a file is missing or differs.")
def check_command(
    flags: ManifestFlags, compared: ComparisonFlags, sources: bool, download: bool, detailed_exitcode: bool
) -> None:
    """Verify that the lake has each synced file with the right size. Changes nothing.

    Exits with 1 if a file is missing or differs. With --sources, runs the checks of the manifest ('checks') on all
    local files and annotations, also on those that a plan would not send.
    """
    if sources:
        for flag in ("--download", "--detailed-exitcode", "--parallelism", "--retry-for", "--ignore-compatibility"):
            if on_command_line(flag):
                remedy = f"Remove {flag}, or check the lake without --sources."
                raise UsageError(f"--sources does not work together with {flag}", remedy=remedy)
        _check_sources(flags, compared)
        return
    from metalake_sync.operations.drift import check

    with closing(flags.words(silent=flags.as_json)) as listener:
        checked = check(flags.engine(listener, compared.options()), download=download)
    wrong = checked.mismatches
    if flags.as_json:
        echo_json(json.dumps(asdict(checked), indent=2))
    else:
        for one in wrong if flags.verbose else wrong[:MISMATCHES_SHOWN]:
            say(f"wrong: {shown(one.collection)}/{shown(one.file)} {shown(one.problem)}", fg="red")
        if len(wrong) > MISMATCHES_SHOWN and not flags.verbose:
            say(f"… and {len(wrong) - MISMATCHES_SHOWN} more (-v shows all)")
        read = f", {size(checked.bytes_read)} read back" if download else ""
        say(f"{count(checked.files, 'file')} checked{read}: {len(wrong)} wrong.")
    if wrong:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.CHANGES if detailed_exitcode else ExitCode.FAILED)


FINDINGS_SHOWN = 10
"""How many findings of one kind are shown one by one."""


def _check_sources(flags: ManifestFlags, compared: ComparisonFlags) -> None:
    from metalake_sync.core.checks import failed, grouped, headline
    from metalake_sync.operations.source_check import check_sources

    with closing(flags.words(silent=flags.as_json)) as listener:
        engine = flags.engine(listener, compared.options())
        checked = check_sources(engine)
    errors = len(failed(checked.findings))
    warnings = len(checked.findings) - errors
    if flags.as_json:
        from metalake_sync.documents.base import to_json
        from metalake_sync.documents.checks import SourceCheckDocument, finding_documents

        document = SourceCheckDocument(
            manifest=engine.manifest.source,
            files=checked.files,
            errors=errors,
            warnings=warnings,
            findings=finding_documents(checked.findings),
            unreadable=checked.unreadable,
        )
        echo_json(to_json(document, indent=2, exclude_none=False))
    else:
        for group in grouped(checked.findings) if not flags.quiet else ():
            color = "red" if group[0].level == "error" else "yellow"
            word = click.style("error: " if group[0].level == "error" else "warning: ", fg=color)
            if len(group) == 1:
                place = f"{group[0].collection}/{group[0].subject} ({group[0].path})"
                say(word + shown(f"{place}: {headline(group)}"))
                continue
            say(word + shown(f"{group[0].collection}: {headline(group)}"))
            one_message = len({one.message for one in group}) == 1
            for one in group if flags.verbose else group[:FINDINGS_SHOWN]:
                place = f"{one.subject} ({one.path})"
                say("  " + shown(place if one_message else f"{place}: {one.message}"))
            if len(group) > FINDINGS_SHOWN and not flags.verbose:
                say(f"  … and {len(group) - FINDINGS_SHOWN} more (-v shows all)")
        for line in checked.unreadable if not flags.quiet else ():
            say(click.style("note: ", fg="yellow") + shown(line))
        found = f"{count(errors, 'error')}, {count(warnings, 'warning')}"
        say(f"{count(checked.files, 'file')} checked: {found}.")
    if errors:
        sys.stdout.flush()
        click.get_current_context().exit(ExitCode.GUARDED)


@click.command("doctor", epilog="Example: metalake-sync doctor birds.yaml --retry-for 5")
@takes_manifest
@option(
    "--retry-for",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds to keep retrying an unreachable lake.",
)
@IGNORE_COMPATIBILITY
def doctor_command(flags: ManifestFlags, retry_for: float, ignore_compatibility: bool) -> None:
    """Check versions, sources, state, disk space, inotify limits, credentials, the lake and the clock. Changes nothing.

    Exits with 0 if there are no errors (warnings are allowed). Otherwise it exits as a run would: with 12 for rejected
    credentials, with 5 for an unreachable lake, with 64 for an invalid address of the state or a library that is not
    installed, and with 1 for anything else.
    """
    from metalake_sync.operations.doctor import examine

    engine = flags.engine(
        options=replace(RunOptions(), retry_for_s=retry_for, ignore_compatibility=ignore_compatibility)
    )
    findings = []
    for finding in examine(engine):
        findings.append(finding)
        if flags.as_json or (flags.quiet and finding.verdict == "ok"):
            continue
        mark, color = MARKS[finding.verdict]
        remedy = f". {finding.remedy}" if finding.remedy else ""
        say(f"{click.style(f'{mark:<8}', fg=color)} {shown(finding.subject)}: {shown(finding.message + remedy)}")
    if flags.as_json:
        rows = [{key: value for key, value in asdict(finding).items() if key != "exit_code"} for finding in findings]
        echo_json(json.dumps(rows, indent=2))
    codes = [finding.exit_code for finding in findings if finding.verdict == "wrong"]
    if codes:
        sys.stdout.flush()
        click.get_current_context().exit(max(codes, key=_is_specific))


def _is_specific(code: ExitCode) -> bool:
    """Sort a specific exit code above the general one."""
    return code is not ExitCode.FAILED
