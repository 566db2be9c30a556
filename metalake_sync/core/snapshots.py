"""The rows of the three snapshots: the desired, the recorded and the remote files.

Owns: the types that every package shares. Must not: read, write or decide anything.

Names and paths are `str` as `os.fsdecode` returns them: bytes that are not UTF-8 are surrogate escapes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Set
from dataclasses import field
from typing import TYPE_CHECKING, Literal, NewType, Protocol

from metalake_sync.core.metadata import MetadataSet, MetadataValues
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.core.shapes import ImageRecord


class MediaType(enum.StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    OTHER = "other"


class AnnotationKind(enum.StrEnum):
    HUMAN = "human"
    MACHINE = "machine"


class Origin(enum.StrEnum):
    """How a file got its record. Only uploaded files are pruned."""

    UPLOADED = "uploaded"
    ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class CollectionKey:
    """The identity of a collection. Its name is unique only among collections of its type."""

    type: MediaType
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class CollectionPolicy:
    """What the manifest allows in one collection."""

    on_change: Literal["replace", "keep", "fail"] = "replace"
    adopt: Literal["match", "take_over", "never"] = "match"
    tags: Literal["own", "exact"] = "own"
    prune: bool = False
    prevent_destroy: bool = False
    on_trashed: Literal["restore", "ask", "keep"] = "restore"
    metadata_override: bool = False


LATEST_NS = (1 << 63) - 1
"""The last nanosecond that 64 bits can store, in the year 2262. File systems may return later times."""


def recordable_ns(time_ns: int) -> int:
    """Return a file's time, limited to the range that the state can record (years 1677 to 2262)."""
    return min(max(time_ns, -LATEST_NS), LATEST_NS)


class Looked(Protocol):
    """The fields of `os.stat_result` that a fingerprint needs."""

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
    """Size, times and inode of a local file. While the fingerprint is the same, the file is not read again.

    A changed fingerprint does not mean that the bytes changed. Times are nanoseconds since the epoch, as
    `recordable_ns` returns them.
    """

    size_bytes: int
    mtime_ns: int
    inode: int
    ctime_ns: int

    @classmethod
    def of(cls, found: Looked) -> Fingerprint:
        """Return the fingerprint of a file from its stat result."""
        mtime_ns, ctime_ns = found.st_mtime_ns, found.st_ctime_ns
        if not (-LATEST_NS <= mtime_ns <= LATEST_NS and -LATEST_NS <= ctime_ns <= LATEST_NS):
            mtime_ns, ctime_ns = recordable_ns(mtime_ns), recordable_ns(ctime_ns)
        return cls(found.st_size, mtime_ns, found.st_ino, ctime_ns)

    def version(self) -> FileVersion:
        """The same as an opaque version."""
        return FileVersion((self.size_bytes, self.mtime_ns, self.inode, self.ctime_ns))


@dataclass(frozen=True, slots=True)
class DesiredSet:
    """The annotation set that an image should have in one operation. An empty set has no shapes."""

    operation: str
    kind: AnnotationKind
    digest: str
    shape_count: int


@dataclass(frozen=True, slots=True)
class DesiredFile:
    """A file that the manifest wants in a collection."""

    name: str
    """The name in the collection."""
    path: str
    """The path relative to the manifest's folder, with `/`."""
    fingerprint: Fingerprint
    metadata: MetadataSet
    content_hash: str | None = None
    """The BLAKE3 hash (hex), or None if the file was not read."""
    annotations: Mapping[str, DesiredSet] = field(default_factory=dict)
    """The annotation sets by operation."""


@dataclass(frozen=True, slots=True)
class RecordedSet:
    """An annotation set that the lake confirmed."""

    operation: str
    kind: AnnotationKind
    digest: str
    """The digest of the set that was sent."""
    shape_count: int
    seen: str | None = None
    """The digest of the set that the lake returned for it, or None if it was not read back. The two differ because the
    lake converts fractions to pixels."""
    kept: str | None = None
    """The digest of another client's set that was kept in the lake in place of this one, or None."""
    lake_id: str | None = None
    """The id of an unmanaged image, if it was known. A managed image has its id in its record."""


@dataclass(frozen=True, slots=True)
class RecordedMetadata:
    """Metadata that the lake confirmed for an unmanaged file."""

    digest: str
    lake_id: str | None = None
    """The file's id, if it was known."""


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file as the lake last confirmed it."""

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
class SetMerge:
    """What two clients made of one base set, combined shape by shape."""

    shapes: ImageRecord
    """The combined set. Where both sides changed a shape, it has the manifest's."""
    digest: str
    conflicts: int
    """The number of shapes that both sides changed in different ways."""
    is_theirs: bool
    """Whether the combined set is the lake's set, so that nothing has to be sent."""
    stored: str | None = None
    """The digest of the combined set as the lake stores it. None: unknown."""
    restored: bool = False
    """Whether it is not a combination, but an earlier set of another client that a revert sends again."""


@dataclass(frozen=True, slots=True)
class RemoteSet:
    """An annotation set as the lake returns it. A set without shapes is one that was read and found empty."""

    digest: str
    shape_count: int
    as_desired: bool
    """Whether it has the same shapes as the manifest's source."""
    as_recorded: bool | None = None
    """Whether it has the shapes that the lake confirmed last. None: the state does not know them."""
    shapes: ImageRecord | None = None
    """Its shapes, if it is neither the recorded set nor the manifest's."""
    merge: SetMerge | None = None
    """The set combined with the manifest's, where `on_drift` is merge and the two differ."""


@dataclass(frozen=True, slots=True)
class KeptSet:
    """A set of another client that stays in the lake in place of the manifest's."""

    wanted: DesiredSet
    """The manifest's set, which is not sent."""
    digest: str
    """The digest of the lake's set."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that the lake lists. A listing has only names and ids; fields that were not read are None."""

    name: str
    lake_id: str
    unique_name: str
    size_bytes: int | None = None
    metadata: MetadataValues | None = None
    """The metadata fields that the planner requested."""
    sets: Mapping[str, RemoteSet] | None = None
    """The annotation sets that were read, by operation. Sets without shapes may be missing."""
    sets_read: Set[str] | None = None
    """The operations whose sets were read. None: all, if `sets` is given."""
    same_bytes: bool | None = None
    """Whether the object store proved that the bytes equal those of the local file; None without proof."""


@dataclass(frozen=True, slots=True)
class RecordedCollection:
    """A collection that the lake confirmed."""

    key: CollectionKey
    lake_id: str
    storage_path: str
    head_digest: str | None
    """The digest of the head's metadata, or None if it was never written."""
    listed_count: int | None = None
    """The number of files when a listing last matched the records."""
    listed_newest: str | None = None
    """The id of the newest file when a listing last matched the records."""
    looked_until: str | None = None
    """The time, as the lake writes it, up to which a full refresh found no drift."""
