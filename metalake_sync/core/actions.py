"""The actions of a plan: one class for each, with everything that a plan, a terminal, JSON, the history or an approval
needs to know about it.

Owns: the closed union of actions. Must not: decide which action is due (`diff`), order actions (`plan`) or carry them
out (`apply`). Longer than 300 lines, because it is a table: each class is one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from metalake_sync.core.addresses import FileAt
from metalake_sync.core.base_action import CONTENT, VERSION, ActionDocument, ActionKey, BaseAction, Facts, Stage
from metalake_sync.core.changes import Change
from metalake_sync.core.changes import Reason as Reason
from metalake_sync.core.metadata import MetadataSet, MetadataValues, metadata_set
from metalake_sync.core.selection import WHOLE_LAKE
from metalake_sync.core.shapes import EMPTY_SET_DIGEST, digest_of_shapes, encode_record
from metalake_sync.core.snapshots import (
    CollectionKey,
    DesiredFile,
    DesiredSet,
    Fingerprint,
    KeptSet,
    RecordedFile,
    RecordedSet,
    RemoteFile,
    SetMerge,
)
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.core.shapes import ImageRecord


@dataclass(frozen=True, slots=True)
class CreateCollection(BaseAction):
    """Create a collection that the lake does not have, and write the metadata of its head."""

    action_name = "create_collection"
    sign = "+"
    stage = Stage.CREATE

    collection: CollectionKey
    head: MetadataSet
    reason: Reason = Reason.NEW

    def facts(self) -> Facts:
        return {"metadata": self.head.digest}

    def history(self) -> tuple[str | None, str | None]:
        return None, self.head.digest

    def document(self) -> ActionDocument:
        return self._document()

    @property
    def metadata_written(self) -> MetadataSet:
        return self.head


@dataclass(frozen=True, slots=True)
class UpdateHead(BaseAction):
    """Write what changed in the metadata of the collection itself."""

    action_name = "update_metadata"
    sign = "~"
    stage = Stage.UPDATE_HEAD

    collection: CollectionKey
    head: MetadataSet
    before: str | None
    """The digest of the metadata that was written last, if any."""
    reason: Reason = Reason.METADATA_CHANGED
    lake: MetadataValues | None = None
    """The metadata in the lake, if the plan read it, or apply did before it wrote Tags."""
    changes: tuple[Change, ...] = ()
    overwrites: bool = False
    """Whether the action overwrites a value that another client wrote."""
    record: MetadataSet | None = None
    """The metadata to record as ours. None: `head`. It differs where a revert writes values of another client."""
    tags: tuple[str, ...] | None = None
    """The Tags that are sent, with those of other clients, as apply found them. None: no Tags are sent."""

    @property
    def needs_approval(self) -> bool:
        return self.overwrites

    def facts(self) -> Facts:
        return _facts_of_metadata(self.before, self.head, self.lake if self.overwrites else None)

    def history(self) -> tuple[str | None, str | None]:
        return self.before, self.head.digest

    def document(self) -> ActionDocument:
        return self._document(changes=self.changes or None, overwrites=self.overwrites or None)

    @property
    def metadata_written(self) -> MetadataSet:
        return self.head

    @property
    def metadata_recorded(self) -> MetadataSet:
        """The metadata to record as ours."""
        return self.head if self.record is None else self.record


@dataclass(frozen=True, slots=True)
class UploadFile(BaseAction):
    """Upload a file with its metadata."""

    action_name = "upload"
    sign = "+"
    stage = Stage.UPLOAD

    collection: CollectionKey
    file: DesiredFile
    reason: Reason
    renamed_from: str | None = None
    """A name under which the lake has the same bytes. The protocol has no rename, so they are sent again."""
    changes: tuple[Change, ...] = ()
    asks: bool = False
    """Whether the upload needs approval, because it restores a file that another client trashed (`on_trashed: ask`)."""
    sent_before: int = 0
    """How many bytes of the file an interrupted run sent, in a session that this run finishes."""

    @property
    def needs_approval(self) -> bool:
        return self.asks

    @property
    def file_name(self) -> str:
        return self.file.name

    @property
    def local_file(self) -> DesiredFile:
        return self.file

    def facts(self) -> Facts:
        return _facts_of_sent_file(self.file)

    def history(self) -> tuple[str | None, str | None]:
        return None, self.file.content_hash

    def document(self) -> ActionDocument:
        return self._document(
            path=self.file.path,
            bytes=self.bytes_to_send,
            changes=self.changes or None,
            renamed_from=self.renamed_from,
            sent_before=self.sent_before or None,
        )

    @property
    def bytes_to_send(self) -> int:
        return self.file.fingerprint.size_bytes - self.sent_before

    @property
    def metadata_written(self) -> MetadataSet:
        return self.file.metadata


@dataclass(frozen=True, slots=True)
class ReplaceFile(BaseAction):
    """Trash the lake's file, then upload the local one under the same name."""

    action_name = "replace"
    sign = "-/+"
    stage = Stage.UPLOAD
    destroys = True

    collection: CollectionKey
    file: DesiredFile
    replaced: RemoteFile
    reason: Reason
    changes: tuple[Change, ...] = ()

    @property
    def file_name(self) -> str:
        return self.file.name

    @property
    def local_file(self) -> DesiredFile:
        return self.file

    def facts(self) -> Facts:
        return {**_facts_of_sent_file(self.file), "lake id": self.replaced.lake_id}

    def history(self) -> tuple[str | None, str | None]:
        return self.replaced.lake_id, self.file.content_hash

    def document(self) -> ActionDocument:
        return self._document(
            path=self.file.path,
            bytes=self.bytes_to_send,
            changes=self.changes or None,
            lake_id=self.replaced.lake_id,
        )

    @property
    def bytes_to_send(self) -> int:
        return self.file.fingerprint.size_bytes

    @property
    def metadata_written(self) -> MetadataSet:
        return self.file.metadata


