"""Where a file is in the lake, as a value: managed and unmanaged files take the same way from manifest to lake.

Owns: addresses, and the names that the lake has for a file. Must not: look a file up, or decide anything.
"""

from __future__ import annotations

import enum
import json
from typing import TypeAlias

from metalake_sync.core.selection import WHOLE_LAKE
from metalake_sync.core.snapshots import CollectionKey, MediaType
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
    """Where entries find their unmanaged files."""

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


Place: TypeAlias = CollectionKey | Address
"""Where files are found: a collection of the manifest, or an address of unmanaged files."""


@dataclass(frozen=True, slots=True)
class FileAt:
    """A file in the lake: its place, its name there, and what the planner read about it."""

    place: Place
    name: str
    """The name in the collection, or the entry of the source."""
    unique_name: str | None = None
    """The unique name in the lake. None if the file is not uploaded yet, or if the planner did not read it."""
    lake_id: str | None = None
    """The id in the lake, if the planner read it."""

    @property
    def managed(self) -> bool:
        """Whether the manifest uploads the file."""
        return isinstance(self.place, CollectionKey)

    @property
    def collection(self) -> CollectionKey:
        """The collection that plans and events show."""
        return self.place if isinstance(self.place, CollectionKey) else self.place.collection

    @property
    def address(self) -> str | None:
        """The address as plans show it. None for a managed file."""
        return None if isinstance(self.place, CollectionKey) else str(self.place)
