"""A full refresh of unmanaged files: reads their metadata and annotation sets back from the lake.

Owns: what is requested, and what is kept: only sets that differ from their source. Must not: decide what becomes of
them (`core`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from metalake_sync.annotations.frames import to_pixels
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.readback import is_as_sent, read_back
from metalake_sync.core.addresses import Address, By, FileAt
from metalake_sync.core.diff_sets import SeenSet
from metalake_sync.core.metadata import MetadataValues
from metalake_sync.core.snapshots import DesiredSet, MediaType, RemoteSet
from metalake_sync.planning.unmanaged_lookup import LocatedFile, UnmanagedLookup
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_details, remote_resolutions
from metalake_sync.remote.listings import PAGE_SIZE, annotations_of


class UnmanagedReader:
    """Reads back from one lake. Listings are kept for the run."""

    def __init__(self, client: LakeClient, lookup: UnmanagedLookup, threads: int) -> None:
        self._client = client
        self._lookup = lookup
        self._threads = threads

    def metadata(
        self, address: Address, fields: Mapping[str, Sequence[str]], found: Mapping[str, FileAt] | None
    ) -> dict[str, tuple[FileAt, MetadataValues]]:
        """The lake's metadata by entry, without files that cannot be found. Costs one call per file.

        `fields`: the fields to request, by entry. `found`: the lake's files, None if the address does not tell them.
        """
        if address.by is By.UNIQUE_NAME:
            names: dict[str, str | None] = {entry: entry for entry in fields}
        elif found is not None:
            names = {entry: found[entry].unique_name for entry in fields if entry in found}
        else:
            located = self._lookup.locate(address, fields, [address.type] if address.type else list(MediaType))
            names = {entry: one.at.unique_name for entry, one in located.items()}
        asked = {entry: name for entry, name in names.items() if name is not None}
        details = remote_details(self._client, [(name, fields[entry]) for entry, name in asked.items()], self._threads)
        answered = ((entry, name, details[name]) for entry, name in asked.items() if name in details)
        return {entry: (FileAt(address, entry, name, one.lake_id), one.metadata) for entry, name, one in answered}

    def differing_sets(
        self, address: Address, index: AnnotationIndex, wanted: Mapping[str, DesiredSet]
    ) -> dict[str, SeenSet]:
        """The images whose set in the lake differs from the source, by entry, without images that cannot be found."""
        located = self._lookup.locate(address, wanted, [MediaType.IMAGE])
        differing: dict[str, SeenSet] = {}
        for view in {id(one.view): one.view for one in located.values()}.values():
            left = {one.at.unique_name: one for one in located.values() if one.view is view}
            listing = view.listed()
            sets = annotations_of(
                self._client,
                view.lake_id or "",
                file_count=len(listing) if listing is not None else 0,
                operations=[index.operation],
            )
            ours = ((left.pop(name), shapes) for name, shapes in sets if name in left)
            while page := list(islice(ours, PAGE_SIZE)):
                differing.update(self._differing(page, index))
            for one in left.values():
                if wanted[one.at.name].shape_count:
                    differing[one.at.name] = SeenSet(one.at, None)
        return differing

    def _differing(
        self, page: Sequence[tuple[LocatedFile, list[dict[str, Any]]]], index: AnnotationIndex
    ) -> Iterator[tuple[str, SeenSet]]:
        records = {one.at.name: index.record(one.at.name) for one, _ in page}
        fractions = [one.at.unique_name or "" for one, _ in page if records[one.at.name].normalized]
        sizes = remote_resolutions(self._client, fractions, self._threads)
        for one, shapes in page:
            digest, back = read_back(shapes)
            sent = records[one.at.name]
            if sent.normalized and sent.shapes:
                size = sizes.get(one.at.unique_name or "")
                if size is None:
                    continue  # The lake returns pixels, which cannot be compared without the size of the image.
                sent = to_pixels(sent, size)
            if not is_as_sent(sent, index.kind, back, ""):
                yield one.at.name, SeenSet(one.at, RemoteSet(digest, len(shapes), as_desired=False))
