"""Messages of an upload session: open it, begin files, sign their parts, finalize files, complete the session."""

from __future__ import annotations

from pydantic import AliasChoices, Field, field_validator

from metalake_sync.protocol.wire import MediaKind, MetaObject, WireModel


class OpenUpload(WireModel):
    """Opens an upload session for the named files. Creates the collection if it does not exist."""

    collection_type: MediaKind
    collection_name: str
    meta_data_object: MetaObject = Field(default_factory=dict)
    is_override_meta_data: bool = False
    storage_prefix_path: str | None = None
    object_key_list: list[str]

    @field_validator("meta_data_object", mode="before")
    @classmethod
    def _empty_text_means_nothing(cls, value: object) -> object:
        """The published client sends "" for no metadata."""
        return {} if value in ("", None) else value


class OpenUploadAnswer(WireModel):
    is_success: bool = True
    storage_type: str
    """The kind of object store in the lake's spelling, for `StorageKind`."""
    upload_id: str
    collection_id: str
    job_id: str


class BeginFile(WireModel):
    file_name: str
    collection_name: str
    upload_id: str


class BeginFileAnswer(WireModel):
    file_id: str = ""
    """May be missing if one of the flags is set, as may `file_key`."""
    file_key: str = ""
    is_existing: bool = False
    """The collection already has a file with this name. Nothing is to be sent."""
    upload_removed_file: bool = False
    """The file was removed from this collection and is in another one. It cannot be sent."""


class SignParts(WireModel):
    file_id: str
    file_key: str
    parts: int = Field(ge=1, le=10_000)
    content_type: str = "application/octet-stream"


class SignedPart(WireModel):
    part_number: int = Field(alias="PartNumber", validation_alias=AliasChoices("PartNumber", "partNumber"))
    signed_url: str = Field(repr=False)


class SignPartsAnswer(WireModel):
    is_success: bool = True
    file_key: str = ""
    parts: list[SignedPart]


class FinishedPart(WireModel):
    part_number: int = Field(alias="PartNumber")
    etag: str = Field(alias="ETag", default="")


class FinalizeFile(WireModel):
    file_id: str
    file_key: str
    upload_id: str
    parts: list[FinishedPart]
    finalize_url: str = Field(default="", repr=False)
    """The signed URL of the last part: a credential, therefore not in the repr."""


class CompleteUploadAnswer(WireModel):
    is_success: bool = True
    uploaded_file_list: list[str] = Field(default_factory=list)
    """The unique names of the session's files, if they were requested."""
