"""The rows of the three snapshots: what is desired, what was last confirmed, what the lake has.

Owns: the vocabulary that every room shares. Must not: read, write or decide anything.

Names and paths are `str` as `os.fsdecode` gives them: bytes that are no UTF-8 are surrogate escapes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field
from typing import Literal, NewType, Protocol

from metalake_sync.core.metadata import MetadataSet, MetadataValues
from metalake_sync.lazy_dataclass import dataclass


class MediaType(enum.StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    OTHER = "other"


class AnnotationKind(enum.StrEnum):
    HUMAN = "human"
    MACHINE = "machine"


class Origin(enum.StrEnum):
    """How a file came under our care. Only what was uploaded is ever pruned."""

    UPLOADED = "uploaded"
    ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class CollectionKey:
    """A collection's name is unique for its type only."""

    type: MediaType
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class CollectionPolicy:
    """What the manifest allows to be done in one collection."""

    on_change: Literal["replace", "keep", "fail"] = "replace"
    adopt: Literal["match", "take_over", "never"] = "match"
    tags: Literal["own", "exact"] = "own"
    prune: bool = False
    prevent_destroy: bool = False
    metadata_override: bool = False


LATEST_NS = (1 << 63) - 1
"""The last nanosecond that 64 bits hold, in the year 2262. File systems can hold later times, and damaged disks do."""


def recordable_ns(time_ns: int) -> int:
    """A file's time, or the earliest or latest one that the state can record (1677 and 2262)."""
    return min(max(time_ns, -LATEST_NS), LATEST_NS)


class Looked(Protocol):
    """What a stat call returns (`os.stat_result`)."""

    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


FileVersion = NewType("FileVersion", tuple[int, int, int, int])
"""The version of a local file's content, as its source made it. Only sources know what the numbers mean. Everything
else may store them and compare them: equal versions mean that the content did not change."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a stat call tells of a file. Equal fingerprints mean that nobody touched it; unequal ones decide nothing.

    `size_bytes`: 0 or more. `mtime_ns`, `ctime_ns`: nanoseconds since the epoch, as `recordable_ns` gives them.
    """

    size_bytes: int
    mtime_ns: int
    inode: int
    ctime_ns: int

    @classmethod
    def of(cls, found: Looked) -> Fingerprint:
        """The fingerprint of a file that was looked at."""
        mtime_ns, ctime_ns = found.st_mtime_ns, found.st_ctime_ns
        if not (-LATEST_NS <= mtime_ns <= LATEST_NS and -LATEST_NS <= ctime_ns <= LATEST_NS):
            mtime_ns, ctime_ns = recordable_ns(mtime_ns), recordable_ns(ctime_ns)
        return cls(found.st_size, mtime_ns, found.st_ino, ctime_ns)

    def version(self) -> FileVersion:
        """The same as an opaque version."""
        return FileVersion((self.size_bytes, self.mtime_ns, self.inode, self.ctime_ns))


@dataclass(frozen=True, slots=True)
class DesiredSet:
    """The annotation set that one image should have under one operation. An empty set has no shapes."""

    operation: str
    kind: AnnotationKind
    digest: str
    shape_count: int


@dataclass(frozen=True, slots=True)
class DesiredFile:
    """A file that the manifest wants in a collection.

    `name`: its name in the collection. `path`: from the manifest's folder, with `/`. `content_hash`: BLAKE3 in hex, or
    None where nothing had to be read yet. `annotations`: by operation.
    """

    name: str
    path: str
    fingerprint: Fingerprint
    metadata: MetadataSet
    content_hash: str | None = None
    annotations: Mapping[str, DesiredSet] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordedSet:
    """An annotation set that the lake confirmed. `digest` is that of what was sent; `seen` that of what the lake gave
    back for it (it turns fractions into pixels), None while it was not read back."""

    operation: str
    kind: AnnotationKind
    digest: str
    shape_count: int
    seen: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file that the lake confirmed, as it was then."""

    name: str
    path: str
    fingerprint: Fingerprint
    content_hash: str
    metadata_digest: str
    lake_id: str
    unique_name: str
    origin: Origin
    annotations: Mapping[str, RecordedSet] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemoteSet:
    """An annotation set as the lake gives it back. `as_desired`: it holds the shapes that the manifest's source has."""

    digest: str
    shape_count: int
    as_desired: bool


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that the lake lists now. Lists carry no more than name and ids: what was not asked for is None.

    `metadata`: the fields that were asked about, as the lake has them. `sets`: by operation, those with shapes.
    `same_bytes`: True where the store proves that its bytes are those of the local file, False where it proves that
    they are not, None where it proves nothing or was not asked.
    """

    name: str
    lake_id: str
    unique_name: str
    size_bytes: int | None = None
    metadata: MetadataValues | None = None
    sets: Mapping[str, RemoteSet] | None = None
    same_bytes: bool | None = None


@dataclass(frozen=True, slots=True)
class RecordedCollection:
    """A collection that the lake confirmed. `head_digest`: of its head's metadata, None before that was written.

    `listed_count` and `listed_newest`: how many files it had and the id of the newest, when a listing last agreed with
    the records. `looked_until`: up to this moment, as the lake writes it, a full refresh found no drift.
    """

    key: CollectionKey
    lake_id: str
    storage_path: str
    head_digest: str | None
    listed_count: int | None = None
    listed_newest: str | None = None
    looked_until: str | None = None
