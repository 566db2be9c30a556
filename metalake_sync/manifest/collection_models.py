"""The models of collections and their folders.

Owns: these keys and their defaults. Must not: apply `defaults` (`resolved`) or look at a folder.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from metalake_sync.manifest.annotation_models import Annotation
from metalake_sync.manifest.metadata_values import Metadata
from metalake_sync.manifest.source_models import FileMetadata
from metalake_sync.manifest.types import MediaTypeName, Model, PathText, Pattern, Text


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
        False, description="Refuse a plan that would trash or replace anything in the collection."
    )


class Collection(CollectionSettings):
    """One collection of the lake. Its name is unique within its type."""

    name: Text = Field(description="Name of the collection in the lake.")
