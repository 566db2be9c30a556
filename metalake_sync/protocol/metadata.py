"""Messages that write metadata, and those that check it first."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT, MediaKind, MetaObject, WireModel, WireRoot


class ValidateTags(WireModel):
    tags: list[Any]


class ValidateFields(WireModel):
    fields: list[Any]


class ValidateAnswer(WireRoot[object]):
    """What a lake says about tags or fields: `{isSuccess, message}` (generation 2) or a list of renames (generation 3).

    A rename is `{newTag, oldTag}` or `{newField, oldField}`; the list is empty where all are fine.
    """

    def renames(self) -> dict[str, str]:
        """Return the spelling that was asked about → the spelling that the lake has, for those that differ."""
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
    """One page. Exactly one addressing is meant: `collection_id` (file = name in the collection), `job_id` (file = name
    in that upload), `bucket_name` (file = storage path), or none of them (file = unique name)."""

    metadata: list[FileMetadata] = Field(max_length=PAGE_SIZE_LIMIT)
    bucket_name: str | None = None
    job_id: str | None = None
    collection_id: str | None = None


class UploadMetadataByObject(WireModel):
    """Writes the collection's head and, with `is_apply_to_all_files`, every file in it, whoever put it there."""

    collection_name: str
    object_type: MediaKind
    metadata: MetaObject = Field(default_factory=dict)
    is_apply_to_all_files: bool = False
