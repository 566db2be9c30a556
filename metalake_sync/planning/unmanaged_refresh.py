"""A full refresh of unmanaged files: reads their metadata and annotation sets back from the lake.

Owns: what is requested, and what is kept: only sets that differ from their source. Must not: decide what becomes of
them (`core.unmanaged_files`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from metalake_sync.annotations.frames import to_pixels
from metalake_sync.annotations.readback import is_as_sent, read_back
from metalake_sync.core.metadata import MetadataValues
from metalake_sync.core.snapshots import DesiredSet, MediaType, RemoteSet
from metalake_sync.core.unmanaged_files import Address, By, Found, SeenSet
from metalake_sync.planning.unmanaged_locations import FileLocations, LocatedFile
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_details, remote_resolutions
from metalake_sync.remote.listings import PAGE_SIZE, annotations_of

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex


class UnmanagedReader:
    """Reads back from one lake. Listings are kept for the run."""

    def __init__(self, client: LakeClient, threads: int) -> None:
        self._client = client
        self._threads = threads
        self._locations = FileLocations(client, threads)

    def metadata(
        self, address: Address, fields: Mapping[str, Sequence[str]], found: Mapping[str, Found] | None
    ) -> dict[str, tuple[Found, MetadataValues]]:
        """The lake's metadata by entry, without files that cannot be found. Costs one call per file.

        `fields`: the fields to request, by entry. `found`: the lake's files, None if the address does not tell them.
        """
        if address.by is By.UNIQUE_NAME:
            names = {entry: entry for entry in fields}
        elif found is not None:
            names = {entry: found[entry].unique_name for entry in fields if entry in found}
        else:
            located = self._locations.find(address, fields, [address.type] if address.type else list(MediaType))
            names = {entry: one.found.unique_name for entry, one in located.items()}
        asked = [(unique_name, fields[entry]) for entry, unique_name in names.items()]
        details = remote_details(self._client, asked, self._threads)
        answered = ((entry, name, details[name]) for entry, name in names.items() if name in details)
        return {entry: (Found(name, one.lake_id), one.metadata) for entry, name, one in answered}

    def differing_sets(
        self, address: Address, index: AnnotationIndex, wanted: Mapping[str, DesiredSet]
    ) -> dict[str, SeenSet]:
        """The images whose set in the lake differs from the source, by entry, without images that cannot be found."""
        located = self._locations.find(address, wanted, [MediaType.IMAGE])
        differing: dict[str, SeenSet] = {}
        for collection in {one.collection for one in located.values()}:
            left = {
                one.found.unique_name: (entry, one) for entry, one in located.items() if one.collection == collection
            }
            sets = annotations_of(
                self._client,
                collection.lake_id,
                file_count=self._locations.count(collection),
                operations=[index.operation],
            )
            ours = ((left.pop(name), shapes) for name, shapes in sets if name in left)
            while page := list(islice(ours, PAGE_SIZE)):
                differing.update(self._differing(page, index))
            for entry, one in left.values():
                if wanted[entry].shape_count:
                    differing[entry] = SeenSet(one.found, None)
        return differing

    def _differing(
        self, page: Sequence[tuple[tuple[str, LocatedFile], list[dict[str, Any]]]], index: AnnotationIndex
    ) -> Iterator[tuple[str, SeenSet]]:
        records = {entry: index.record(entry) for (entry, _), _ in page}
        fractions = [one.found.unique_name for (entry, one), _ in page if records[entry].normalized]
        sizes = remote_resolutions(self._client, fractions, self._threads)
        for (entry, one), shapes in page:
            digest, back = read_back(shapes)
            sent = records[entry]
            if sent.normalized and sent.shapes:
                size = sizes.get(one.found.unique_name)
                if size is None:
                    continue  # The lake returns pixels, which cannot be compared without the size of the image.
                sent = to_pixels(sent, size)
            if not is_as_sent(sent, index.kind, back, ""):
                yield entry, SeenSet(one.found, RemoteSet(digest, len(shapes), as_desired=False))
