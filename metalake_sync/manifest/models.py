"""The top level of the manifest as a pydantic model. The JSON Schema is generated from it and from the models below it.

Owns: the top-level keys. Must not: compare one block with another (`cross_checks`), apply a collection's defaults
(`resolved`), or read files.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from pydantic import Field, field_validator

from metalake_sync.manifest.annotation_models import AddressedAnnotation
from metalake_sync.manifest.collection_models import Collection, CollectionSettings
from metalake_sync.manifest.metadata_values import wrong
from metalake_sync.manifest.remote_models import Notify, Remote
from metalake_sync.manifest.selection_models import Download, TrashRule
from metalake_sync.manifest.source_models import AddressedMetadata
from metalake_sync.manifest.types import Model, Text


class Manifest(Model):
    """The desired contents of a lake."""

    version: Literal[1] = Field(description="Version of the manifest format.")
    name: Text | None = Field(
        None,
        description="Name of the state. If left out, the file name without extension, or the folder name. "
        "Needed with '-'.",
    )
    remote: Remote = Field(description="The lake and the credentials for it.")
    defaults: CollectionSettings = Field(
        default=CollectionSettings.model_construct(),
        description="Default settings of collections. A collection overrides them key by key.",
    )
    collections: list[Collection] = Field(default=[], description="Collections to keep in the lake.")
    annotations: list[AddressedAnnotation] = Field(
        default=[],
        description="Sources of annotations for unmanaged images: images that this manifest does not upload.",
    )
    metadata: list[AddressedMetadata] = Field(
        default=[], description="Sources of metadata for unmanaged files: files that this manifest does not upload."
    )
    downloads: list[Download] = Field(default=[], description="Local folders to download items to.")
    trash: list[TrashRule] = Field(
        default=[], description="Items to move to the lake's trash. A plan with such an item needs approval."
    )
    notify: Notify | None = Field(
        None, description="Webhook that receives a message when 'watch' fails and when it recovers."
    )

    @field_validator("version", mode="before")
    @classmethod
    def _from_a_variable(cls, version: object) -> object:
        return 1 if version == "1" else version

    @field_validator("name")
    @classmethod
    def _names_a_file(cls, name: str | None) -> str | None:
        if name is not None and (PurePath(name).name != name or name in (".", "..") or len(name.encode()) > 200):
            raise wrong("cannot be a file name", "The state file uses this name: remove '/', or shorten it.")
        return name
