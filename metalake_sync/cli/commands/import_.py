"""`metalake-sync import`: take over what is in the lake already, or write a manifest of it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from metalake_sync.cli.options import ManifestFlags, RunFlags, observes, option, takes_manifest
from metalake_sync.errors import ExitCode, UsageError

REMOTE = """\
# Written by 'metalake-sync import --emit' from what the lake has. Put each collection's files into its folder, or
# correct the paths; then 'metalake-sync import' takes over what is there already, and 'plan' shows what is not.
version: 1
remote:
  url: ${LAYERNEXT_URL:-embedded:.metalake}
  api_key: ${LAYERNEXT_API_KEY}
  secret: ${LAYERNEXT_SECRET}
"""


@click.command("import", epilog="Example: metalake-sync import birds.yaml --emit && metalake-sync import birds.yaml")
@takes_manifest
@observes
@option("--emit", is_flag=True, help="Write the collections that the lake has and MANIFEST does not name.")
@option("--lock-timeout", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Wait so long for a run.")
def command(flags: ManifestFlags, run: RunFlags, emit: bool, lock_timeout: float) -> None:
    """Take over files of the manifest that the lake has already, by name and size; send nothing.

    What was taken over is not sent by the next apply, and is never pruned. Metadata that differs is named; apply
    changes it only with 'metadata_override: true'.

    With --emit, MANIFEST is written where there is none, from the lake of LAYERNEXT_URL; of one that is there, the
    missing collections are printed.
    """
    from metalake_sync.operations.rebuild import adopt_only

    if emit:
        _emit(flags, run)
        return
    listener = flags.listener()
    try:
        applied = adopt_only(
            flags.project(listener, run.options()), lock_timeout_s=lock_timeout, command=f"import {flags.manifest}"
        )
        listener(applied.finished)
    finally:
        listener.close()
    if applied.finished.failed or applied.unreadable:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _emit(flags: ManifestFlags, run: RunFlags) -> None:
    """Write a new manifest, or print what one lacks."""
    from metalake_sync.manifest import load_manifest
    from metalake_sync.operations.import_manifest import collection_blocks
    from metalake_sync.project import Project

    target = Path(flags.manifest)
    fresh = flags.manifest != "-" and not target.exists()
    draft = target.with_name(f".{target.name}.part") if fresh else None
    listener = flags.words()
    try:
        if draft is not None:
            try:
                draft.write_text(REMOTE)
            except OSError as error:
                raise UsageError(f"'{target}' can't be written: {error.strerror}") from error
            manifest = load_manifest(str(draft), environment=os.environ)
            project = Project(manifest, run.options(), listener, flags.state)
        else:
            project = flags.project(listener, run.options())
        known = frozenset((one.type, one.name) for one in project.manifest.collections)
        with project.reach() as client:
            blocks = list(collection_blocks(client, known))
        if draft is None:
            click.echo("".join(blocks) or "# the manifest names every collection of the lake", nl=not blocks)
            return
        draft.write_text(REMOTE + "collections:\n" + "".join(blocks) if blocks else REMOTE + "collections: []\n")
        draft.rename(target)
        click.echo(f"Wrote {target} with {len(blocks)} collections.")
    finally:
        listener.close()
        if draft is not None:
            draft.unlink(missing_ok=True)
