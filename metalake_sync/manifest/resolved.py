"""Collections with `defaults` applied, so that every policy has a value.

Owns: the precedence of a collection over `defaults`. Must not: merge metadata. It stays in layers, because the tags of
all layers are merged later.
"""

from __future__ import annotations

from typing import Any, Literal

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.annotation_models import Annotation
from metalake_sync.manifest.collection_models import Collection, CollectionSettings, Folder
from metalake_sync.manifest.source_models import FileMetadata
from metalake_sync.manifest.types import MediaTypeName


@dataclass(frozen=True, slots=True)
class ResolvedCollection:
    """A collection whose settings are complete."""

    index: int
    """Its position in the manifest's `collections`."""
    name: str
    type: MediaTypeName
    storage_prefix: str | None
    metadata_layers: tuple[dict[str, Any], ...]
    """From wide to narrow."""
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
    """Apply `defaults` to the keys that the collection does not set. `cross_checks` ensures that there is a type."""

    def said(name: str) -> Any:
        source = collection if name in collection.model_fields_set else defaults
        return getattr(source, name)

    media_type = collection.type or defaults.type
    assert media_type is not None, f"collection {collection.name!r} has no type"
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
