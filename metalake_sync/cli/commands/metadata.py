"""`metalake-sync metadata`: metadata of what is in the lake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.connection import TYPES, LakeFlags, metadata_of, metadata_options, takes_lake
from metalake_sync.cli.options import option
from metalake_sync.cli.wording import count, shown
from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.api import WriteResult
    from metalake_sync.api.connected import ContentType


@click.group("metadata", epilog="Example: metalake-sync metadata files metadata.json --collection birds --type image")
def command() -> None:
    """Write metadata of collections and files that are in the lake."""


@command.command("collection", epilog='Example: metalake-sync metadata collection birds --type image --set "City=Rome"')
@takes_lake
@click.argument("name")
@option("--type", "content_type", type=TYPES, required=True, help="What it holds.")
@metadata_options
@option("--head-only", is_flag=True, help="Not its files.")
def collection(
    flags: LakeFlags,
    name: str,
    content_type: ContentType,
    assignments: tuple[str, ...],
    tags: tuple[str, ...],
    head_only: bool,
) -> None:
    """Write a collection's metadata, and that of every file in it, whoever put it there."""
    values = metadata_of(assignments, tags)
    if not values:
        raise UsageError("nothing says what is to be written", remedy="Give --set FIELD=VALUE or --tag TAG.")
    with flags.lake() as lake:
        lake.upload_metadata_for_collection(name, content_type, values, apply_to_all_files=not head_only)
    what = "the collection" if head_only else "the collection and its files"
    flags.show({"collection": name, "files": not head_only}, lambda: iter([f"{shown(name)}: {what} updated"]))


@command.command("files", epilog="Example: metalake-sync metadata files metadata.json --collection birds --type image")
@takes_lake
@click.argument("source", type=click.Path(path_type=Path))
@option("--collection", metavar="NAME", help="Entries are names of files in this collection.")
@option("--type", "content_type", type=TYPES, default="image", show_default=True, help="The collection's type.")
@option("--job", metavar="ID", help="Entries are names of files of this upload.")
@option("--by-unique-name", is_flag=True, help="Entries are unique names.")
@option("--by-storage-path", is_flag=True, help="Entries are paths in the storage, without a leading slash.")
@option("--bucket", help="The bucket of --by-storage-path, if it is not the default one.")
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
    """Raises UsageError unless exactly one way to name files is meant."""
    if (collection is not None) + (job is not None) + by_unique_name + by_storage_path != 1:
        raise UsageError(
            "say what the entries name",
            remedy="Give one of --collection NAME, --job ID, --by-unique-name and --by-storage-path.",
        )
    if bucket is not None and not by_storage_path:
        raise UsageError("'--bucket' belongs to '--by-storage-path'", remedy="Give both, or neither.")


def written(result: WriteResult) -> Iterator[str]:
    """What came of writing, in lines."""
    for note in result.notes:
        yield f"note: {shown(note)}"
    if result.unmatched:
        yield f"note: {count(len(result.unmatched), 'entry', 'entries')} without a file: " + ", ".join(
            map(shown, result.unmatched[:5])
        )
    if result.unconfirmed:
        yield (
            f"note: {count(result.unconfirmed, 'entry', 'entries')} not confirmed: the lake passes over names that it"
            " does not have, and does not say which"
        )
    yield f"{count(result.written, 'entry', 'entries')} written"
    if result.attached_to is not None:
        yield f"model run attached to project {shown(result.attached_to)}"
