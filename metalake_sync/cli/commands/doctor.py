"""`metalake-sync doctor`: checks everything that a run needs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace

import click

from metalake_sync.cli.options import IGNORE_COMPATIBILITY, ManifestFlags, option, takes_manifest
from metalake_sync.cli.streams import echo_json
from metalake_sync.errors import ExitCode

MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "wrong": ("wrong", "red")}


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
def command(flags: ManifestFlags, retry_for: float, ignore_compatibility: bool) -> None:
    """Check versions, sources, state, disk space, inotify limits, credentials, the lake and the clock. Changes nothing.

    Exits with 0 if there are no errors (warnings are allowed). Otherwise it exits as a run would: with 12 for refused
    credentials, with 5 for an unreachable lake, and with 1 for anything else.
    """
    from metalake_sync.cli.wording import shown
    from metalake_sync.operations.doctor import examine
    from metalake_sync.planning.run_options import RunOptions

    project = flags.project(
        options=replace(RunOptions(), retry_for_s=retry_for, ignore_compatibility=ignore_compatibility)
    )
    findings = []
    for finding in examine(project):
        findings.append(finding)
        if flags.as_json or (flags.quiet and finding.verdict == "ok"):
            continue
        mark, color = MARKS[finding.verdict]
        remedy = f". {finding.remedy}" if finding.remedy else ""
        click.echo(f"{click.style(f'{mark:<8}', fg=color)} {shown(finding.subject)}: {shown(finding.message + remedy)}")
    if flags.as_json:
        rows = [{key: value for key, value in asdict(finding).items() if key != "exit_code"} for finding in findings]
        echo_json(json.dumps(rows, indent=2))
    codes = [finding.exit_code for finding in findings if finding.verdict == "wrong"]
    if codes:
        sys.stdout.flush()
        click.get_current_context().exit(max(codes, key=_weight))


def _weight(code: ExitCode) -> bool:
    """Sort a specific exit code above the general one."""
    return code is not ExitCode.FAILED
