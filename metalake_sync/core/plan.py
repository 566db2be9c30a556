"""A plan: the actions of every collection by stage, in the order of apply, and the notes that stop or explain it.

Owns: grouping, order, counts, and the filters that return a part of a plan. Must not: compare snapshots (`diff`) or
carry out actions (`apply`). A filter returns a new plan and leaves the given one as it is.

Longer than 300 lines, because every filter has to treat every stage of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import field, replace
from typing import assert_never

from metalake_sync.core.actions import (
    Action,
    AdoptFile,
    Annotate,
    AttachModelRun,
    Bookkeeping,
    CreateCollection,
    Forget,
    RemoveAnnotations,
    ReplaceFile,
    Rerecord,
    RerecordHead,
    SetAction,
    TrashCollection,
    TrashFile,
    TrashMatched,
    UpdateFileMetadata,
    UpdateHead,
    UploadFile,
)
from metalake_sync.core.addresses import Address, FileAt
from metalake_sync.core.base_action import Stage
from metalake_sync.core.checks import Finding, failed
from metalake_sync.core.diff import FileDecision
from metalake_sync.core.downloads import DownloadPlan
from metalake_sync.core.metadata import NO_METADATA, MetadataSet
from metalake_sync.core.notes import BLOCKING, Note, NoteCode
from metalake_sync.core.selection import ItemSelection
from metalake_sync.core.set_changes import ShownSets
from metalake_sync.core.snapshots import CollectionKey, CollectionPolicy, KeptSet, RecordedFile
from metalake_sync.core.summary import Summary
from metalake_sync.core.targets import Chosen
from metalake_sync.lazy_dataclass import dataclass

_STAGES_OF_COLLECTIONS = frozenset({Stage.ADOPT, Stage.UPLOAD, Stage.METADATA, Stage.ANNOTATIONS, Stage.TRASH})


@dataclass(slots=True)
class CollectionPlan:
    """The actions of one collection by stage. The stages are in the order in which apply carries them out."""

    key: CollectionKey
    policy: CollectionPolicy
    storage_prefix: str | None = None
    lake_id: str | None = None
    """The collection's id in the lake; None if the lake does not have it yet."""
    storage_path: str | None = None
    """The collection's storage path in the lake; None if the lake does not have it yet."""
    head: MetadataSet = NO_METADATA
    common_metadata: MetadataSet = NO_METADATA
    """Metadata that every file has. An upload session carries it, so that only other files need an entry."""
    create: CreateCollection | None = None
    update_head: UpdateHead | None = None
    adopts: list[AdoptFile] = field(default_factory=list)
    uploads: list[UploadFile | ReplaceFile] = field(default_factory=list)
    metadata: list[UpdateFileMetadata] = field(default_factory=list)
    annotations: list[SetAction] = field(default_factory=list)
    trash: list[TrashFile] = field(default_factory=list)
    rerecord_head: RerecordHead | None = None
    rerecords: list[Rerecord] = field(default_factory=list)
    forgets: list[Forget] = field(default_factory=list)
    recovered: list[RecordedFile] = field(default_factory=list)
    """Files that an interrupted run uploaded and did not record. The lake has them."""
    held: frozenset[str] = frozenset()
    """Names of files that this plan leaves alone."""
    unchanged: int = 0
    unmanaged: int = 0
    recorded: int = 0
    """The number of records that the state has of the collection."""

    def take(self, decision: FileDecision, *, wanted: bool) -> None:
        """Add a decision to its stages.

        `wanted`: whether the manifest names the file. Such a file counts as unchanged if the decision has no action.
        """
        if wanted and not decision.actions:
            codes = {note.code for note in decision.notes}
            if NoteCode.NOT_ADOPTED in codes:
                self.unmanaged += 1
            elif not codes & BLOCKING:
                self.unchanged += 1
        for action in decision.actions:
            self.take_action(action)
        for record in decision.bookkeeping:
            self._take_bookkeeping(record)

    def take_action(self, action: Action) -> None:
        """Add one action to its stage."""
        if isinstance(action, CreateCollection):
            self.create = action
        elif isinstance(action, UpdateHead):
            self.update_head = action
        elif action.stage in _STAGES_OF_COLLECTIONS:
            getattr(self, action.stage).append(action)
        else:
            raise AssertionError(f"stage {action.stage!r} does not belong to a collection")

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
        """Yield all actions in the order in which apply carries them out. Trash comes last."""
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
        """Whether the state changes even if nothing is sent."""
        return bool(self.rerecords or self.forgets or self.recovered or self.rerecord_head)

    def keep(self, wanted: Callable[[Action], bool]) -> CollectionPlan:
        """Return the plan with the wanted actions.

        A collection is still created if files are uploaded to it. The old name of a renamed file is trashed only
        together with the upload under its new name.
        """
        uploads = list(filter(wanted, self.uploads))
        renamed = _old_names(self.uploads)
        uploaded = _old_names(uploads)
        return replace(
            self,
            create=self.create if self.create is not None and (wanted(self.create) or uploads) else None,
            update_head=self.update_head if self.update_head is not None and wanted(self.update_head) else None,
            adopts=list(filter(wanted, self.adopts)),
            uploads=uploads,
            metadata=list(filter(wanted, self.metadata)),
            annotations=list(filter(wanted, self.annotations)),
            trash=[
                action
                for action in self.trash
                if wanted(action) and (action.recorded.name not in renamed or action.recorded.name in uploaded)
            ],
        )

    def keep_chosen(self, chosen: Chosen) -> CollectionPlan:
        """Return the plan with the actions and the changes of records that a run covers."""

        def takes(name: str | None) -> bool:
            return chosen.takes(self.key.name, name)

        return replace(
            self.keep(lambda action: takes(action.file_name)),
            rerecords=[record for record in self.rerecords if takes(record.file.name)],
            forgets=[record for record in self.forgets if takes(record.recorded.name)],
            rerecord_head=self.rerecord_head if takes(None) else None,
        )


