"""Reads metadata and annotation sets of unmanaged files back from the lake: all in a full refresh, else those that a
plan is about to overwrite.

Owns: what is requested, and what is kept: only sets that differ from their source. Must not: decide what becomes of
them (`core`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from metalake_sync.annotations.frames import to_pixels
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.readback import is_as_sent, read_back
from metalake_sync.core.addresses import Address, By, FileAt
from metalake_sync.core.diff_sets import OperationPolicy, SeenSet
from metalake_sync.core.metadata import MetadataValues
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import AnnotationKind, DesiredSet, MediaType, RemoteSet
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.lake_sets import PAGES_LIMIT
from metalake_sync.planning.set_merge import merge_with_lake
from metalake_sync.planning.unmanaged_lookup import LocatedFile, UnmanagedLookup
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_details, remote_resolutions
from metalake_sync.remote.listings import PAGE_SIZE, annotations_of
from metalake_sync.state.records_by_place import PlaceRecords


class UnmanagedReader:
    """Reads back from one lake. Listings are kept for the run.

    `full`: read sets also where that takes more than `PAGES_LIMIT` calls.
    """

    def __init__(self, client: LakeClient, lookup: UnmanagedLookup, threads: int, *, full: bool) -> None:
        self._client = client
        self._lookup = lookup
        self._threads = threads
        self._full = full
        self.not_read: list[str] = []
        """The entries of the last `differing_sets` whose sets were not read."""

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

    def differing_sets(self, address: Address, compared: ComparedSets) -> dict[str, SeenSet]:
        """The images whose set in the lake differs from the source, by entry, without images that cannot be found."""
        located = self._lookup.locate(address, compared.wanted, [MediaType.IMAGE]) if compared.wanted else {}
        self.not_read = [entry for entry in compared.wanted if entry not in located]
        differing: dict[str, SeenSet] = {}
        for view in {id(one.view): one.view for one in located.values()}.values():
            left = {one.at.unique_name: one for one in located.values() if one.view is view}
            listing = view.listed()
            file_count = len(listing) if listing is not None else 0
            if not self._full and -(-file_count // PAGE_SIZE) > PAGES_LIMIT:
                self.not_read += (one.at.name for one in left.values())
                continue
            sets = annotations_of(
                self._client, view.lake_id or "", file_count=file_count, operations=[compared.operation]
            )
            ours = ((left.pop(name), shapes) for name, shapes in sets if name in left)
            while page := list(islice(ours, PAGE_SIZE)):
                differing.update(self._differing(page, compared))
            for one in left.values():
                if compared.wanted[one.at.name].shape_count:
                    differing[one.at.name] = SeenSet(one.at, None)
        return differing

    def _differing(
        self, page: Sequence[tuple[LocatedFile, list[dict[str, Any]]]], compared: ComparedSets
    ) -> Iterator[tuple[str, SeenSet]]:
        records = {one.at.name: compared.source(one.at.name) for one, _ in page}
        bases = {name: compared.records.base(compared.operation, name) for name in records}
        fractions = [
            one.at.unique_name or ""
            for one, _ in page
            if any(map(_has_fractions, (records[one.at.name], bases[one.at.name])))
        ]
        sizes = remote_resolutions(self._client, fractions, self._threads)
        for one, shapes in page:
            digest, back = read_back(shapes)
            size = sizes.get(one.at.unique_name or "")
            source, base = records[one.at.name], bases[one.at.name]
            if _has_fractions(source) and size is None:
                continue  # The lake returns pixels, which cannot be compared without the size of the image.
            if is_as_sent(_in_pixels(source, size), compared.kind, back, ""):
                continue
            as_recorded = None
            if base is not None and (size is not None or not _has_fractions(base)):
                as_recorded = is_as_sent(_in_pixels(base, size), compared.kind, back, "")
            found = RemoteSet(digest, len(shapes), as_desired=False, as_recorded=as_recorded)
            if not as_recorded:
                merge = None
                if compared.may_merge(one.at.name) and not source.normalized and (base is None or not base.normalized):
                    merge = merge_with_lake(base, source, back, compared.kind, "")
                found = replace(found, shapes=back, merge=merge)
            yield one.at.name, SeenSet(one.at, found)


@dataclass(frozen=True, slots=True)
class ComparedSets:
    """The sets of one address and operation that are compared with the lake's."""

    operation: str
    kind: AnnotationKind
    wanted: Mapping[str, DesiredSet]
    """By entry. A set that the source dropped has no shapes."""
    records: PlaceRecords
    index: AnnotationIndex | None
    """The source. None: the manifest dropped it."""
    policy: OperationPolicy | None = None

    def may_merge(self, entry: str) -> bool:
        if self.policy is None:
            return False
        decision = self.policy.decided.get(entry)
        return "merge" in (self.policy.on_drift, decision.on_drift if decision is not None else None)

    def source(self, entry: str) -> ImageRecord:
        """The source's set."""
        if self.index is None or not self.wanted[entry].shape_count:
            return ImageRecord(entry, ())
        return self.index.record(entry)


def _has_fractions(record: ImageRecord | None) -> bool:
    return record is not None and record.normalized and bool(record.shapes)


def _in_pixels(record: ImageRecord, size: tuple[int, int] | None) -> ImageRecord:
    return to_pixels(record, size) if size is not None and _has_fractions(record) else record
