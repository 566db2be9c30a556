"""The top level of the manifest as a pydantic model, its collections and their folders.

The JSON Schema is generated from it and from the models in `source_models` and `remote_models`.

Owns: these keys and their defaults, and the precedence of a collection over `defaults`. Metadata stays in layers,
because the tags of all layers are merged later. Must not: compare one block with another (`cross_checks`), or look at
a folder.
"""

from __future__ import annotations

import difflib
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from metalake_sync.core.notes import ACKNOWLEDGEABLE, BLOCKING, UNUSABLE
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.check_models import Checks
from metalake_sync.manifest.remote_models import Download, Notify, Remote, TrashRule
from metalake_sync.manifest.source_models import AddressedAnnotation, AddressedMetadata, Annotation, FileMetadata
from metalake_sync.manifest.types import (
    FOREVER,
    Duration,
    MediaTypeName,
    Metadata,
    Model,
    PathText,
    Pattern,
    Text,
    Workers,
    value_error,
)


class Folder(Model):
    """A folder of files."""

    path: PathText = Field(description="Folder, relative to the manifest or absolute.")
    include: list[Pattern] = Field(
        default=[],
        description="Files to upload, as patterns of gitignore. An empty list selects every file of the "
        "collection's type.",
    )
    exclude: list[Pattern] = Field(
        default=[], description="Files and folders to leave out, as patterns of gitignore. They override include."
    )
    recursive: bool = Field(True, description="Also upload the files of subfolders.")
    follow_symlinks: bool = Field(
        False, description="Follow symbolic links, including those that lead out of the folder."
    )
    naming: Literal["name", "path"] = Field(
        "name",
        description="Names of files in the collection. name: the file's own name. path: a/b.jpg becomes a__b.jpg.",
    )
    metadata: Metadata = Field(default={}, description="Metadata of every file in the folder.")


class CollectionSettings(Model):
    """The keys that a collection and `defaults` have in common."""

    type: MediaTypeName | None = Field(
        None, description="Media type of the collection. Each collection needs one, here or in 'defaults'."
    )
    storage_prefix: Text | None = Field(
        None, description="Folder in the lake's storage for the files of the collection."
    )
    metadata: Metadata = Field(
        default={}, description="Metadata of the collection and of every file in it (see metadata_scope)."
    )
    metadata_scope: Literal["files", "collection"] = Field(
        "files",
        description="What 'metadata' applies to. files: the collection and every file in it. collection: its "
        "head only.",
    )
    metadata_override: bool = Field(False, description="Also write metadata to files that were in the lake before.")
    folders: list[Folder] = Field(default=[], description="Folders of files.")
    files: list[PathText] = Field(default=[], description="Single files, relative to the manifest or absolute.")
    file_metadata: list[FileMetadata] = Field(
        default=[],
        description="Metadata of single files: from JSON, JSON Lines and CSV files, sidecar files and EXIF, and "
        "by pattern. "
        "Later entries override earlier ones.",
    )
    annotations: list[Annotation] = Field(
        default=[], description="Sources of annotations. Only collections of type image have annotations."
    )
    on_change: Literal["replace", "keep", "fail"] = Field(
        "replace",
        description="What happens when a local file has other bytes than the file of that name in the lake. "
        "replace: trash the old file and upload the new one. keep: warn. fail: stop.",
    )
    adopt: Literal["match", "take_over", "never"] = Field(
        "match",
        description="What happens to a file that the lake has already. match: adopt it if the size is equal. "
        "take_over: adopt "
        "it with any size, then apply on_change. never: do not adopt.",
    )
    tags: Literal["own", "exact"] = Field(
        "own", description="own: keep tags that other clients set in the lake. exact: remove them."
    )
    prune: bool = Field(
        False, description="Trash files in the lake that this manifest uploaded and no longer contains."
    )
    prevent_destroy: bool = Field(
        False, description="Stop a plan that would trash or replace anything in the collection."
    )
    on_trashed: Literal["restore", "ask", "keep"] = Field(
        "restore",
        description="What happens to an uploaded file that another client trashed. restore: upload it again. ask: "
        "upload it again, which needs approval. keep: do not upload it.",
    )


class Collection(CollectionSettings):
    """One collection of the lake. Its name is unique within its type."""

    name: Text = Field(description="Name of the collection in the lake.")


class History(Model):
    """How long the state keeps past runs."""

    keep: Duration = Field(
        "90d",
        description="How long 'history' and 'revert' know a run, in days (90d), or forever. Older runs are deleted by "
        "a later apply.",
    )

    @property
    def keep_days(self) -> int | None:
        """None: forever."""
        return None if self.keep == FOREVER else int(self.keep.removesuffix("d"))


class Run(Model):
    """How a run does its work."""

    workers: Workers | None = Field(
        None,
        description="Processes that send small files: how many on this machine; tls://HOST:PORT or tcp://HOST:PORT of "
        "a Dask scheduler; or package.module:factory for a function that returns a concurrent.futures.Executor. 0, or "
        "left out: the process of the run sends all files.",
    )


def _can_be_ignored(code: str) -> str:
    if code in ACKNOWLEDGEABLE:
        return code
    if code in BLOCKING or code in UNUSABLE:
        raise value_error("stops a run, or makes it incomplete, and cannot be ignored", "Remove it.")
    near = difflib.get_close_matches(code, sorted(ACKNOWLEDGEABLE), n=1)
    remedy = f"Did you mean '{near[0]}'?" if near else "'plan --json' prints the code of each note."
    raise value_error("is not the code of a note", remedy)


IgnoredCode = Annotated[
    str, AfterValidator(_can_be_ignored), Field(json_schema_extra={"enum": sorted(ACKNOWLEDGEABLE)})
]


class Notes(Model):
    """Which notes of a plan are not shown."""

    ignore: list[IgnoredCode] = Field(
        default=[],
        description="Codes of notes that were acknowledged, such as metadata_differs. No output shows them any more. "
        "Notes that stop a run, or make it incomplete, cannot be ignored.",
    )


class Manifest(Model):
    """The desired contents of a lake."""

    version: Literal[1] = Field(description="Version of the manifest format.")
    name: Text | None = Field(
        None,
        description="Name of the state. If left out, the file name without extension, or the folder name. "
        "Needed with '-'.",
    )
    state: Text | None = Field(
        None,
        description="Where the state is kept: a file, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, "
        "azure://CONTAINER/PREFIX or postgresql://HOST/DATABASE/PREFIX for a state that several machines share. "
        "Credentials come from the environment. If left out, a file beside the manifest.",
    )
    remote: Remote = Field(description="The lake and the credentials for it.")
    history: History = Field(default=History.model_construct(), description="How long the state keeps past runs.")
    run: Run = Field(default=Run.model_construct(), description="How a run does its work.")
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
    checks: Checks = Field(
        default=Checks.model_construct(), description="What is checked in the sources before a plan sends anything."
    )
    notes: Notes = Field(default=Notes.model_construct(), description="Which notes of a plan are not shown.")
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
            raise value_error("cannot be a file name", "The state file uses this name: remove '/', or shorten it.")
        return name


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
    on_trashed: Literal["restore", "ask", "keep"]


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
        on_trashed=said("on_trashed"),
    )
