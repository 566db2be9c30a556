"""Opens the manifest's top-level `annotations` and `metadata`, and finds images that two places annotate.

Owns: which address and operation each entry belongs to, and recognizing that two entries refer to one image, whatever
kind of address they use, as far as the lake tells: they would overwrite each other. Must not: ask the lake, or decide
what is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING

from metalake_sync.core.addresses import DEFAULT_BUCKET, Address, By, FileAt
from metalake_sync.core.metadata import MetadataSet, Spelling, merge_layers, metadata_set
from metalake_sync.core.shapes import EMPTY_SET_DIGEST
from metalake_sync.core.snapshots import CollectionKey, DesiredSet, MediaType, RecordedSet
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import AddressedAnnotation, AddressedMetadata, LoadedManifest
from metalake_sync.planning.open_sources import table_format
from metalake_sync.sources.metadata_readers import read_metadata_file
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.entries import AnnotationSpec
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.annotations.parse_cache import SetMemo
    from metalake_sync.planning.desired import DesiredCollection
    from metalake_sync.sources.metadata_entries import EntrySource
    from metalake_sync.state.files import Files
    from metalake_sync.state.names import CollectionHandle


OperationAt = tuple[Address, str]
"""An address and an operation."""


@dataclass(slots=True)
class UnmanagedSources:
    """The opened sources. Close them: annotation indexes live in temporary files."""

    annotations: dict[OperationAt, AnnotationIndex] = field(default_factory=dict)
    metadata: dict[Address, list[EntrySource]] = field(default_factory=dict)
    """The metadata sources of each address. Later ones override earlier ones."""
    declared_at: dict[Address, str] = field(default_factory=dict)
    """The manifest's file:line:column of the first metadata block of each address."""

    def close(self) -> None:
        for index in self.annotations.values():
            index.close()


def address_of(block: AddressedAnnotation | AddressedMetadata) -> Address:
    """The address by which the entries of a block name their files. Annotated files are always images."""
    media_type = MediaType(block.type) if block.type else None
    if isinstance(block, AddressedAnnotation) and block.by == "collection":
        media_type = MediaType.IMAGE
    return Address(By(block.by), block.bucket or block.job or block.collection or "", media_type)


def open_unmanaged(manifest: LoadedManifest, memo: SetMemo) -> UnmanagedSources:
    """Open every source. `memo`: caches the results for single entries. Raises ManifestErrors with all errors."""
    sources = UnmanagedSources()
    if manifest.model.annotations or manifest.model.metadata:
        _open_into(sources, manifest, memo)
    return sources


def _open_into(sources: UnmanagedSources, manifest: LoadedManifest, memo: SetMemo) -> None:
    # Imported here, because most manifests have no such sources: saves start-up time.
    from metalake_sync.annotations.image_matching import AnyImage
    from metalake_sync.annotations.index_builder import open_index
    from metalake_sync.planning.annotation_specs import annotation_spec

    errors_found: list[ManifestError] = []
    specs: dict[OperationAt, list[AnnotationSpec]] = {}
    for number, block in enumerate(manifest.model.annotations):
        declared_at = str(manifest.where("annotations", number, "source"))
        spec = annotation_spec(block, manifest.base_dir, declared_at)
        specs.setdefault((address_of(block), block.operation), []).append(spec)
    for (address, operation), group in specs.items():
        by_bucket = address.by is By.STORAGE_PATH
        try:
            index = open_index(group, AnyImage(), memo, by_bucket=by_bucket)
        except ManifestErrors as errors:
            errors_found += errors.errors
            continue
        try:
            parts = index.buckets(address.within) if by_bucket else {address.within: index}
        except ManifestError as error:
            index.close()
            errors_found.append(error)
            continue
        for bucket, part in parts.items():
            at = replace(address, within=bucket), operation
            if at in sources.annotations:
                errors_found.append(_second_source(at, sources.annotations[at], part))
            sources.annotations[at] = part
    for number, described in enumerate(manifest.model.metadata):
        declared_at_block = manifest.where("metadata", number, "source")
        address = address_of(described)
        sources.declared_at.setdefault(address, str(declared_at_block))
        path = manifest.base_dir / described.source
        try:
            source = read_metadata_file(path, described.source, described.format, table_format(described))
            sources.metadata.setdefault(address, []).append(source)
        except ManifestErrors as errors:
            errors_found += errors.errors
        except ManifestError as error:
            errors_found.append(error)
    if errors_found:
        sources.close()
        raise ManifestErrors(errors_found)


def _second_source(at: OperationAt, first: AnnotationIndex, second: AnnotationIndex) -> ManifestError:
    return ManifestError(
        f"operation '{at[1]}' has images of bucket '{at[0].within}' here and also in the block at {first.declared_at}",
        where=second.declared_at,
        remedy="Name the bucket in one place only: 'bucket' of the block, or 'storageName' of the entries.",
    )


def operations_elsewhere(manifest: LoadedManifest, state: StateStore, lake: str) -> frozenset[str]:
    """The operations whose sets the manifest sends, or sent before, from its top-level `annotations`.

    `lake`: the identity of the lake in the state.
    """
    named = {block.operation for block in manifest.model.annotations}
    return frozenset(named.union(operation for _, operation in state.addresses.with_sets(lake)))


def merged_metadata(sources: Sequence[EntrySource], spelling: Spelling) -> dict[str, MetadataSet]:
    """Merge the values of each entry in the sources of one address. Later sources win; Tags add up."""
    layers: dict[str, list[Mapping[str, object]]] = {}
    for source in sources:
        for entry, values in source.entries.items():
            layers.setdefault(entry, []).append(values)
    broken = {entry for source in sources for entry in source.broken}
    return {
        entry: metadata_set(merge_layers(values, spelling)) for entry, values in layers.items() if entry not in broken
    }


