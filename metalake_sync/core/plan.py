"""A plan: the actions of every collection in the order they are done, what they add up to, and what stops them.

Owns: grouping, order, counts, approval. Must not: compare (`diff`) or do anything (`apply`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import assert_never

from metalake_sync.core.actions import (
    Action,
    AdoptFile,
    Annotate,
    AttachModelRun,
    Bookkeeping,
    CreateCollection,
    DownloadAnnotations,
    DownloadFile,
    Forget,
    RemoveAnnotations,
    ReplaceFile,
    Rerecord,
    RerecordHead,
    TrashCollection,
    TrashFile,
    TrashMatched,
    UpdateFileMetadata,
    UpdateHead,
    UploadFile,
)
from metalake_sync.core.approval import needs_approval
from metalake_sync.core.diff import Verdict
from metalake_sync.core.downloads import DownloadPlan
from metalake_sync.core.metadata import NO_METADATA, MetadataSet
from metalake_sync.core.notes import REFUSALS, Note, NoteCode
from metalake_sync.core.selection import ItemSelection
from metalake_sync.core.snapshots import CollectionKey, CollectionPolicy, RecordedFile
from metalake_sync.core.unmanaged_files import AddressedPlan, AnnotateEntry, ClearEntry, DescribeEntry
from metalake_sync.lazy_dataclass import dataclass


@dataclass(slots=True)
class Summary:
    """What a plan or a run adds up to. `annotate` and `remove_annotations` count image and operation pairs;
    `update_metadata` counts files that were in the lake before plus collection heads."""

    create_collection: int = 0
    upload: int = 0
    replace: int = 0
    adopt: int = 0
    trash: int = 0
    update_metadata: int = 0
    annotate: int = 0
    remove_annotations: int = 0
    download: int = 0
    unchanged: int = 0
    unmanaged: int = 0
    bytes_to_send: int = 0
    attach_model_run: int = 0

    def count(self, action: Action) -> None:
        match action:
            case CreateCollection():
                self.create_collection += 1
            case UploadFile():
                self.upload += 1
                self.bytes_to_send += action.file.fingerprint.size_bytes
            case ReplaceFile():
                self.replace += 1
                self.bytes_to_send += action.file.fingerprint.size_bytes
            case AdoptFile():
                self.adopt += 1
            case UpdateHead() | UpdateFileMetadata() | DescribeEntry():
                self.update_metadata += 1
            case Annotate() | AnnotateEntry():
                self.annotate += 1
            case RemoveAnnotations() | ClearEntry():
                self.remove_annotations += 1
            case TrashFile() | TrashMatched():
                self.trash += 1
            case TrashCollection():
                self.trash += trashed_by(action)
            case DownloadFile() | DownloadAnnotations():
                self.download += 1
            case AttachModelRun():
                self.attach_model_run += 1
            case _:
                assert_never(action)

    @property
    def changes(self) -> int:
        """How many actions the summary stands for."""
        return (
            self.create_collection
            + self.upload
            + self.replace
            + self.adopt
            + self.trash
            + self.update_metadata
            + self.annotate
            + self.remove_annotations
            + self.download
            + self.attach_model_run
        )


@dataclass(slots=True)
class CollectionPlan:
    """The work of one collection, grouped by stage; the stages stand in the order in which they are done.

    `lake_id` and `storage_path` are None while the lake has no such collection. `common_metadata` is what every file of
    the collection has at least: an upload session carries it, so that only files with more need a line of their own.
    `recorded`: how many files the records have of it. `recovered`: files that an interrupted run sent and could not
    record; the lake has them. `held`: names of files that are left alone for now.
    """

    key: CollectionKey
    policy: CollectionPolicy
    storage_prefix: str | None = None
    lake_id: str | None = None
    storage_path: str | None = None
    head: MetadataSet = NO_METADATA
    common_metadata: MetadataSet = NO_METADATA
    create: CreateCollection | None = None
    update_head: UpdateHead | None = None
    adopts: list[AdoptFile] = field(default_factory=list)
    uploads: list[UploadFile | ReplaceFile] = field(default_factory=list)
    metadata: list[UpdateFileMetadata] = field(default_factory=list)
    annotations: list[Annotate | RemoveAnnotations] = field(default_factory=list)
    trash: list[TrashFile] = field(default_factory=list)
    rerecord_head: RerecordHead | None = None
    rerecords: list[Rerecord] = field(default_factory=list)
    forgets: list[Forget] = field(default_factory=list)
    recovered: list[RecordedFile] = field(default_factory=list)
    held: frozenset[str] = frozenset()
    unchanged: int = 0
    unmanaged: int = 0
    recorded: int = 0

    def take(self, verdict: Verdict, *, wanted: bool) -> None:
        """File a verdict under its stages. `wanted`: the manifest names the file, so that it counts as unchanged where
        nothing is to be done."""
        if wanted and not verdict.actions:
            codes = {note.code for note in verdict.notes}
            if NoteCode.NOT_ADOPTED in codes:
                self.unmanaged += 1
            elif not codes & REFUSALS:
                self.unchanged += 1
        for action in verdict.actions:
            self.take_action(action)
        for record in verdict.bookkeeping:
            self._take_bookkeeping(record)

    def take_action(self, action: Action) -> None:
        """File one action under its stage."""
        match action:
            case CreateCollection():
                self.create = action
            case UpdateHead():
                self.update_head = action
            case AdoptFile():
                self.adopts.append(action)
            case UploadFile() | ReplaceFile():
                self.uploads.append(action)
            case UpdateFileMetadata():
                self.metadata.append(action)
            case Annotate() | RemoveAnnotations():
                self.annotations.append(action)
            case TrashFile():
                self.trash.append(action)
            case TrashMatched() | TrashCollection() | DownloadFile() | DownloadAnnotations() | AttachModelRun():
                raise AssertionError("no verdict on a file holds what is asked for beside the collections")
            case AnnotateEntry() | ClearEntry() | DescribeEntry():
                raise AssertionError("no verdict on a file holds what is sent to files of others")
            case _:
                assert_never(action)

    def _take_bookkeeping(self, record: Bookkeeping) -> None:
        match record:
            case Rerecord():
                self.rerecords.append(record)
            case RerecordHead():
                self.rerecord_head = record
            case Forget():
                self.forgets.append(record)
            case _:
                assert_never(record)

    def actions(self) -> Iterator[Action]:
        """All actions in the order in which they are done: what is taken away comes last."""
        if self.create:
            yield self.create
        if self.update_head:
            yield self.update_head
        yield from self.adopts
        yield from self.uploads
        yield from self.metadata
        yield from self.annotations
        yield from self.trash

    @property
    def bookkeeping(self) -> bool:
        """True when the records move even where nothing is sent."""
        return bool(self.rerecords or self.forgets or self.recovered or self.rerecord_head)


@dataclass(frozen=True, slots=True)
class TrashRulePlan:
    """The work of one trash rule: the items that matched when the plan was made, and no others; or one whole
    collection."""

    selection: ItemSelection
    items: tuple[TrashMatched | TrashCollection, ...]

    @property
    def trashed(self) -> int:
        """How many items go."""
        return sum(map(trashed_by, self.items))


def trashed_by(action: TrashMatched | TrashCollection) -> int:
    """How many items an action trashes; a collection without any counts as one."""
    return max(action.items, 1) if isinstance(action, TrashCollection) else 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that an apply would do. `state_serial` names the state that it was made from. `addressed`: what is
    sent to files that the manifest does not upload, after the collections; what is cleared there comes first of all,
    because the same image may be meant by another block. Downloads come after both, trash rules after everything."""

    manifest: str
    state_serial: int
    collections: tuple[CollectionPlan, ...]
    notes: tuple[Note, ...] = ()
    downloads: tuple[DownloadPlan, ...] = ()
    trash_rules: tuple[TrashRulePlan, ...] = ()
    addressed: tuple[AddressedPlan, ...] = ()
    attachments: tuple[AttachModelRun, ...] = ()
    """Done last: the studio is another service, and what it can't do keeps nothing else from being done."""

    def actions(self) -> Iterator[Action]:
        for collection in self.collections:
            yield from collection.actions()
        for part in self.addressed:
            yield from part.actions
        for download in self.downloads:
            yield from download.files
            yield from download.annotations
        for rule in self.trash_rules:
            yield from rule.items
        yield from self.attachments

    def summary(self) -> Summary:
        summary = Summary()
        for collection in self.collections:
            summary.unchanged += collection.unchanged
            summary.unmanaged += collection.unmanaged
        summary.unchanged += sum(download.unchanged for download in self.downloads)
        summary.unchanged += sum(part.unchanged for part in self.addressed)
        for action in self.actions():
            summary.count(action)
        return summary

    @property
    def empty(self) -> bool:
        """True when an apply would send nothing to the lake."""
        return next(self.actions(), None) is None

    @property
    def bookkeeping(self) -> bool:
        """True when the records move even where nothing is sent."""
        return (
            any(collection.bookkeeping for collection in self.collections)
            or any(part.settled or part.forgotten for part in self.addressed)
            or any(download.adopted for download in self.downloads)
        )

    @property
    def destructive(self) -> bool:
        """True when something would be trashed, replaced, removed, or written over another client's work."""
        return any(map(needs_approval, self.actions()))

    @property
    def refusals(self) -> tuple[Note, ...]:
        """Why an apply of this plan would stop before it begins."""
        return tuple(note for note in self.notes if note.code in REFUSALS)
