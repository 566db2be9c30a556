"""`metalake-sync pull`: downloads files and annotations into local folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metalake_sync.cli.connection import TYPES, WRITTEN_FORMATS
from metalake_sync.cli.options import FolderPath, ManifestFlags, RunFlags, observes, option, takes_manifest
from metalake_sync.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from metalake_sync.manifest import LoadedManifest


@click.command("pull", epilog="Example: metalake-sync pull birds.yaml --collection birds --to out --annotations human")
@takes_manifest
@observes
@option("--collection", metavar="NAME", help="Download this collection instead of the manifest's downloads.")
@option(
    "--type",
    "content_type",
    type=TYPES,
    help="The collection's type. Needed if the lake has several collections with this name.",
)
@option("--to", type=FolderPath(), help="Folder for --collection.")
@option(
    "--annotations",
    type=click.Choice(["human", "machine", "all", "none"]),
    help="Annotations of --collection to download. [default: all]",
)
@option(
    "--format",
    "annotation_format",
    type=WRITTEN_FORMATS,
    help="Format of the annotations of --collection. [default: metalake]",
)
@option(
    "--lock-timeout",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Seconds to wait for another run's lock (default: 0).",
)
def command(
    flags: ManifestFlags,
    run: RunFlags,
    collection: str | None,
    content_type: str | None,
    to: Path | None,
    annotations: str | None,
    annotation_format: str | None,
    lock_timeout: float,
) -> None:
    """Run the manifest's downloads, or download one collection from its lake.

    Files that are up to date are not fetched again, and interrupted downloads are resumed. MANIFEST is a file, a folder
    of *.yaml files, or - for standard input.
    """
    from metalake_sync.project import Project

    if run.refresh == "none":
        raise UsageError("a download needs the lake", remedy="Remove '--refresh none'.")
    manifest = flags.load()
    own = {"--type": content_type, "--to": to, "--annotations": annotations, "--format": annotation_format}
    if collection is not None:
        if to is None:
            raise UsageError("'--collection' needs a folder", remedy="Give --to DIR.")
        manifest = _with_download(manifest, collection, content_type, to, annotations, annotation_format or "metalake")
    elif any(value is not None for value in own.values()):
        given = next(flag for flag, value in own.items() if value is not None)
        raise UsageError(f"'{given}' needs '--collection'", remedy="Give --collection NAME, or remove the flag.")
    elif not manifest.model.downloads:
        raise UsageError("the manifest has no downloads", remedy="Add 'downloads', or give --collection and --to.")
    listener = flags.listener()
    try:
        project = Project(manifest, run.options(), listener, flags.state)
        applied = project.pull(lock_timeout_s=lock_timeout, command=f"pull {flags.manifest}")
        listener(applied.finished)
    finally:
        listener.close()
    if applied.finished.failed:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _with_download(
    manifest: LoadedManifest,
    collection: str,
    content_type: str | None,
    to: Path,
    annotations: str | None,
    annotation_format: str,
) -> LoadedManifest:
    """Return the manifest with only this download. `to` is relative to the current folder, not to the manifest."""
    from metalake_sync.manifest.remote_models import Download

    block: dict[str, Any] = {"collection": collection, "type": content_type, "to": str(to.absolute())}
    if annotations != "none":
        block["annotations"] = {"kind": annotations or "all", "format": annotation_format}
    model = manifest.model.model_copy(update={"downloads": [Download.model_validate(block)]})
    return replace(manifest, model=model)