ERRORS_SHOWN = 20

Identity = tuple[str, str]
"""A kind of name, and the name."""


@dataclass(frozen=True, slots=True)
class OperationEntries:
    """The entries of one operation at one address, with what was sent before and what the lake has."""

    address: Address
    operation: str
    index: AnnotationIndex | None
    """None if the manifest no longer has the operation."""
    sent: Mapping[str, RecordedSet]
    wanted: Mapping[str, DesiredSet]
    found: Mapping[str, FileAt] | None
    """The lake's files by entry. None if the lake cannot tell."""

    @property
    def changed(self) -> list[str]:
        return [entry for entry, one in self.wanted.items() if _differs(self.sent.get(entry), one)]

    @property
    def left(self) -> list[str]:
        return [entry for entry in self.sent if entry not in self.wanted]

    def identities(self, entry: str) -> Iterator[Identity]:
        """The names by which the image of an entry is recognized."""
        found = self.found.get(entry) if self.found is not None else None
        sent = self.sent.get(entry)
        if found is not None and found.unique_name is not None:
            yield "unique name", found.unique_name
        lake_id = found.lake_id if found is not None else sent.lake_id if sent is not None else None
        if lake_id is not None:
            yield "id", lake_id
        if self.address.by is By.UNIQUE_NAME:
            yield "unique name", entry
        elif self.address.by is By.STORAGE_PATH:
            bucket = "" if self.address.within == DEFAULT_BUCKET else self.address.within
            yield f"path in {bucket}", entry.lstrip("/")


@dataclass(frozen=True, slots=True)
class CollectionSet:
    """A set that a collection of the manifest has for a managed image. `place`: of its entry in the source."""

    operation: str
    unique_name: str
    lake_id: str
    place: str


@dataclass(slots=True)
class Claims:
    """Entries that stop annotating an image which another place still annotates. Each: address, operation and entry."""

    released: set[tuple[Address, str, str]] = field(default_factory=set)
    """Removed entries whose set must not be cleared."""
    resent: set[tuple[Address, str, str]] = field(default_factory=set)
    """The other places. Their sets must be sent, whatever the state has recorded."""


def claim_images(all_entries: Sequence[OperationEntries], in_collections: Iterable[CollectionSet]) -> Claims:
    """Find removed entries whose image another place still annotates.

    Raises ManifestErrors if two places annotate one image. `in_collections`: the sets of managed images.
    """
    claims = Claims()
    places: dict[tuple[str, Identity], tuple[OperationEntries | None, str, str]] = {}
    errors: dict[str, ManifestError] = {}
    for collection_set in in_collections:
        for identity in (("unique name", collection_set.unique_name), ("id", collection_set.lake_id)):
            places[collection_set.operation, identity] = (None, collection_set.unique_name, collection_set.place)
    of_collections = {operation for operation, _ in places}
    shared = of_collections | {
        one for one, times in Counter(entries.operation for entries in all_entries).items() if times > 1
    }
    all_entries = [
        entries for entries in all_entries if entries.operation in shared or entries.address.by is By.STORAGE_PATH
    ]
    for entries in all_entries:
        for entry in entries.wanted:
            for identity in set(entries.identities(entry)):
                mine = (entries, entry, _place(entries, entry))
                other = places.setdefault((entries.operation, identity), mine)
                if other[:2] != mine[:2]:
                    errors.setdefault(mine[2], _twice(entries, entry, other[2], mine[2]))
                    break
    if errors:
        raise ManifestErrors(list(errors.values())[:ERRORS_SHOWN])
    for entries in all_entries:
        for entry in entries.left:
            for identity in entries.identities(entry):
                owner = places.get((entries.operation, identity))
                if owner is not None:
                    claims.released.add((entries.address, entries.operation, entry))
                    if owner[0] is not None:
                        claims.resent.add((owner[0].address, entries.operation, owner[1]))
    return claims


def sets_of_collections(
    collections: Iterable[DesiredCollection],
    handles: Mapping[CollectionKey, CollectionHandle],
    files: Files,
    operations: Collection[str],
) -> Iterator[CollectionSet]:
    """The sets of managed images with records. `handles`: of the collections. `operations`: the ones to return."""
    for collection in collections:
        handle = handles.get(collection.key)
        shared = [operation for operation in collection.annotations if operation in operations]
        if handle is None or not shared:
            continue
        for file in files.all(handle):
            for operation in shared:
                image = collection.annotations[operation].images().get(file.name)
                if image is not None:
                    place = f"{image.place} (in collection '{collection.key.name}')"
                    yield CollectionSet(operation, file.unique_name, file.lake_id, place)


def _place(entries: OperationEntries, entry: str) -> str:
    assert entries.index is not None
    return f"{entries.index.images()[entry].place} (by {entries.address})"


def _twice(entries: OperationEntries, entry: str, one: str, other: str) -> ManifestError:
    assert entries.index is not None
    return ManifestError(
        f"'{entry}' has two entries for '{entries.operation}' that refer to the same image: {one} and {other}",
        where=entries.index.declared_at,
        remedy="Merge them, or give one of them a different 'operation'.",
    )


def _differs(sent: RecordedSet | None, wanted: DesiredSet) -> bool:
    return (sent.digest if sent else EMPTY_SET_DIGEST) != wanted.digest
