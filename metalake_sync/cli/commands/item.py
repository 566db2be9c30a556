"""`metalake-sync item|url|job`: commands for items of a lake, their signed URLs, and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from metalake_sync.cli.lake_options import LakeFlags, takes_lake
from metalake_sync.cli.options import FolderPath, option
from metalake_sync.cli.selection_options import (
    NAMINGS,
    PlaceFlags,
    SelectionFlags,
    item_sort,
    narrows,
    sort_options,
    takes_place,
)
from metalake_sync.cli.terminal import count, shown, size

if TYPE_CHECKING:
    from metalake_sync.api import DownloadResult, ItemInfo, MetaLake


@click.group("item", epilog="Example: metalake-sync item list --collection birds")
def item_command() -> None:
    """List, count, describe and download items."""


@item_command.command("get", epilog="Example: metalake-sync item get birds_a.jpg --field Tags --field fileSize")
@takes_lake
@click.argument("unique_name")
@option("--field", "fields", multiple=True, help="Also print this field. Can be repeated.")
def get(flags: LakeFlags, unique_name: str, fields: tuple[str, ...]) -> None:
    """Print the id and names of an item, and the given fields. Use 'url' for its signed URL."""
    with flags.lake() as lake:
        details = lake.get_file_details(unique_name, fields)
    details.pop("url", None)
    flags.show(details, lambda: (f"{shown(name)}: {shown(str(value))}" for name, value in details.items()))


@item_command.command(
    "list", epilog="Example: metalake-sync item list --collection birds --query annotation.label=Bird"
)
@takes_lake
@takes_place
@narrows
@sort_options
@option("--limit", type=click.IntRange(1), help="List at most this number of items.")
@option(
    "--field", "fields", multiple=True, help="Also print this field. Makes one call for each item. Can be repeated."
)
def list_items(
    flags: LakeFlags,
    place: PlaceFlags,
    narrow: SelectionFlags,
    sort_field: str,
    order: str,
    limit: int | None,
    fields: tuple[str, ...],
) -> None:
    """List all items of a collection or of the whole lake."""
    place.check()
    sort = item_sort(sort_field, order)
    with flags.lake() as lake:
        items: Iterator[ItemInfo]
        if place.lake is not None:
            items = lake.get_item_list_from_datalake(
                place.lake, query=narrow.query, filter=narrow.filter(), sort=sort, fields=fields
            )
        else:
            collection_id = _collection_id(lake, place)
            items = lake.get_item_list_from_collection(
                collection_id, query=narrow.query, filter=narrow.filter(), sort=sort, fields=fields
            )
        found = islice(items, limit)
        first = next(found, None)
        if first is None:
            narrow.check_labels(lake)
        listed = chain([first] if first is not None else [], found)
        if flags.as_json:
            flags.show(list(listed), lambda: iter(()))
        else:
            for item in listed:
                details = "".join(f"  {name}={value}" for name, value in item.details.items())
                click.echo(f"{item.id}  {shown(item.unique_name)}{shown(details)}")


@item_command.command("count", epilog="Example: metalake-sync item count --lake image --annotated human")
@takes_lake
@takes_place
@narrows
def count_items(flags: LakeFlags, place: PlaceFlags, narrow: SelectionFlags) -> None:
    """Count the items of a collection or of the whole lake."""
    place.check()
    with flags.lake() as lake:
        if place.lake is not None:
            number = lake.get_item_count_from_metalake(place.lake, query=narrow.query, filter=narrow.filter())
        else:
            number = lake.get_item_count_from_collection(
                _collection_id(lake, place), query=narrow.query, filter=narrow.filter()
            )
        if not number:
            narrow.check_labels(lake)
    flags.show({"count": number}, lambda: iter([str(number)]))


@item_command.command("stats", epilog="Example: metalake-sync item stats")
@takes_lake
def stats(flags: LakeFlags) -> None:
    """Print the number of images, videos and other files in the lake."""
    with flags.lake() as lake:
        found = lake.get_system_stat_count()
    counts = {"images": found.images, "videos": found.videos, "others": found.others}
    flags.show(found, lambda: (f"{kind}: {'unknown' if n is None else n}" for kind, n in counts.items()))


@item_command.command(
    "download", epilog="Example: metalake-sync item download --lake image --query metadata.Tags=rain --to out"
)
@takes_lake
@takes_place
@narrows
@sort_options
@option("--naming", type=NAMINGS, default="unique_name", show_default=True, help="Set how files are named.")
@option("--to", type=FolderPath(), required=True, help="Folder to write to. It is created if it does not exist.")
def download(
    flags: LakeFlags,
    place: PlaceFlags,
    narrow: SelectionFlags,
    sort_field: str,
    order: str,
    to: Path,
    naming: Literal["unique_name", "name"],
) -> None:
    """Download all matching files. Files that are up to date are not fetched again."""
    place.check()
    sort = item_sort(sort_field, order)

    with flags.lake() as lake, flags.progress() as progress:

        def call() -> DownloadResult:
            if place.lake is not None:
                return lake.download_files_from_metalake(
                    place.lake,
                    to,
                    query=narrow.query,
                    filter=narrow.filter(),
                    sort=sort,
                    naming=naming,
                    progress=progress,
                )
            return lake.download_files_from_collection(
                _collection_id(lake, place),
                to,
                query=narrow.query,
                filter=narrow.filter(),
                sort=sort,
                naming=naming,
                progress=progress,
            )

        flags.finish(call, downloaded)


def downloaded(result: DownloadResult) -> Iterator[str]:
    """Yield the notes of a download, and then its result in one line."""
    for note in result.notes:
        yield f"note: {shown(note)}"
    annotations = f", annotations in {shown(str(result.annotations[0]))}" if result.annotations else ""
    received = f" ({size(result.bytes_received)})" if result.bytes_received else ""
    yield (
        f"{shown(str(result.folder))}: {count(len(result.fetched), 'file')} downloaded{received},"
        f" {result.unchanged} unchanged{annotations}"
    )


def _collection_id(lake: MetaLake, place: PlaceFlags) -> str:
    assert place.collection is not None
    return lake.find_collection(place.collection, place.content_type).id


@click.command("url", epilog='Example: curl -o a.jpg "$(metalake-sync url birds_a.jpg)"')
@takes_lake
@click.argument("unique_name")
def url_command(flags: LakeFlags, unique_name: str) -> None:
    """Print a signed URL for reading a file. It is valid for a short time.

    Every person with the URL can read the file, so do not store it. The embedded lake answers only while it runs: start
    it with 'lake serve' and pass its address with --url.
    """
    with flags.lake() as lake:
        url = lake.get_downloadable_url(unique_name)
    flags.show({"url": url}, lambda: iter([url]))


@click.group("job", epilog="Example: metalake-sync job wait 654c5167a467d18f9fdb767c")
def job_command() -> None:
    """Show the status of a job of the lake, or wait for the job to end."""


@job_command.command("status", epilog="Example: metalake-sync job status 654c5167a467d18f9fdb767c")
@takes_lake
@click.argument("job_id")
def status(flags: LakeFlags, job_id: str) -> None:
    """Print the status and progress of a job."""
    with flags.lake() as lake:
        job = lake.get_job_status(job_id)
    flags.show(job, lambda: iter([f"{job.status}, {job.progress:.0f} %"]))


@job_command.command("wait", epilog="Example: metalake-sync job wait 654c5167a467d18f9fdb767c")
@takes_lake
@click.argument("job_id")
def wait(flags: LakeFlags, job_id: str) -> None:
    """Wait until a job is completed. Fails if the job fails."""
    with flags.lake() as lake:
        job = lake.wait_for_job_complete(job_id)
    flags.show(job, lambda: iter([job.status]))


@job_command.command("progress", epilog="Example: metalake-sync job progress birds")
@takes_lake
@click.argument("collection")
def progress(flags: LakeFlags, collection: str) -> None:
    """Print the progress of the upload of a collection."""
    with flags.lake() as lake:
        found = lake.get_upload_status(collection)
    shown_progress = f"{found.progress:.0f} %" if found.progress is not None else "the lake reports no progress"
    flags.show(found, lambda: iter([shown_progress]))
