"""What the `downloads` and `trash` blocks of a manifest select.

Must not: list files of the lake (`plan`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from metalake_sync.core.downloads import AnnotationsWanted, DownloadSpec
from metalake_sync.core.selection import OLDEST_FIRST, ItemFilter, ItemSelection, ItemSort
from metalake_sync.core.snapshots import MediaType
from metalake_sync.downloads.classes import classes_in_common
from metalake_sync.downloads.splits import specs_of
from metalake_sync.errors import ManifestError, UsageError
from metalake_sync.manifest import LoadedManifest
from metalake_sync.manifest.remote_models import Selection
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.selections import check_dates, find_place


def download_specs(manifest: LoadedManifest, client: LakeClient) -> Iterator[tuple[int, Iterator[DownloadSpec]]]:
    """The number of each download in the manifest, and its specs.

    Raises ManifestError for a collection whose type is ambiguous.
    """
    common = classes_in_common(manifest)
    for number, block in enumerate(manifest.model.downloads):
        selection = _selection(manifest, "downloads", number, block, client)
        annotations = None
        if block.annotations is not None:
            annotations = AnnotationsWanted(
                block.annotations.kind,
                tuple(block.annotations.operations),
                block.annotations.format,
                tuple(block.annotations.classes) or common,
            )
        sort = ItemSort(block.sort.by, block.sort.order) if block.sort else OLDEST_FIRST
        spec = DownloadSpec(
            replace(selection, sort=sort),
            to=block.to,
            media=block.media,
            annotations=annotations,
            naming=block.naming,
            metadata=tuple(block.metadata_fields) if block.metadata else None,
            prune=block.prune,
            backup_dir=block.backup_dir,
            declared_at=str(manifest.where("downloads", number)),
        )
        yield number, specs_of(spec, block.splits)


def trash_selections(manifest: LoadedManifest, client: LakeClient) -> Iterator[ItemSelection]:
    """The selections of the trash rules. Raises ManifestError for a collection whose type is ambiguous."""
    for number, block in enumerate(manifest.model.trash):
        yield replace(_selection(manifest, "trash", number, block, client), whole=block.whole)


def _selection(
    manifest: LoadedManifest, section: str, number: int, block: Selection, client: LakeClient
) -> ItemSelection:
    try:
        wanted = check_dates(
            ItemFilter(tuple(block.filter.annotation_types), block.filter.from_date, block.filter.to_date)
        )
    except UsageError as error:
        where = manifest.where(section, number, "filter")
        raise ManifestError(error.message, where=where, remedy=error.remedy) from None
    if block.lake is not None:
        return ItemSelection(MediaType(block.lake), None, block.query, wanted)
    assert block.collection is not None, "cross checks of the manifest require 'collection' or 'lake'"
    if block.type is not None:
        media_type = MediaType(block.type)
    else:
        try:
            place = find_place(client, block.collection, None)
        except UsageError as error:
            where = manifest.where(section, number, "collection")
            raise ManifestError(error.message, where=where, remedy=error.remedy) from None
        # A collection that does not exist yet may be created by this manifest.
        ours = [MediaType(one.type) for one in manifest.collections if one.name == block.collection]
        media_type = place.type if place else ours[0] if ours else MediaType.IMAGE
    return ItemSelection(media_type, block.collection, block.query, wanted)