def _old_names(uploads: Sequence[UploadFile | ReplaceFile]) -> set[str | None]:
    return {action.renamed_from for action in uploads if isinstance(action, UploadFile)}


@dataclass(slots=True)
class AddressedPlan:
    """The actions on unmanaged files of one address: the sets of one operation, or metadata."""

    address: Address
    operation: str | None = None
    """The operation of the annotations; None for metadata."""
    actions: list[SetAction | UpdateFileMetadata] = field(default_factory=list)
    settled: list[tuple[FileAt, MetadataSet]] = field(default_factory=list)
    """Files whose record of metadata changes although nothing is sent."""
    kept: list[tuple[FileAt, KeptSet]] = field(default_factory=list)
    """Sets of other clients that stay in the lake."""
    forgotten: list[str] = field(default_factory=list)
    """Entries whose records are removed."""
    unchanged: int = 0

    @property
    def only_records(self) -> bool:
        """Whether records change although nothing is sent for them."""
        return bool(self.settled or self.kept or self.forgotten)


@dataclass(frozen=True, slots=True)
class TrashRulePlan:
    """The actions of one trash rule: the items that matched when the plan was made, or one whole collection."""

    selection: ItemSelection
    items: tuple[TrashMatched | TrashCollection, ...]
    missing: bool = False
    """Whether the lake does not have the rule's collection."""

    @property
    def trashed(self) -> int:
        """The number of items that are trashed."""
        return sum(action.items_counted for action in self.items)


