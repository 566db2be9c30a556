"""What messages consist of: their base classes, the enumerations of the protocol, and answers that many calls share."""

from __future__ import annotations

import enum
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, model_validator
from pydantic.alias_generators import to_camel

from metalake_sync.protocol.routes import Generation

PAGE_SIZE_LIMIT = 1000
"""The largest number of items of a list page, and of entries of a metadata or annotation call."""

CLIENT_VERSION = "2.3.4"
"""The version of the published client for generation 2. The compatibility call asks about it."""


MetaObject = dict[str, Any]
"""Metadata on the wire: field → string, number, boolean, object or array; `Tags` is an array of strings."""


class WireModel(BaseModel):
    """A message. Fields are camelCase on the wire. Unknown fields of newer lakes are ignored."""

    # Validators are built on first use: a run needs a third of the messages, and a plan without a lake none.
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        defer_build=True,
        # Some lakes send ids as numbers.
        coerce_numbers_to_str=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """Return the message as plain JSON types under its wire names."""
        return self.model_dump(mode="json", by_alias=True)


RootT = TypeVar("RootT")


class WireRoot(RootModel[RootT]):
    """A message that is not an object: a list, or an unspecified value."""

    model_config = ConfigDict(defer_build=True, coerce_numbers_to_str=True)


def number_in(value: object) -> int | None:
    """Return a non-negative integer given as a number or as a text of digits. None for anything else."""
    match value:
        case bool():
            return None
        case int() if value >= 0:
            return value
        case float() if value >= 0 and value.is_integer():
            return int(value)
        case str() if value.isascii() and value.isdecimal() and len(value) < 20:
            return int(value)
    return None


class MediaKind(enum.IntEnum):
    """`collectionType`, and the `objectType` of a collection in upload, create and metadata calls."""

    VIDEO = 4
    IMAGE = 5
    OTHER = 7


class ObjectKind(enum.IntEnum):
    """`contentType` in list, count and selection calls, and `objectType` in answers."""

    ANY = 0
    VIDEO = 1
    IMAGE = 2
    DATASET = 3
    VIDEO_COLLECTION = 4
    IMAGE_COLLECTION = 5
    OTHER = 6
    OTHER_COLLECTION = 7


class AnnotationKind(enum.IntEnum):
    """The annotation filter of list, count and selection calls."""

    RAW = 0
    MACHINE = 1
    HUMAN = 2


class OperationMode(enum.IntEnum):
    """Who made the shapes of an annotation upload."""

    HUMAN = 1
    MACHINE = 2


OPERATION_TYPE_ANNOTATION = 1


class JobStatus(enum.IntEnum):
    IN_PROGRESS = 1
    COMPLETED = 2
    QUEUED = 3
    FAILED = 4


class SortField(enum.IntEnum):
    DATE_MODIFIED = 1
    DATE_CREATED = 2
    NAME = 3
    SIZE = 4
    VIDEO_INDEX = 6
    TEXT_SCORE = 7
    """Generation 3 only."""


class StorageKind(enum.StrEnum):
    """The kind of object store, which determines how parts are sent. The values are the names of generation 2."""

    S3 = "AWS_S3"
    GCS = "GCP"
    AZURE = "AZURE"

    @classmethod
    def _missing_(cls, value: object) -> StorageKind | None:
        """Accept the names of both generations, in any letter case."""
        return _STORAGE_KINDS.get(value.strip().lower()) if isinstance(value, str) else None

    def spelled(self, generation: Generation) -> str:
        """Return the name that a lake of this generation uses."""
        return self.value if generation is Generation.TWO else _STORAGE_NAMES_3[self]


_STORAGE_NAMES_3 = {StorageKind.S3: "aws_s3", StorageKind.GCS: "gcs", StorageKind.AZURE: "azure_blob"}

_STORAGE_KINDS = {kind.spelled(generation).lower(): kind for kind in StorageKind for generation in Generation}

_COUNTED = re.compile(r"(\d+) of (\d+) (?:files|images) updated")


class CompatibilityAnswer(WireModel):
    is_compatible: bool
    message: str | None = None


class SimpleAnswer(WireModel):
    """An acknowledgement. Any JSON value counts as success.

    A lake may reject a call with status 200 and `isSuccess: false`. `answers.read_answer` checks that first.
    """

    is_success: bool = True
    message: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _any_form(cls, value: Any) -> Any:
        message = value.get("message") if isinstance(value, dict) else None
        return {"message": message if isinstance(message, str) else None}

    def updated(self, total: int) -> int | None:
        """Return how many of `total` entries matched a file, if the message says so: "3 of 4 files updated"."""
        counted = _COUNTED.match(self.message or "")
        return int(counted[1]) if counted and int(counted[2]) == total else None


class AnyAnswer(WireRoot[object]):
    """An answer of unpublished form."""