@dataclass(frozen=True, slots=True)
class AdoptFile(BaseAction):
    """Record a file that is in the lake already. Nothing is sent."""

    action_name = "adopt"
    sign = "="
    stage = Stage.ADOPT

    collection: CollectionKey
    file: DesiredFile
    remote: RemoteFile
    reason: Reason = Reason.ALREADY_IN_LAKE
    sets: tuple[DesiredSet, ...] = ()
    """Annotation sets that are in the lake as the manifest wants them."""
    kept: tuple[KeptSet, ...] = ()
    """Sets of other clients that stay in the lake."""

    @property
    def file_name(self) -> str:
        return self.file.name

    @property
    def local_file(self) -> DesiredFile:
        return self.file

    def facts(self) -> Facts:
        size = self.file.fingerprint.size_bytes
        return {"size": size, "metadata": self.file.metadata.digest, "lake id": self.remote.lake_id}

    def history(self) -> tuple[str | None, str | None]:
        return None, self.remote.lake_id

    def document(self) -> ActionDocument:
        return self._document(path=self.file.path, lake_id=self.remote.lake_id)


class _OnFileInLake:
    """The declarations of actions on a file that is in the lake, managed or not."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def at(self) -> FileAt: ...

    @property
    def collection(self) -> CollectionKey:
        return self.at.collection

    @property
    def file_name(self) -> str:
        return self.at.name


@dataclass(frozen=True, slots=True)
class UpdateFileMetadata(_OnFileInLake, BaseAction):
    """Write what changed in the metadata of a file."""

    action_name = "update_metadata"
    sign = "~"
    stage = Stage.METADATA

    at: FileAt
    metadata: MetadataSet
    before: str | None
    """The digest of the metadata that was written last, if any."""
    reason: Reason = Reason.METADATA_CHANGED
    lake: MetadataValues | None = None
    """The metadata in the lake, if the plan read it, or apply did before it wrote Tags."""
    changes: tuple[Change, ...] = ()
    overwrites: bool = False
    """Whether the action overwrites a value that another client wrote."""
    local: DesiredFile | None = None
    """The local file. None for an unmanaged file."""
    record: MetadataSet | None = None
    """The metadata to record as ours. None: `metadata`. It differs where a revert writes values of another client."""
    tags: tuple[str, ...] | None = None
    """The Tags that are sent, with those of other clients, as apply found them. None: no Tags are sent."""

    @property
    def needs_approval(self) -> bool:
        return self.overwrites

    @property
    def key(self) -> ActionKey:
        return self._key(place=self.at.address)

    def facts(self) -> Facts:
        return _facts_of_metadata(self.before, self.metadata, self.lake if self.overwrites else None)

    def history(self) -> tuple[str | None, str | None]:
        return self.before, self.metadata.digest

    def document(self) -> ActionDocument:
        return self._document(
            path=self.local.path if self.local is not None else None,
            changes=self.changes or None,
            address=self.at.address,
            overwrites=self.overwrites or None,
        )

    @property
    def local_file(self) -> DesiredFile | None:
        return self.local

    @property
    def metadata_written(self) -> MetadataSet:
        return self.metadata

    @property
    def metadata_recorded(self) -> MetadataSet:
        """The metadata to record as ours."""
        return self.metadata if self.record is None else self.record


@dataclass(frozen=True, slots=True)
class Annotate(_OnFileInLake, BaseAction):
    """Write an image's annotation set of one operation. The set has shapes."""

    action_name = "annotate"
    sign = "~"
    stage = Stage.ANNOTATIONS

    at: FileAt
    annotations: DesiredSet
    reason: Reason
    changes: tuple[Change, ...] = ()
    overwrites: bool = False
    """Whether the action overwrites shapes that another client drew."""
    theirs: ImageRecord | None = None
    """The set that another client drew, which is overwritten or merged, as far as the plan read it."""
    merge: SetMerge | None = None
    """The set that is sent: the source's set combined with another client's. None: the source's set alone."""
    was_absent: bool = False
    """Whether the plan read the lake's sets, and found none of this image."""
    compared: bool = False
    """Whether the plan compared the recorded set with the lake's."""

    @property
    def needs_approval(self) -> bool:
        return self.overwrites

    @property
    def to_record(self) -> DesiredSet | None:
        """The set to record as ours. None: a revert sends a set of another client, over which we had sent none."""
        restored = self.merge is not None and self.merge.restored
        return None if restored and self.annotations.digest == EMPTY_SET_DIGEST else self.annotations

    @property
    def key(self) -> ActionKey:
        return self._key(self.annotations.operation, place=self.at.address)

    def facts(self) -> Facts:
        sent: dict[str, Any] = {"shapes": self.annotations.shape_count, "annotations": self.annotations.digest}
        if self.merge is not None:
            sent["merged"] = self.merge.digest
        return sent if self.theirs is None else {**sent, **_facts_of_theirs(self.theirs)}

    def history(self) -> tuple[str | None, str | None]:
        return None, self.annotations.digest

    def document(self) -> ActionDocument:
        return self._document(
            operation=self.annotations.operation,
            shapes=len(self.merge.shapes.shapes)
            if self.merge is not None and self.merge.restored
            else self.annotations.shape_count,
            changes=self.changes or None,
            address=self.at.address,
            overwrites=self.overwrites or None,
            merges=(self.merge is not None and not self.merge.restored) or None,
        )