@dataclass(frozen=True, slots=True)
class Plan:
    """The list of actions that makes the lake match the manifest.

    Apply carries the parts out in this order: collections, files that the manifest does not upload, downloads, trash
    rules, attachments. One thing comes before all of them: annotation sets of unmanaged files are cleared first,
    because another block may name the same image.
    """

    manifest: str
    state_serial: int
    """The version of the state from which the plan was made."""
    collections: tuple[CollectionPlan, ...]
    notes: tuple[Note, ...] = ()
    downloads: tuple[DownloadPlan, ...] = ()
    trash_rules: tuple[TrashRulePlan, ...] = ()
    addressed: tuple[AddressedPlan, ...] = ()
    """Actions on files that the manifest does not upload."""
    attachments: tuple[AttachModelRun, ...] = ()
    """Last, because the annotation studio is another service: its errors do not stop other actions."""
    state_lineage: str | None = None
    """The state from which the plan was made. None: it had no run yet."""
    findings: tuple[Finding, ...] = ()
    """What the checks found in the sources. The notes group them."""
    shown_sets: ShownSets | None = field(default=None, compare=False, repr=False)
    """The sets that the plan changes, beside their bases, for showing them. They can be read until the planned run is
    closed."""

    def actions(self) -> Iterator[Action]:
        """Yield all actions, part by part."""
        for collection in self.collections:
            yield from collection.actions()
        for part in self.addressed:
            yield from part.actions
        for download in self.downloads:
            yield from download.files
            yield from download.annotations
            yield from download.removals
        for rule in self.trash_rules:
            yield from rule.items
        yield from self.attachments

    def summary(self) -> Summary:
        """Count the actions and the files that stay as they are."""
        summary = Summary.empty()
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
        """Whether the plan has no action."""
        return next(self.actions(), None) is None

    @property
    def bookkeeping(self) -> bool:
        """Whether the state changes even if nothing is sent."""
        return (
            any(collection.bookkeeping for collection in self.collections)
            or any(part.only_records for part in self.addressed)
            or any(download.only_records for download in self.downloads)
        )

    @property
    def destructive(self) -> bool:
        """Whether an action needs approval: it trashes, replaces, removes, or overwrites another client's work."""
        return any(action.needs_approval for action in self.actions())

    @property
    def blocking_notes(self) -> tuple[Note, ...]:
        """The notes that stop apply before its first action."""
        return tuple(note for note in self.notes if note.code in BLOCKING)

    def without_notes(self, codes: Collection[str]) -> Plan:
        """Return the plan without the notes of these codes."""
        return replace(self, notes=tuple(note for note in self.notes if note.code not in codes)) if codes else self

    def keep(self, wanted: Callable[[Action], bool]) -> Plan:
        """Return the plan with the wanted actions on files and collections. Other parts stay as they are."""
        return replace(
            self,
            collections=tuple(collection.keep(wanted) for collection in self.collections),
            addressed=tuple(replace(part, actions=list(filter(wanted, part.actions))) for part in self.addressed),
        )

    def without_failed_checks(self) -> Plan:
        """Return the plan without the files, and the annotation sets, that failed a check.

        A note for each finding replaces the notes that group them.
        """
        wrong = failed(self.findings)
        files = {(one.collection, one.subject) for one in wrong if one.operation is None}
        operations = {(one.collection, one.operation) for one in wrong if one.operation is not None}
        if not wrong:
            return self

        def passed(action: Action) -> bool:
            operation = action.annotations.operation if isinstance(action, Annotate | RemoveAnnotations) else None
            return (action.collection, operation) not in operations and (
                action.file_name is None or (action.collection, action.file_name) not in files
            )

        kept = self.keep(passed)
        collections = tuple(
            replace(part, rerecords=[one for one in part.rerecords if (part.key, one.file.name) not in files])
            for part in kept.collections
        )
        rest = [note for note in self.notes if note.code is not NoteCode.CHECK_FAILED]
        return replace(kept, collections=collections, notes=(*rest, *(one.note() for one in wrong)))

    def without_destructive(self) -> tuple[Plan, Sequence[Action]]:
        """Return the plan without the actions that need approval, and those actions.

        All actions on a file that is to be replaced wait with the replacement: its new annotation sets do not fit its
        old bytes.
        """
        held = [action for action in self.actions() if action.needs_approval]
        replaced = {(action.collection, action.file.name) for action in held if isinstance(action, ReplaceFile)}

        def continues(action: Action) -> bool:
            if action.needs_approval:
                return False
            of_collection = action.stage in (Stage.CREATE, Stage.UPDATE_HEAD)
            return of_collection or (action.collection, action.file_name) not in replaced

        kept = self.keep(continues)
        collections = tuple(
            replace(
                part, rerecords=[record for record in part.rerecords if (part.key, record.file.name) not in replaced]
            )
            for part in kept.collections
        )
        downloads = tuple(replace(download, removals=[]) for download in kept.downloads)
        return replace(kept, collections=collections, downloads=downloads, trash_rules=()), held
