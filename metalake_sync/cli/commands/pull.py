"""`metalake-sync pull`: download files into local folders."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metalake_sync.cli.approval import Approval
from metalake_sync.cli.manifest_options import (
    LOCK_TIMEOUT,
    ManifestFlags,
    TransferFlags,
    max_delete_of,
    takes_manifest,
    takes_transfers,
)
from metalake_sync.cli.options import FolderPath, option
from metalake_sync.cli.selection_options import COLLECTION_TYPE, NAMINGS, WRITTEN_FORMATS
from metalake_sync.core.events import Event, PlanMade
from metalake_sync.core.notes import NoteCode
from metalake_sync.errors import ExitCode, ManifestError, ManifestErrors, UsageError

if TYPE_CHECKING:
    from metalake_sync.core.plan import Plan
    from metalake_sync.manifest import LoadedManifest


@click.command("pull", epilog="Example: metalake-sync pull birds.yaml --collection birds --to out --annotations human")
@takes_manifest
@takes_transfers
@option("--collection", metavar="NAME", help="Download this collection instead of the manifest's downloads.")
@COLLECTION_TYPE
@option("--to", type=FolderPath(), help="Folder for --collection.")
@option(
    "--query",
    help="Query that restricts --collection, as on the web page, such as annotation.label=Bird or metadata.Tags=skip.",
)
@option("--naming", type=NAMINGS, help="How --collection names local files. [default: unique_name]")
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
@option("--dry-run", is_flag=True, help="Print what would be downloaded, and stop.")
@option("--auto-approve", is_flag=True, help="Remove local files of downloads with 'prune' without asking.")
@option(
    "--max-delete",
    metavar="N|P%",
    help="Stop a plan that removes more than N local files, or more than P% of a download."
    " [default: 50% of a download or 1000 files, whichever is smaller]",
)
@LOCK_TIMEOUT
def pull_command(
    flags: ManifestFlags,
    transfers: TransferFlags,
    collection: str | None,
    content_type: str | None,
    to: Path | None,
    query: str | None,
    naming: str | None,
    annotations: str | None,
    annotation_format: str | None,
    dry_run: bool,
    auto_approve: bool,
    max_delete: str | None,
    lock_timeout: float,
) -> None:
    """Run the manifest's downloads, or download one collection from its lake.

    Files that are up to date are not fetched again, and interrupted downloads are resumed. A plan that removes local
    files ('prune') needs approval: at the prompt on a terminal, or with --auto-approve. MANIFEST is a file, a folder
    of *.yaml files, or - for standard input.

    A collection, or a label in a query, that the lake does not have is an error: with --collection the command exits
    with 64. Of the manifest's downloads, the others are carried out, and the command exits with 3.
    """
    manifest = flags.load()
    own = {
        "--type": content_type,
        "--to": to,
        "--query": query,
        "--naming": naming,
        "--annotations": annotations,
        "--format": annotation_format,
    }
    if collection is not None:
        if to is None:
            raise UsageError("'--collection' needs a folder", remedy="Give --to DIR.")
        manifest = _with_download(manifest, collection, to, own)
    elif any(value is not None for value in own.values()):
        given = next(flag for flag, value in own.items() if value is not None)
        raise UsageError(f"'{given}' needs '--collection'", remedy="Give --collection NAME, or remove the flag.")
    elif not manifest.model.downloads:
        raise UsageError("the manifest has no downloads", remedy="Add 'downloads', or give --collection and --to.")
    from metalake_sync.engine import Engine

    with closing(flags.listener()) as listener:

        def emit(event: Event) -> None:
            if collection is not None and isinstance(event, PlanMade):
                _refuse_unknown(event.plan)
                event = PlanMade(_without_places(event.plan))
            listener(event)

        approve = Approval.of(listener, flags.manifest, approved=auto_approve, as_json=flags.as_json)
        options = replace(transfers.options(), max_delete=max_delete_of(max_delete))
        words = ("metalake-sync", *sys.argv[1:])
        engine = Engine(manifest, options, emit, flags.state, command_line=words)
        try:
            if dry_run:
                with replace(engine, downloads_only=True).plan() as planned:
                    emit(PlanMade(planned.plan))
                    incomplete = bool(planned.unreadable)
            else:
                applied = engine.pull(approve=approve, lock_timeout_s=lock_timeout, command=f"pull {flags.manifest}")
                listener(applied.finished)
                incomplete = bool(applied.finished.failed or applied.unreadable)
        except ManifestError as error:
            if collection is None or isinstance(error, ManifestErrors):
                raise
            # The download is not in the manifest, so no line of it is to blame.
            raise UsageError(error.message, remedy=error.remedy) from None
    if incomplete:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _refuse_unknown(plan: Plan) -> None:
    """Raise UsageError if the lake does not have the collection of --collection, or a label of --query."""
    for note in plan.notes:
        if note.code in (NoteCode.COLLECTION_UNKNOWN, NoteCode.LABEL_UNKNOWN):
            raise UsageError.of_clause(note.message)


def _without_places(plan: Plan) -> Plan:
    """Return the plan of a download that is not in the manifest. Its notes name no line."""
    places = {download.spec.declared_at for download in plan.downloads}
    return replace(plan, notes=tuple(replace(note, where="") if note.where in places else note for note in plan.notes))


def _with_download(manifest: LoadedManifest, collection: str, to: Path, given: dict[str, Any]) -> LoadedManifest:
    """Return the manifest with only this download. `to` is relative to the current folder, not to the manifest."""
    from pydantic import ValidationError

    from metalake_sync.manifest.remote_models import Download

    block: dict[str, Any] = {
        "collection": collection,
        "type": given["--type"],
        "to": str(to.absolute()),
        "query": given["--query"] or "",
        "naming": given["--naming"] or "unique_name",
    }
    if given["--annotations"] != "none":
        block["annotations"] = {
            "kind": given["--annotations"] or "all",
            "format": given["--format"] or "metalake",
        }
    try:
        download = Download.model_validate(block)
    except ValidationError as error:
        problem = error.errors()[0]
        option = f"--{problem['loc'][0]}" if problem["loc"] else "--collection"
        raise UsageError(f"'{option}' {problem['msg']}", remedy="Correct it.") from None
    model = manifest.model.model_copy(update={"downloads": [download]})
    return replace(manifest, model=model)
