"""`metalake-sync validate`: check a manifest and everything that it names."""

from __future__ import annotations

from pathlib import Path

import click

from metalake_sync.cli.options import manifest_argument, manifest_options, open_session, option


@click.command("validate", epilog="Example: metalake-sync validate birds.yaml --online")
@manifest_argument
@manifest_options
@option("--online", is_flag=True, help="Also ask the lake about tags and metadata fields.")
def command(
    manifest: str,
    as_json: bool,
    state: Path | None,
    var: tuple[str, ...],
    var_file: tuple[str, ...],
    verbose: bool,
    quiet: bool,
    online: bool,
) -> None:
    """Check the manifest, its files, patterns and sources, without a lake and without touching the state.

    All mistakes are shown at once, each with its line and column.
    """
    from metalake_sync.cli.listeners import TextListener
    from metalake_sync.cli.render_plan import render_notes
    from metalake_sync.cli.wording import count, size

    listener = TextListener(quiet=quiet or as_json, verbose=verbose)
    session = open_session(manifest, listener, state=state, var=var, var_file=var_file)
    try:
        plan = session.validate(online=online)
    finally:
        listener.close()
    summary = plan.summary()
    if as_json:
        from metalake_sync.cli.documents import plan_document

        document = plan_document(plan)
        click.echo(document.model_dump_json(include={"manifest", "warnings"}, indent=2))
        return
    if not quiet:
        for line in render_notes(plan.notes, all_notes=verbose):
            click.echo(line)
    click.echo(
        f"{session.manifest.source} is valid: {count(len(plan.collections), 'collection')},"
        f" {count(summary.upload, 'file')} ({size(summary.bytes_to_send)}),"
        f" {count(summary.annotate, 'annotation set')}."
    )
