"""Messages that validate and write metadata."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT, MediaKind, MetaObject, WireModel, WireRoot


class ValidateTags(WireModel):
    tags: list[Any]


class ValidateFields(WireModel):
    fields: list[Any]


class ValidateAnswer(WireRoot[object]):
    """The lake's opinion on tags or fields: `{isSuccess, message}` (generation 2) or a list of renames (generation 3).

    A rename is `{newTag, oldTag}` or `{newField, oldField}`. The list is empty if all spellings are accepted.
    """

    def renames(self) -> dict[str, str]:
        """Return requested spelling → the lake's spelling, for those that differ."""
        found: dict[str, str] = {}
        for entry in self.root if isinstance(self.root, list) else ():
            if not isinstance(entry, dict):
                continue
            asked = entry.get("newTag", entry.get("newField"))
            known = entry.get("oldTag", entry.get("oldField"))
            if isinstance(asked, str) and isinstance(known, str) and known and asked != known:
                found[asked] = known
        return found


class FileMetadata(WireModel):
    file: str
    metadata: MetaObject = Field(default_factory=dict)


class UploadMetadataByJson(WireModel):
    """A page of file metadata.

    At most one address field is set. It determines what `file` is: the name in a collection (`collection_id`), the name
    in an upload (`job_id`), the storage path (`bucket_name`), or the unique name (no address field).
    """

    metadata: list[FileMetadata] = Field(max_length=PAGE_SIZE_LIMIT)
    bucket_name: str | None = None
    job_id: str | None = None
    collection_id: str | None = None


class UploadMetadataByObject(WireModel):
    """Writes the metadata of a collection and, with `is_apply_to_all_files`, of every file in it."""

    collection_name: str
    object_type: MediaKind
    metadata: MetaObject = Field(default_factory=dict)
    is_apply_to_all_files: bool = False
