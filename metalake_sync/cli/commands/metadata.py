"""`metalake-sync metadata`: writes metadata of collections and files in the lake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.lake_options import LakeFlags, takes_lake
from metalake_sync.cli.options import option
from metalake_sync.cli.selection_options import TYPES, metadata_of, metadata_options
from metalake_sync.cli.terminal import count, shown
from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.api import WriteResult
    from metalake_sync.api.connected import ContentType


@click.group("metadata", epilog="Example: metalake-sync metadata files metadata.json --collection birds --type image")
def metadata_command() -> None:
    """Write metadata of collections and files in the lake."""


@metadata_command.command(
    "collection", epilog='Example: metalake-sync metadata collection birds --type image --set "City=Rome"'
)
@takes_lake
@click.argument("name")
@option("--type", "content_type", type=TYPES, required=True, help="Type of the collection's files.")
@metadata_options
@option("--head-only", is_flag=True, help="Write only the collection's own metadata, not that of its files.")
def collection(
    flags: LakeFlags,
    name: str,
    content_type: ContentType,
    assignments: tuple[str, ...],
    tags: tuple[str, ...],
    head_only: bool,
) -> None:
    """Write metadata of a collection and of every file in it, also of files of other clients."""
    values = metadata_of(assignments, tags)
    if not values:
        raise UsageError("there is no metadata to write", remedy="Give --set FIELD=VALUE or --tag TAG.")
    with flags.lake() as lake:
        lake.upload_metadata_for_collection(name, content_type, values, apply_to_all_files=not head_only)
    what = "the collection" if head_only else "the collection and its files"
    flags.show({"collection": name, "files": not head_only}, lambda: iter([f"{shown(name)}: {what} updated"]))


@metadata_command.command(
    "files", epilog="Example: metalake-sync metadata files metadata.json --collection birds --type image"
)
@takes_lake
@click.argument("source", type=click.Path(path_type=Path))
@option("--collection", metavar="NAME", help="Match entries by name in this collection.")
@option(
    "--type", "content_type", type=TYPES, default="image", show_default=True, help="Type of the collection's files."
)
@option("--job", metavar="ID", help="Match entries by name in this upload job.")
@option("--by-unique-name", is_flag=True, help="Match entries by unique name.")
@option("--by-storage-path", is_flag=True, help="Match entries by path in the storage, without a leading slash.")
@option("--bucket", help="Bucket for --by-storage-path (default: the lake's default bucket).")
def files(
    flags: LakeFlags,
    source: Path,
    collection: str | None,
    content_type: ContentType,
    job: str | None,
    by_unique_name: bool,
    by_storage_path: bool,
    bucket: str | None,
) -> None:
    """Write metadata of single files from a JSON file: {"files": [{"file", "metadata"}]}."""
    check_addressing(collection, job, by_unique_name, by_storage_path, bucket)
    with flags.lake() as lake:

        def call() -> WriteResult:
            if collection is not None:
                return lake.upload_metadata_for_files(collection, content_type, source)
            if job is not None:
                return lake.upload_metadata_by_job_id(job, source)
            if by_unique_name:
                return lake.upload_metadata_by_unique_name(source)
            return lake.upload_metadata_by_storage_path(source, bucket)

        flags.finish(call, written)


def check_addressing(
    collection: str | None, job: str | None, by_unique_name: bool, by_storage_path: bool, bucket: str | None
) -> None:
    """Raise UsageError unless the flags set exactly one way of matching entries."""
    if (collection is not None) + (job is not None) + by_unique_name + by_storage_path != 1:
        raise UsageError(
            "there must be exactly one way of matching entries",
            remedy="Give one of --collection NAME, --job ID, --by-unique-name and --by-storage-path.",
        )
    if bucket is not None and not by_storage_path:
        raise UsageError("'--bucket' needs '--by-storage-path'", remedy="Give both, or neither.")


def written(result: WriteResult) -> Iterator[str]:
    """Yield the result of a write, one line each."""
    for note in result.notes:
        yield f"note: {shown(note)}"
    if result.unmatched:
        yield f"note: {count(len(result.unmatched), 'entry', 'entries')} without a file: " + ", ".join(
            map(shown, result.unmatched[:5])
        )
    if result.unconfirmed:
        yield (
            f"note: {count(result.unconfirmed, 'entry', 'entries')} not confirmed: the lake ignores names that it does"
            " not have, and does not report them"
        )
    yield f"{count(result.written, 'entry', 'entries')} written"
    if result.attached_to is not None:
        yield f"model run attached to project {shown(result.attached_to)}"
