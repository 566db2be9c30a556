"""Unmanaged files: files in the lake that the manifest does not upload, but adds metadata or annotations to.

Owns: addresses, the actions on unmanaged files, and what the lake confirmed for them. Must not: decide which action is
due (`diff_unmanaged`).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from metalake_sync.core.base_action import ActionDocument, ActionKey, BaseAction, Facts, Stage
from metalake_sync.core.changes import Change, Reason
from metalake_sync.core.metadata import (
    MetadataSet,
    MetadataValues,
)
from metalake_sync.core.selection import WHOLE_LAKE
from metalake_sync.core.snapshots import CollectionKey, DesiredSet, MediaType, RecordedSet, RemoteSet
from metalake_sync.lazy_dataclass import dataclass

DEFAULT_BUCKET = "DEFAULT"
"""The name of the default bucket in metadata calls. Annotation calls omit it. Source: the protocol's page, quirks."""


class By(enum.StrEnum):
    """How an entry names its file."""

    STORAGE_PATH = "storage_path"
    UNIQUE_NAME = "unique_name"
    JOB = "job"
    COLLECTION = "collection"


@dataclass(frozen=True, slots=True)
class Address:
    """Where entries find their files."""

    by: By
    within: str = ""
    """The bucket (empty for the default one), the job's id, or the collection's name."""
    type: MediaType | None = None
    """The collection's type, if the manifest names it."""

    @property
    def key(self) -> str:
        """The key of the address in the state."""
        return json.dumps([self.by.value, self.within, self.type.value if self.type else ""], ensure_ascii=False)

    @classmethod
    def from_key(cls, key: str) -> Address:
        """Return the address of a key."""
        by, within, media_type = json.loads(key)
        return cls(By(by), within, MediaType(media_type) if media_type else None)

    @property
    def collection(self) -> CollectionKey:
        """The collection that plans and events show."""
        name = self.within if self.by is By.COLLECTION else WHOLE_LAKE
        return CollectionKey(self.type or MediaType.IMAGE, name)

    def __str__(self) -> str:
        match self.by:
            case By.STORAGE_PATH:
                return f"storage paths in {self.within or 'the default bucket'}"
            case By.UNIQUE_NAME:
                return "unique names"
            case By.JOB:
                return f"files of job {self.within}"
            case By.COLLECTION:
                return f"files of {self.within}"


@dataclass(frozen=True, slots=True)
class AnnotateEntry(BaseAction):
    """Write the annotation set of one operation to an image that the manifest does not upload. The set has shapes."""

    action_name = "annotate"
    sign = "~"
    stage = Stage.UNMANAGED_FILES

    address: Address
    name: str
    annotations: DesiredSet
    reason: Reason
    unique_name: str | None = None
    """The unique name in the lake, if the plan read it."""
    lake_id: str | None = None
    """The image's id in the lake, if the plan read it."""
    overwrites: bool = False
    """Whether the action overwrites shapes that another client drew."""

    @property
    def collection(self) -> CollectionKey:
        return self.address.collection

    @property
    def needs_approval(self) -> bool:
        return self.overwrites

    @property
    def file_name(self) -> str:
        return self.name

    @property
    def key(self) -> ActionKey:
        return self._key(self.annotations.operation, place=str(self.address))

    def facts(self) -> Facts:
        return {"shapes": self.annotations.shape_count, "annotations": self.annotations.digest}

    def history(self) -> tuple[str | None, str | None]:
        return None, self.annotations.digest

    def document(self) -> ActionDocument:
        return self._document(
            operation=self.annotations.operation,
            shapes=self.annotations.shape_count,
            address=str(self.address),
            overwrites=self.overwrites or None,
        )


