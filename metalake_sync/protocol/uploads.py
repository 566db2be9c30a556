"""Messages of upload sessions, and of the jobs that follow them.

A session opens. Each of its files begins, has its parts signed, and is finalized. Then the session is completed.
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import AliasChoices, Field, field_validator

from metalake_sync.protocol.wire import JobStatus, MediaKind, MetaObject, WireModel, number_in


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


class JobStatusAnswer(WireModel):
    is_success: bool = True
    job_id: str | None = None
    status: JobStatus
    progress: float = 0.0
    """A percentage from 0 to 100. The published client formats it as a number."""

    @field_validator("status", mode="before")
    @classmethod
    def _by_name_too(cls, value: object) -> object:
        """Accept the number, also as text, or the name of the status in any letter case."""
        number = number_in(value)
        if number is not None:
            return number
        return JobStatus.__members__.get(value.strip().upper(), value) if isinstance(value, str) else value

    @field_validator("progress", mode="before")
    @classmethod
    def _unreadable_progress_is_none(cls, value: object) -> object:
        """No decision depends on the progress."""
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return 0.0
        return number if math.isfinite(number) else 0.0


class JobReport(WireModel):
    """A report on the client's own long-running work (`updateJob`). The published client reports downloads."""

    job_name: str = ""
    session_id: str = ""
    job_type: int = 0
    progress: float = 0.0
    status: int = JobStatus.IN_PROGRESS
    job_specific_details: dict[str, Any] = Field(default_factory=dict)
