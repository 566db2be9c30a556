"""Messages of an upload session: open, begin a file, sign its parts, finalize it, complete the session."""

from __future__ import annotations

from pydantic import AliasChoices, Field, field_validator

from metalake_sync.protocol.wire import MediaKind, MetaObject, WireModel


class OpenUpload(WireModel):
    """Opens an upload session for the files named; creates the collection when it is new."""

    collection_type: MediaKind
    collection_name: str
    meta_data_object: MetaObject = Field(default_factory=dict)
    is_override_meta_data: bool = False
    storage_prefix_path: str | None = None
    object_key_list: list[str]

    @field_validator("meta_data_object", mode="before")
    @classmethod
    def _empty_text_means_nothing(cls, value: object) -> object:
        """The published client sends "" where there is no metadata."""
        return {} if value in ("", None) else value


class OpenUploadAnswer(WireModel):
    """`storage_type`: the name of the object store, as the lake spells it; `StorageKind(storage_type)` reads it."""

    is_success: bool = True
    storage_type: str
    upload_id: str
    collection_id: str
    job_id: str


class BeginFile(WireModel):
    file_name: str
    collection_name: str
    upload_id: str


class BeginFileAnswer(WireModel):
    """`is_existing`: the collection has the name already, nothing to send. `upload_removed_file`: the file was removed
    from this collection and lives in another; it can't be sent. In both cases id and key may be missing."""

    file_id: str = ""
    file_key: str = ""
    is_existing: bool = False
    upload_removed_file: bool = False


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
    """`finalize_url`: the signed URL of the last part; a credential, so it is kept out of the repr."""

    file_id: str
    file_key: str
    upload_id: str
    parts: list[FinishedPart]
    finalize_url: str = Field(default="", repr=False)


class CompleteUploadAnswer(WireModel):
    """`uploaded_file_list`: the unique names of the session's files, if they were asked for."""

    is_success: bool = True
    uploaded_file_list: list[str] = Field(default_factory=list)