@dataclass(frozen=True, slots=True)
class ClearEntry(BaseAction):
    """Clear the annotation set of an image that the manifest does not upload: the operation or the address left the
    manifest, or the source has no shapes for the image any more."""

    action_name = "remove_annotations"
    sign = "-"
    stage = Stage.UNMANAGED_FILES
    destroys = True

    address: Address
    name: str
    annotations: RecordedSet
    """The set that is cleared."""
    reason: Reason = Reason.REMOVED_FROM_MANIFEST
    unique_name: str | None = None
    """The unique name in the lake, if the plan read it."""

    @property
    def collection(self) -> CollectionKey:
        return self.address.collection

    @property
    def file_name(self) -> str:
        return self.name

    @property
    def key(self) -> ActionKey:
        return self._key(self.annotations.operation, place=str(self.address))

    def facts(self) -> Facts:
        return {"shapes": self.annotations.shape_count, "annotations": self.annotations.digest}

    def history(self) -> tuple[str | None, str | None]:
        return self.annotations.digest, None

    def document(self) -> ActionDocument:
        return self._document(
            operation=self.annotations.operation,
            shapes=self.annotations.shape_count,
            address=str(self.address),
        )


@dataclass(frozen=True, slots=True)
class DescribeEntry(BaseAction):
    """Write what changed in the metadata of a file that the manifest does not upload."""

    action_name = "update_metadata"
    sign = "~"
    stage = Stage.UNMANAGED_FILES

    address: Address
    name: str
    metadata: MetadataSet
    before: str | None
    """The digest of the metadata that was written last, if any."""
    reason: Reason
    unique_name: str | None = None
    """The unique name in the lake, if the plan read it."""
    lake_id: str | None = None
    """The file's id in the lake, if the plan read it."""
    changes: tuple[Change, ...] = ()
    overwrites: bool = False
    """Whether the action overwrites a value that another client wrote."""
    lake: MetadataValues | None = None
    """The metadata in the lake, if the plan read it."""

    @property
    def collection(self) -> CollectionKey:
        return self.address.collection

    @property
    def needs_approval(self) -> bool:
        return self.overwrites

    @property
    def file_name(self) -> str:
        return self.name

    @property
    def key(self) -> ActionKey:
        return self._key(place=str(self.address))

    def facts(self) -> Facts:
        return {"metadata before": self.before, "metadata": self.metadata.digest}

    def history(self) -> tuple[str | None, str | None]:
        return self.before, self.metadata.digest

    def document(self) -> ActionDocument:
        return self._document(
            changes=self.changes or None, address=str(self.address), overwrites=self.overwrites or None
        )

    @property
    def metadata_written(self) -> MetadataSet:
        return self.metadata


EntryAction: TypeAlias = AnnotateEntry | ClearEntry | DescribeEntry


@dataclass(frozen=True, slots=True)
class SentMetadata:
    """Metadata that the lake confirmed for an entry."""

    digest: str
    lake_id: str | None = None
    """The file's id, if it was known."""


@dataclass(frozen=True, slots=True)
class SentSet:
    """An annotation set that the lake confirmed for an entry."""

    annotations: RecordedSet
    lake_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A file that the lake has under an entry's name."""

    unique_name: str
    lake_id: str


@dataclass(frozen=True, slots=True)
class SeenSet:
    """An image whose set in the lake differs from the source."""

    found: Found
    there: RemoteSet | None
    """The lake's set, or None if it has no shapes."""


@dataclass(slots=True)
class AddressedPlan:
    """The actions of one address."""

    address: Address
    operation: str | None = None
    """The operation of the annotations; None for metadata."""
    actions: list[EntryAction] = field(default_factory=list)
    settled: dict[str, MetadataSet | None] = field(default_factory=dict)
    """Entries whose record changes although nothing is sent: the new metadata, or None to remove the record."""
    ids: dict[str, str] = field(default_factory=dict)
    """The lake's ids of settled entries, if the planner read them."""
    forgotten: list[str] = field(default_factory=list)
    """Entries whose records of annotation sets are removed."""
    unchanged: int = 0


SentSets = Mapping[str, SentSet]
"""Entry → the set that the lake confirmed."""
