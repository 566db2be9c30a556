"""`metalake-sync import`: adopts files that are in the lake already, or writes a manifest from them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from metalake_sync.cli.options import ManifestFlags, RunFlags, observes, option, takes_manifest
from metalake_sync.errors import ExitCode, UsageError

REMOTE = """\
# Written by 'metalake-sync import --emit' from the collections of the lake. Put each collection's files into its
# folder, or correct the paths. Then 'metalake-sync import' adopts the files, and 'plan' shows the differences.
version: 1
remote:
  url: ${LAYERNEXT_URL:-embedded:.metalake}
  api_key: ${LAYERNEXT_API_KEY}
  secret: ${LAYERNEXT_SECRET}
"""


@click.command("import", epilog="Example: metalake-sync import birds.yaml --emit && metalake-sync import birds.yaml")
@takes_manifest
@observes
@option("--emit", is_flag=True, help="Write the lake's collections that MANIFEST does not contain.")
@option(
    "--lock-timeout",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Seconds to wait for another run's lock (default: 0).",
)
def command(flags: ManifestFlags, run: RunFlags, emit: bool, lock_timeout: float) -> None:
    """Adopt files of the manifest that are in the lake already, by name and size. Sends nothing.

    The next apply does not send adopted files, and they are never pruned. Metadata that differs is reported; apply
    writes it only with 'metadata_override: true'.

    With --emit, the command writes MANIFEST from the lake of LAYERNEXT_URL if the file does not exist. If it exists,
    the command prints the missing collections.
    """
    from metalake_sync.operations.adoption import adopt_only

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
    """Write a new manifest, or print the collections that an existing one does not contain."""
    from metalake_sync.manifest import load_manifest
    from metalake_sync.operations.adoption import collection_blocks
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
                raise UsageError(f"'{target}' cannot be written: {error.strerror}") from error
            manifest = load_manifest(str(draft), environment=os.environ)
            project = Project(manifest, run.options(), listener, flags.state)
        else:
            project = flags.project(listener, run.options())
        known = frozenset((one.type, one.name) for one in project.manifest.collections)
        with project.reach() as client:
            blocks = list(collection_blocks(client, known))
        if draft is None:
            click.echo("".join(blocks) or "# the manifest contains every collection of the lake", nl=not blocks)
            return
        draft.write_text(REMOTE + "collections:\n" + "".join(blocks) if blocks else REMOTE + "collections: []\n")
        draft.rename(target)
        click.echo(f"Wrote {target} with {len(blocks)} collections.")
    finally:
        listener.close()
        if draft is not None:
            draft.unlink(missing_ok=True)
