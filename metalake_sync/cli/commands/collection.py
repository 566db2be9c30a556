"""`metalake-sync collection`: collections as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from metalake_sync.cli.commands.item import downloaded
from metalake_sync.cli.connection import (
    KINDS,
    NAMINGS,
    TYPES,
    WRITTEN_FORMATS,
    LakeFlags,
    metadata_of,
    metadata_options,
    takes_form,
    takes_lake,
)
from metalake_sync.cli.options import FolderPath, option
from metalake_sync.cli.wording import count, shown, size
from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.api import DownloadResult, UploadResult
    from metalake_sync.api.connected import ContentType
    from metalake_sync.core.shapes import FormatName, ShapeTypeName


@click.group("collection", epilog="Example: metalake-sync collection upload images birds --type image")
def command() -> None:
    """Create, describe, list, upload and download collections."""


@command.command(
    "create", epilog='Example: metalake-sync collection create birds --type image --set "City=Rome" --tag new'
)
@takes_lake
@click.argument("name")
@option("--type", "content_type", type=TYPES, required=True, help="What it holds.")
@metadata_options
def create(
    flags: LakeFlags, name: str, content_type: ContentType, assignments: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    """Create a collection, or write the metadata of its head."""
    with flags.lake() as lake:
        made = lake.create_or_update_collection(name, content_type, metadata_of(assignments, tags))
    flags.show(made, lambda: iter([made.id]))


@command.command("get", epilog="Example: metalake-sync collection get birds --field storagePath")
@takes_lake
@click.argument("name")
@option("--type", "content_type", type=TYPES, help="Its type, where the lake has several of the name.")
@option("--field", "fields", multiple=True, help="A field to ask for; may be repeated.")
def get(flags: LakeFlags, name: str, content_type: ContentType | None, fields: tuple[str, ...]) -> None:
    """Describe a collection: its id and type, and the fields that are asked for."""
    with flags.lake() as lake:
        found = lake.get_collection_details(lake.find_collection(name, content_type).id, fields)
    details = {"id": found.id, "name": found.name, "type": found.type.value} | {
        field: found.details[field] for field in fields if field in found.details
    }
    flags.show(details, lambda: (f"{shown(field)}: {shown(str(value))}" for field, value in details.items()))


@command.command("list", epilog="Example: metalake-sync collection list --type video")
@takes_lake
@option("--type", "content_type", type=TYPES, default="image", show_default=True, help="What they hold.")
@option("--query", default="", help="As in the web page.")
def list_collections(flags: LakeFlags, content_type: ContentType, query: str) -> None:
    """List the collections of a type."""
    with flags.lake() as lake:
        found = list(lake.list_collections(content_type, query))
    flags.show(
        [{"id": one.id, "name": one.name, "type": one.type.value} for one in found],
        lambda: (f"{one.id}  {shown(one.name)}" for one in found),
    )


@command.command(
    "upload",
    epilog='Example: metalake-sync collection upload images birds --type image --set "City=Rome" --tag "#retail"',
)
@takes_lake
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("name")
@option("--type", "content_type", type=TYPES, required=True, help="What it holds.")
@metadata_options
@option("--metadata-override", is_flag=True, help="Also write metadata of files that the lake has already.")
@option("--file-metadata", type=click.Path(path_type=Path), help="A JSON file with metadata of single files.")
@option("--storage-prefix", help="The folder in the lake's storage.")
@option("--annotations", type=click.Path(path_type=Path), help="A file, a folder or a glob of annotations.")
@option("--operation", help="The annotations' unique operation id.")
@option("--kind", type=KINDS, help="Who drew the annotations.")
@option("--normalized", is_flag=True, help="The annotations' numbers are fractions.")
@takes_form
@option("--replace", is_flag=True, help="Trash files of the same name and other bytes, and send these.")
@option("--recursive", is_flag=True, help="Also take the folders below.")
@option("--resume-file", type=click.Path(path_type=Path), help="Remember the upload here, to go on if it is killed.")
def upload(
    flags: LakeFlags,
    path: Path,
    name: str,
    content_type: ContentType,
    assignments: tuple[str, ...],
    tags: tuple[str, ...],
    metadata_override: bool,
    file_metadata: Path | None,
    storage_prefix: str | None,
    annotations: Path | None,
    operation: str | None,
    kind: Literal["human", "machine"] | None,
    normalized: bool,
    old_form: bool | None,
    shape_type: ShapeTypeName | None,
    replace: bool,
    recursive: bool,
    resume_file: Path | None,
) -> None:
    """Upload a file or a folder into a collection, and wait until the lake shows it.

    What the lake has already is not sent again. For a folder that is synced more than once, write a manifest.
    """
    from metalake_sync.api import AnnotationSource

    sources: list[AnnotationSource] = []
    if annotations is not None:
        if operation is None or kind is None:
            raise UsageError("'--annotations' needs more", remedy="Give --operation ID and --kind human|machine too.")
        sources.append(
            AnnotationSource(annotations, operation, kind, normalized, old_form=old_form, shape_type=shape_type)
        )
    with flags.lake() as lake, flags.progress() as progress:
        flags.finish(
            lambda: lake.upload_files_to_collection(
                path,
                content_type,
                name,
                metadata=metadata_of(assignments, tags),
                metadata_override=metadata_override,
                file_metadata=file_metadata,
                storage_prefix=storage_prefix,
                annotations=sources,
                existing="replace" if replace else "keep",
                recursive=recursive,
                state=resume_file,
                progress=progress,
            ),
            _uploaded,
        )


@command.command("download", epilog="Example: metalake-sync collection download birds --to out --annotations human")
@takes_lake
@click.argument("name")
@option("--type", "content_type", type=TYPES, help="Its type, where the lake has several of the name.")
@option("--to", type=FolderPath(), required=True, help="The folder; it is created if need be.")
@option(
    "--annotations",
    type=click.Choice(["human", "machine", "all"]),
    default="all",
    show_default=True,
    help="Who drew the shapes; it counts only without --operation.",
)
@option("--operation", "operations", multiple=True, help="Only this operation, whoever drew it; may be repeated.")
@option("--no-media", is_flag=True, help="The annotations alone.")
@option("--naming", type=NAMINGS, default="unique_name", show_default=True)
@option(
    "--format",
    "annotation_format",
    type=WRITTEN_FORMATS,
    default="metalake",
    show_default=True,
    help="How annotations are written.",
)
def download(
    flags: LakeFlags,
    name: str,
    content_type: ContentType | None,
    to: Path,
    annotations: Literal["human", "machine", "all"],
    operations: tuple[str, ...],
    no_media: bool,
    naming: Literal["unique_name", "name"],
    annotation_format: FormatName,
) -> None:
    """Download a collection's files, and its annotations."""
    with flags.lake() as lake, flags.progress() as progress:
        flags.finish(
            lambda: lake.download_collection(
                lake.find_collection(name, content_type).id,
                to,
                annotation_type=annotations,
                operations=operations,
                media=not no_media,
                naming=naming,
                annotation_format=annotation_format,
                progress=progress,
            ),
            _downloaded,
        )


def _downloaded(result: DownloadResult) -> Iterator[str]:
    yield from downloaded(result)
    if not result.annotations:
        yield "the annotations were right already"


def _uploaded(result: UploadResult) -> Iterator[str]:
    for note in result.notes:
        yield f"note: {shown(note)}"
    if result.differing:
        yield "note: --replace trashes what the lake has of a name and sends these"
    sets = f", {count(result.annotated, 'annotation set')} sent" if result.annotated else ""
    uploaded = f"{count(len(result.uploaded), 'file')} uploaded ({size(result.bytes_sent)})"
    differing = f", {len(result.differing)} differ and were not sent" if result.differing else ""
    yield f"collection {result.collection_id}: {uploaded}, {len(result.already_there)} were there{differing}{sets}"
    for job in result.job_ids:
        yield f"job {job}"
