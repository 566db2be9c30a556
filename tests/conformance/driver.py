"""The functions of the vendor's page, sections 2.1 to 2.20, independent of the client that carries them out.

The suite in `test_functions.py` is written against `Driver` and runs with each of `conftest.DRIVERS`. All of them must
see the same lake. A driver returns what its client did, in plain types. It raises `DriverRefused` if the client reports
that it could not do something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

Kind = Literal["image", "video", "other"]
Way = Literal["collection", "unique_name", "storage_path", "job"]


class DriverRefused(Exception):
    """The client reports that it could not carry out a call, and why."""


@dataclass(frozen=True)
class Uploaded:
    """A finished upload. `unique_name`: of a single file."""

    collection_id: str
    job_id: str
    unique_name: str | None = None


@dataclass(frozen=True)
class AnnotationSource:
    """An annotation file in the vendor's format, and how to interpret it."""

    path: Path
    operation: str
    machine: bool = False
    normalized: bool = False


@dataclass(frozen=True)
class UploadOptions:
    metadata: Mapping[str, Any] = field(default_factory=dict)
    override: bool = False
    file_metadata: Path | None = None
    storage_prefix: str | None = None
    annotations: AnnotationSource | None = None


@dataclass(frozen=True)
class Address:
    """How a file of metadata or annotations addresses its images.

    `value`: the collection's name, the job's id, or the bucket of storage paths (None: the lake's own).
    """

    way: Way
    value: str | None = None


@dataclass(frozen=True)
class Selection:
    """Items of a collection (by its id), or of one kind in the whole lake. Dates are YYYY-MM-DD."""

    collection_id: str | None = None
    kind: Kind = "image"
    query: str = ""
    annotation_types: Sequence[Literal["raw", "human", "machine"]] = ()
    from_date: str | None = None
    to_date: str | None = None


@dataclass(frozen=True)
class Sort:
    by: Literal["date_modified", "date_created", "name", "size", "video_index"]
    descending: bool = False


@dataclass(frozen=True)
class Downloaded:
    """Contents by file name, and annotations by the image's name in its collection."""

    files: Mapping[str, bytes]
    annotations: Mapping[str, Sequence[Mapping[str, Any]]]


class Driver(Protocol):
    """One client, connected to one lake."""

    unites_tags: ClassVar[bool]
    """Whether an uploaded file gets its own Tags in addition to those of the whole upload, or instead of them."""

    @property
    def sorts_by_video_index(self) -> bool:
        """Whether the client supports this sort field."""
        ...

    @property
    def shows_refusals(self) -> bool:
        """Whether the client reports why the lake rejects tags and fields."""
        ...

    def upload(self, path: Path, collection: str, kind: Kind, options: UploadOptions) -> Uploaded:
        """2.1, 2.18: upload a folder or a single file. Returns when the job is done (2.12)."""
        ...

    def annotate(self, address: Address, source: AnnotationSource) -> None:
        """2.2 to 2.6."""
        ...

    def download_collection(
        self, collection_id: str, *, kind: Literal["all", "human", "machine"], operations: Sequence[str], media: bool
    ) -> Downloaded:
        """2.7, 2.8."""
        ...

    def download_url(self, unique_name: str) -> str:
        """2.9."""
        ...

    def trash(self, selection: Selection) -> int:
        """2.10, 2.11: trash items. Returns how many, 0 if nothing matches."""
        ...

    def write_collection_metadata(
        self, collection: str, kind: Kind, metadata: Mapping[str, Any], *, to_files: bool
    ) -> None:
        """2.13."""
        ...

    def write_metadata(self, address: Address, source: Path) -> None:
        """2.14 to 2.17, for collections of images."""
        ...

    def download_files(self, selection: Selection, sort: Sort) -> Mapping[str, bytes]:
        """2.19, 2.20: download all pages. Returns contents by unique name."""
        ...

    def list_names(self, selection: Selection, sort: Sort) -> list[str]: ...

    def count(self, selection: Selection) -> int: ...

    def item_details(self, unique_name: str, fields: Sequence[str]) -> Mapping[str, Any]: ...

    def collection_details(self, collection_id: str, fields: Sequence[str]) -> Mapping[str, Any]: ...

    def create_collection(self, name: str, kind: Kind, metadata: Mapping[str, Any]) -> str:
        """Create a collection, and return its id."""
        ...

    def find_collection(self, name: str, kind: Kind) -> str | None: ...

    def remove_annotations(self, collection_id: str, operation: str) -> None: ...

    def labels(self) -> list[str]: ...

    def system_counts(self) -> Mapping[Kind, int]: ...
