"""What a plan can hold: a closed union of actions, each with its reason.

Owns: the vocabulary of change. Must not: decide which action is due (`diff`), order them (`plan`), do them (`apply`).
"""

from __future__ import annotations

from typing import TypeAlias

from metalake_sync.core.changes import Change
from metalake_sync.core.metadata import MetadataSet, MetadataValues
from metalake_sync.core.reasons import Reason as Reason
from metalake_sync.core.snapshots import CollectionKey, DesiredFile, DesiredSet, RecordedFile, RecordedSet, RemoteFile
from metalake_sync.core.unmanaged_files import AnnotateEntry, ClearEntry, DescribeEntry
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class CreateCollection:
    """The lake has no such collection. Its head gets `head` as metadata."""

    collection: CollectionKey
    head: MetadataSet
    reason: Reason = Reason.NEW


@dataclass(frozen=True, slots=True)
class UpdateHead:
    """The metadata of the collection itself changed. `before` is the digest that was written last, if any; `lake` what
    the lake has, where it was asked. `overwrites`: a value that another client wrote goes."""

    collection: CollectionKey
    head: MetadataSet
    before: str | None
    reason: Reason = Reason.METADATA_CHANGED
    lake: MetadataValues | None = None
    changes: tuple[Change, ...] = ()
    overwrites: bool = False


@dataclass(frozen=True, slots=True)
class UploadFile:
    """Send the file; it carries its metadata. `renamed_from`: the same bytes stand in the lake under that name, and the
    protocol has no rename."""

    collection: CollectionKey
    file: DesiredFile
    reason: Reason
    renamed_from: str | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplaceFile:
    """Put the lake's file `replaced` into the trash, then send the local one under its name."""

    collection: CollectionKey
    file: DesiredFile
    replaced: RemoteFile
    reason: Reason
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class AdoptFile:
    """Take the lake's file over into the records as it is; no byte is sent. `sets`: annotation sets that the lake was
    found to have as the manifest wants them."""

    collection: CollectionKey
    file: DesiredFile
    remote: RemoteFile
    reason: Reason = Reason.ALREADY_IN_LAKE
    sets: tuple[DesiredSet, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateFileMetadata:
    """Write what changed in the file's metadata. `before` is the digest of what was written last, if anything was;
    `lake` what the lake has, where it was asked. `overwrites`: a value that another client wrote goes."""

    collection: CollectionKey
    file: DesiredFile
    unique_name: str
    before: str | None
    reason: Reason = Reason.METADATA_CHANGED
    lake: MetadataValues | None = None
    changes: tuple[Change, ...] = ()
    overwrites: bool = False


@dataclass(frozen=True, slots=True)
class Annotate:
    """Send the image's set of one operation, which has shapes. `unique_name` is None where the file is yet to be
    uploaded. `overwrites`: shapes that another client drew go."""

    collection: CollectionKey
    name: str
    unique_name: str | None
    annotations: DesiredSet
    reason: Reason
    changes: tuple[Change, ...] = ()
    overwrites: bool = False


@dataclass(frozen=True, slots=True)
class RemoveAnnotations:
    """Clear the image's set: the operation left the manifest, its source has no shapes for the image any more, or
    another client drew shapes where the manifest wants none. `annotations`: the set that goes."""

    collection: CollectionKey
    name: str
    unique_name: str
    annotations: RecordedSet
    reason: Reason = Reason.REMOVED_FROM_MANIFEST
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class AttachModelRun:
    """Attach the machine annotations of an operation to a project of the annotation studio. `collection`: the one whose
    block names the project."""

    collection: CollectionKey
    operation: str
    project: str
    reason: Reason = Reason.NEW


@dataclass(frozen=True, slots=True)
class TrashFile:
    """Put a file that we uploaded into the lake's trash."""

    collection: CollectionKey
    recorded: RecordedFile
    reason: Reason


@dataclass(frozen=True, slots=True)
class TrashMatched:
    """Put a file into the lake's trash because a trash rule means it, whoever uploaded it."""

    collection: CollectionKey
    file: RemoteFile
    reason: Reason = Reason.REQUESTED


@dataclass(frozen=True, slots=True)
class TrashCollection:
    """Put a collection with all its items into the lake's trash because a trash rule says so."""

    collection: CollectionKey
    lake_id: str
    items: int
    """How many items the collection had when the plan was made."""
    reason: Reason = Reason.REQUESTED


@dataclass(frozen=True, slots=True)
class DownloadFile:
    """Fetch the lake's file. `path`: where it goes, from the manifest's folder."""

    collection: CollectionKey
    file: RemoteFile
    path: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class DownloadAnnotations:
    """Write the annotations of a download anew. `images`: how many entries they have."""

    collection: CollectionKey
    path: str
    images: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Rerecord:
    """Only our records move: nothing is sent. `sources`: another path, or a touched file with the same bytes.
    `metadata`: a field left that can't be removed in the lake. `sets`: annotation sets that the lake was found to have
    as the manifest wants them."""

    collection: CollectionKey
    file: DesiredFile
    local: bool
    metadata: bool
    sets: tuple[DesiredSet, ...] = ()


@dataclass(frozen=True, slots=True)
class RerecordHead:
    """A field left the head's metadata: only our records move. Nothing is sent."""

    collection: CollectionKey
    head: MetadataSet


@dataclass(frozen=True, slots=True)
class Forget:
    """A file that is neither wanted nor in the lake leaves the records. Nothing is sent."""

    collection: CollectionKey
    recorded: RecordedFile


Action: TypeAlias = (
    CreateCollection
    | UpdateHead
    | UploadFile
    | ReplaceFile
    | AdoptFile
    | UpdateFileMetadata
    | Annotate
    | RemoveAnnotations
    | TrashFile
    | TrashMatched
    | TrashCollection
    | DownloadFile
    | DownloadAnnotations
    | AttachModelRun
    | AnnotateEntry
    | ClearEntry
    | DescribeEntry
)
"""What a user sees in a plan."""

Bookkeeping: TypeAlias = Rerecord | RerecordHead | Forget
"""What only the records see."""