@dataclass(frozen=True, slots=True)
class RemoveAnnotations(_OnFileInLake, BaseAction):
    """Clear an image's annotation set: its operation or its source has no shapes for the image any more, or another
    client drew shapes where the manifest wants none."""

    action_name = "remove_annotations"
    sign = "-"
    stage = Stage.ANNOTATIONS
    destroys = True

    at: FileAt
    annotations: RecordedSet
    """The set that is cleared."""
    reason: Reason = Reason.REMOVED_FROM_MANIFEST
    changes: tuple[Change, ...] = ()
    theirs: ImageRecord | None = None
    """The set that another client drew, which is cleared, as far as the plan read it."""
    overwrites: bool = False
    """Whether the cleared set has changes of another client."""
    compared: bool = False
    """Whether the plan compared the recorded set with the lake's."""

    @property
    def key(self) -> ActionKey:
        return self._key(self.annotations.operation, place=self.at.address)

    def facts(self) -> Facts:
        facts: dict[str, Any] = {"shapes": self.annotations.shape_count, "annotations": self.annotations.digest}
        return facts if self.theirs is None else {**facts, **_facts_of_theirs(self.theirs)}

    def history(self) -> tuple[str | None, str | None]:
        return self.annotations.digest, None

    def document(self) -> ActionDocument:
        return self._document(
            operation=self.annotations.operation,
            shapes=self.annotations.shape_count,
            changes=self.changes or None,
            address=self.at.address,
            overwrites=self.overwrites or None,
        )


