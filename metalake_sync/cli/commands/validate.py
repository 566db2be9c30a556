"""`metalake-sync validate`: checks a manifest and every file that it names."""

from __future__ import annotations

import click

from metalake_sync.cli.options import IGNORE_COMPATIBILITY, SAFE, ManifestFlags, option, takes_manifest
from metalake_sync.cli.streams import echo_json
from metalake_sync.errors import ExitCode, ManifestError, ManifestErrors


@click.command("validate", epilog="Example: metalake-sync validate birds.yaml --online")
@takes_manifest
@option("--online", is_flag=True, help="Also ask the lake to check tags and metadata fields.")
@SAFE
@IGNORE_COMPATIBILITY
def command(flags: ManifestFlags, online: bool, safe: bool, ignore_compatibility: bool) -> None:
    """Check the manifest, its files, patterns and sources. Uses neither the lake nor the state.

    All errors are reported together, each with its line and column.
    """
    from metalake_sync.cli.render_plan import render_notes
    from metalake_sync.cli.wording import count, size
    from metalake_sync.core.notes import UNUSABLE
    from metalake_sync.planning.run_options import RunOptions

    listener = flags.words(silent=flags.as_json)
    try:
        options = RunOptions(ignore_compatibility=ignore_compatibility)
        project = flags.project(listener, options, safe=safe)
        plan = project.validate(online=online)
    finally:
        listener.close()
    summary = plan.summary()
    invalid = [note for note in plan.notes if note.code in UNUSABLE]
    if flags.as_json:
        from metalake_sync.cli.documents import to_json
        from metalake_sync.cli.plan_document import plan_document

        echo_json(to_json(plan_document(plan), include={"manifest", "warnings"}, indent=2))
        if invalid:
            click.get_current_context().exit(ExitCode.USAGE)
        return
    if not flags.quiet:
        for line in render_notes(tuple(note for note in plan.notes if note not in invalid), all_notes=flags.verbose):
            click.echo(line)
    if invalid:
        raise ManifestErrors([ManifestError(note.message, where=note.where) for note in invalid])
    click.echo(
        f"{project.manifest.source} is valid: {count(len(plan.collections), 'collection')},"
        f" {count(summary.upload, 'file')} ({size(summary.bytes_to_send)}),"
        f" {count(summary.annotate, 'annotation set')}."
    )
