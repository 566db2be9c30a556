"""Opens the manifest's top-level `annotations` and `metadata`: the sources for unmanaged files.

Owns: which address and operation each entry belongs to. Must not: ask the lake, or compare anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING

from metalake_sync.core.addresses import Address, By
from metalake_sync.core.metadata import MetadataSet, Spelling, merge_layers, metadata_set
from metalake_sync.core.snapshots import MediaType
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import AddressedAnnotation, AddressedMetadata, LoadedManifest
from metalake_sync.planning.open_collections import table_format
from metalake_sync.sources.metadata_files import read_metadata_file
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.entries import AnnotationSpec
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.annotations.parse_cache import SetMemo
    from metalake_sync.sources.metadata_entries import EntrySource

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
    from metalake_sync.annotations.images import AnyImage
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