SetAction: TypeAlias = Annotate | RemoveAnnotations
"""An action that sends one annotation set."""


@dataclass(frozen=True, slots=True)
class AttachModelRun(BaseAction):
    """Attach the machine annotations of an operation to a project of the annotation studio."""

    action_name = "attach_model_run"
    sign = "+"
    stage = Stage.ATTACHMENTS

    collection: CollectionKey
    """The collection whose manifest block names the project."""
    operation: str
    project: str
    reason: Reason = Reason.NEW

    @property
    def key(self) -> ActionKey:
        return self._key(f"{self.operation} to {self.project}")

    def facts(self) -> Facts:
        return {"project": self.project}

    def history(self) -> tuple[str | None, str | None]:
        return None, self.project

    def document(self) -> ActionDocument:
        return self._document(operation=self.operation, project=self.project)


@dataclass(frozen=True, slots=True)
class TrashFile(BaseAction):
    """Move a file that we uploaded to the lake's trash."""

    action_name = "trash"
    sign = "-"
    stage = Stage.TRASH
    destroys = True

    collection: CollectionKey
    recorded: RecordedFile
    reason: Reason

    @property
    def file_name(self) -> str:
        return self.recorded.name

    def facts(self) -> Facts:
        return {"lake id": self.recorded.lake_id}

    def history(self) -> tuple[str | None, str | None]:
        return self.recorded.lake_id, None

    def document(self) -> ActionDocument:
        return self._document(lake_id=self.recorded.lake_id)


@dataclass(frozen=True, slots=True)
class TrashMatched(BaseAction):
    """Move a file that matches a trash rule to the lake's trash, whichever client uploaded it."""

    action_name = "trash"
    sign = "-"
    stage = Stage.TRASH_RULES
    destroys = True

    collection: CollectionKey
    file: RemoteFile
    reason: Reason = Reason.REQUESTED

    @property
    def file_name(self) -> str:
        return _name_in(self.collection, self.file)

    def facts(self) -> Facts:
        return {"lake id": self.file.lake_id}

    def history(self) -> tuple[str | None, str | None]:
        return self.file.lake_id, None

    def document(self) -> ActionDocument:
        return self._document(lake_id=self.file.lake_id)


@dataclass(frozen=True, slots=True)
class TrashCollection(BaseAction):
    """Move a collection that a trash rule names to the lake's trash, with all its items."""

    action_name = "trash"
    sign = "-"
    stage = Stage.TRASH_RULES
    destroys = True

    collection: CollectionKey
    lake_id: str
    items: int
    """The number of items that the collection had when the plan was made."""
    reason: Reason = Reason.REQUESTED

    def facts(self) -> Facts:
        return {"lake id": self.lake_id, "items": self.items}

    def history(self) -> tuple[str | None, str | None]:
        return self.lake_id, None

    def document(self) -> ActionDocument:
        return self._document(lake_id=self.lake_id, items=self.items)

    @property
    def items_counted(self) -> int:
        """The number of items that are trashed; an empty collection counts as one."""
        return max(self.items, 1)


