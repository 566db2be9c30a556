"""`metalake-sync collection`: commands for whole collections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from metalake_sync.cli.commands.item import downloaded
from metalake_sync.cli.lake_options import LakeFlags, takes_lake
from metalake_sync.cli.options import FolderPath, option
from metalake_sync.cli.selection_options import (
    COLLECTION_TYPE,
    KINDS,
    NAMINGS,
    TYPES,
    WRITTEN_FORMATS,
    metadata_of,
    metadata_options,
    takes_form,
)
from metalake_sync.cli.terminal import count, shown, size
from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.api import DownloadResult, UploadResult
    from metalake_sync.api.connected import ContentType
    from metalake_sync.core.shapes import FormatName, ShapeTypeName


@click.group("collection", epilog="Example: metalake-sync collection upload images birds --type image")
def collection_command() -> None:
    """Create, describe, list, upload and download collections."""


@collection_command.command(
    "create", epilog='Example: metalake-sync collection create birds --type image --set "City=Rome" --tag new'
)
@takes_lake
@click.argument("name")
@option("--type", "content_type", type=TYPES, required=True, help="Type of the collection's files.")
@metadata_options
def create(
    flags: LakeFlags, name: str, content_type: ContentType, assignments: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    """Create a collection, or write its own metadata."""
    with flags.lake() as lake:
        made = lake.create_or_update_collection(name, content_type, metadata_of(assignments, tags))
    flags.show(made, lambda: iter([made.id]))


@collection_command.command("get", epilog="Example: metalake-sync collection get birds --field storagePath")
@takes_lake
@click.argument("name")
@COLLECTION_TYPE
@option("--field", "fields", multiple=True, help="Also print this field. Can be repeated.")
def get(flags: LakeFlags, name: str, content_type: ContentType | None, fields: tuple[str, ...]) -> None:
    """Print the id, name and type of a collection, and the given fields."""
    with flags.lake() as lake:
        found = lake.get_collection_details(lake.find_collection(name, content_type).id, fields)
    details = {"id": found.id, "name": found.name, "type": found.type.value} | {
        field: found.details[field] for field in fields if field in found.details
    }
    flags.show(details, lambda: (f"{shown(field)}: {shown(str(value))}" for field, value in details.items()))


@collection_command.command("list", epilog="Example: metalake-sync collection list --type video")
@takes_lake
@option("--type", "content_type", type=TYPES, default="image", show_default=True, help="Type of the collections.")
@option("--query", default="", help="Query in the syntax of the web page.")
def list_collections(flags: LakeFlags, content_type: ContentType, query: str) -> None:
    """List the collections of a type."""
    with flags.lake() as lake:
        found = list(lake.list_collections(content_type, query))
    flags.show(
        [{"id": one.id, "name": one.name, "type": one.type.value} for one in found],
        lambda: (f"{one.id}  {shown(one.name)}" for one in found),
    )


@collection_command.command(
    "upload",
    epilog='Example: metalake-sync collection upload images birds --type image --set "City=Rome" --tag "#retail"',
)
@takes_lake
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("name")
@option("--type", "content_type", type=TYPES, required=True, help="Type of the collection's files.")
@metadata_options
@option("--metadata-override", is_flag=True, help="Also overwrite metadata of files that are in the lake already.")
@option("--file-metadata", type=click.Path(path_type=Path), help="JSON file with metadata of single files.")
@option("--storage-prefix", help="Folder for the files in the lake's storage.")
@option("--annotations", type=click.Path(path_type=Path), help="Annotation source: a file, a folder or a glob.")
@option("--operation", help="Unique id of the annotations' operation.")
@option("--kind", type=KINDS, help="Whether people or a model drew the annotations.")
@option("--normalized", is_flag=True, help="Send coordinates as fractions of the image's size.")
@takes_form
@option("--replace", is_flag=True, help="Replace files of the lake that have the same name and other bytes.")
@option("--recursive", is_flag=True, help="Also upload files from subfolders.")
@option(
    "--resume-file",
    type=click.Path(path_type=Path),
    help="File that stores the progress, so that an interrupted upload can be resumed.",
)
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
    """Upload a file or a folder into a collection, and wait until the lake shows the result.

    Files that the lake already has are not sent again. To sync a folder repeatedly, write a manifest.
    """
    from metalake_sync.api import AnnotationSource

    sources: list[AnnotationSource] = []
    if annotations is not None:
        if operation is None or kind is None:
            raise UsageError(
                "'--annotations' needs '--operation' and '--kind'",
                remedy="Give --operation ID and --kind human|machine too.",
            )
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


@collection_command.command(
    "download", epilog="Example: metalake-sync collection download birds --to out --annotations human"
)
@takes_lake
@click.argument("name")
@COLLECTION_TYPE
@option("--to", type=FolderPath(), required=True, help="Folder to write to. It is created if it does not exist.")
@option(
    "--annotations",
    type=click.Choice(["human", "machine", "all"]),
    default="all",
    show_default=True,
    help="Download annotations by people, by models, or all. Has no effect with --operation.",
)
@option("--operation", "operations", multiple=True, help="Download only this operation. Can be repeated.")
@option("--no-media", is_flag=True, help="Download only the annotations.")
@option("--naming", type=NAMINGS, default="unique_name", show_default=True, help="Set how files are named.")
@option(
    "--format",
    "annotation_format",
    type=WRITTEN_FORMATS,
    default="metalake",
    show_default=True,
    help="Format of the annotations.",
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
    """Download the files and annotations of a collection."""
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
        yield "the annotations are up to date"


def _uploaded(result: UploadResult) -> Iterator[str]:
    for note in result.notes:
        yield f"note: {shown(note)}"
    if result.differing:
        yield "note: to replace the files in the lake that differ, use --replace"
    sets = f", {count(result.annotated, 'annotation set')} sent" if result.annotated else ""
    uploaded = f"{count(len(result.uploaded), 'file')} uploaded ({size(result.bytes_sent)})"
    differing = f", {len(result.differing)} differ and were not sent" if result.differing else ""
    known = f"{len(result.already_there)} already in the lake"
    yield f"collection {result.collection_id}: {uploaded}, {known}{differing}{sets}"
    for job in result.job_ids:
        yield f"job {job}"
