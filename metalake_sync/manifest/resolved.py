"""A collection with its defaults applied: every policy is concrete.

Owns: which of a collection and `defaults` has the say. Must not: merge metadata; it stays in layers, because Tags of
all layers are united elsewhere.
"""

from __future__ import annotations

from typing import Any, Literal

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.models import (
    Annotation,
    Collection,
    CollectionSettings,
    Folder,
)
from metalake_sync.manifest.source_models import FileMetadata
from metalake_sync.manifest.types import MediaTypeName


@dataclass(frozen=True, slots=True)
class ResolvedCollection:
    """`index`: its place in the manifest's `collections`. `metadata_layers`: from wide to narrow."""

    index: int
    name: str
    type: MediaTypeName
    storage_prefix: str | None
    metadata_layers: tuple[dict[str, Any], ...]
    metadata_scope: Literal["files", "collection"]
    metadata_override: bool
    folders: tuple[Folder, ...]
    files: tuple[str, ...]
    file_metadata: tuple[FileMetadata, ...]
    annotations: tuple[Annotation, ...]
    on_change: Literal["replace", "keep", "fail"]
    adopt: Literal["match", "take_over", "never"]
    tags: Literal["own", "exact"]
    prune: bool
    prevent_destroy: bool


def resolve(index: int, collection: Collection, defaults: CollectionSettings) -> ResolvedCollection:
    """Apply the defaults; what the collection says itself beats them. One of the two says the type (`agreement`)."""

    def said(name: str) -> Any:
        source = collection if name in collection.model_fields_set else defaults
        return getattr(source, name)

    media_type = collection.type or defaults.type
    assert media_type is not None, f"nothing says the type of {collection.name!r}"
    return ResolvedCollection(
        index=index,
        name=collection.name,
        type=media_type,
        metadata_layers=(defaults.metadata, collection.metadata),
        storage_prefix=said("storage_prefix"),
        metadata_scope=said("metadata_scope"),
        metadata_override=said("metadata_override"),
        folders=tuple(said("folders")),
        files=tuple(said("files")),
        file_metadata=tuple(said("file_metadata")),
        annotations=tuple(said("annotations")),
        on_change=said("on_change"),
        adopt=said("adopt"),
        tags=said("tags"),
        prune=said("prune"),
        prevent_destroy=said("prevent_destroy"),
    )