@dataclass(frozen=True, slots=True)
class DownloadFile(BaseAction):
    """Download a file of the lake."""

    action_name = "download"
    sign = "<="
    stage = Stage.DOWNLOADS

    collection: CollectionKey
    file: RemoteFile
    path: str
    """The local path to write, relative to the manifest's folder."""
    reason: Reason

    @property
    def file_name(self) -> str:
        return _name_in(self.collection, self.file)

    @property
    def key(self) -> ActionKey:
        return self._key(self.path)  # The same file may go into several folders.

    def facts(self) -> Facts:
        return {"lake id": self.file.lake_id}

    def history(self) -> tuple[str | None, str | None]:
        return None, self.file.lake_id

    def document(self) -> ActionDocument:
        return self._document(path=self.path, lake_id=self.file.lake_id)


@dataclass(frozen=True, slots=True)
class DownloadAnnotations(BaseAction):
    """Write a file of annotations or metadata of a download."""

    action_name = "download"
    sign = "<="
    stage = Stage.DOWNLOADS

    collection: CollectionKey
    path: str
    """The local path to write, relative to the manifest's folder."""
    images: int
    """The number of images or other files that it is about."""
    reason: Reason

    @property
    def key(self) -> ActionKey:
        return self._key(self.path)

    def facts(self) -> Facts:
        return {"images": self.images}

    def history(self) -> tuple[str | None, str | None]:
        return None, None

    def document(self) -> ActionDocument:
        return self._document(path=self.path)


@dataclass(frozen=True, slots=True)
class RemoveDownloaded(BaseAction):
    """Remove a local file that a download wrote and no longer selects."""

    action_name = "remove_downloaded"
    sign = "-"
    stage = Stage.DOWNLOADS
    destroys = True

    collection: CollectionKey
    path: str
    """The local path, relative to the manifest's folder."""
    fingerprint: Fingerprint
    """Of the file that the download wrote. A file that changed since is kept."""
    reason: Reason = Reason.FILTERED_OUT

    @property
    def key(self) -> ActionKey:
        return self._key(self.path)

    def facts(self) -> Facts:
        return {"size": self.fingerprint.size_bytes, "modified": self.fingerprint.mtime_ns}

    def history(self) -> tuple[str | None, str | None]:
        return self.path, None

    def document(self) -> ActionDocument:
        return self._document(path=self.path)


def _name_in(collection: CollectionKey, file: RemoteFile) -> str:
    """The name of a file in a collection. In the whole lake, only the unique name identifies a file."""
    return file.unique_name if collection.name == WHOLE_LAKE else file.name


def _facts_of_metadata(before: str | None, metadata: MetadataSet, overwritten: MetadataValues | None) -> Facts:
    facts: dict[str, Any] = {"metadata before": before, "metadata": metadata.digest}
    return facts if overwritten is None else {**facts, "another client's metadata": metadata_set(overwritten).digest}


def _facts_of_theirs(shapes: ImageRecord) -> Facts:
    return {"another client's set": digest_of_shapes(encode_record(shapes))}


def _facts_of_sent_file(file: DesiredFile) -> dict[str, Any]:
    found = file.fingerprint
    return {
        "size": found.size_bytes,
        "metadata": file.metadata.digest,
        CONTENT: file.content_hash,
        VERSION: [found.mtime_ns, found.inode, found.ctime_ns],
    }


@dataclass(frozen=True, slots=True)
class Rerecord:
    """Update the record of a file. Nothing is sent."""

    collection: CollectionKey
    file: DesiredFile
    local: bool
    """Whether the path or the fingerprint changed while the bytes are the same."""
    metadata: bool
    """Whether the manifest dropped a metadata field, which cannot be removed in the lake."""
    sets: tuple[DesiredSet, ...] = ()
    """Annotation sets that are in the lake as the manifest wants them."""
    kept: tuple[KeptSet, ...] = ()
    """Sets of other clients that stay in the lake."""


@dataclass(frozen=True, slots=True)
class RerecordHead:
    """Update the record of a head, because the manifest dropped a metadata field. Nothing is sent."""

    collection: CollectionKey
    head: MetadataSet


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove the record of a file that the manifest does not name and the lake does not have. Nothing is sent."""

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
    | RemoveDownloaded
    | AttachModelRun
)
"""The actions that a plan shows to its users."""

Bookkeeping: TypeAlias = Rerecord | RerecordHead | Forget
"""Changes of the state that send nothing to the lake."""
