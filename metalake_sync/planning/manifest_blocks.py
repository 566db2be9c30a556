"""Plans the manifest's `downloads` and `trash` blocks.

Owns: the notes on these blocks. Must not: carry anything out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from metalake_sync.core.actions import TrashMatched
from metalake_sync.core.downloads import DownloadPlan, DownloadSpec
from metalake_sync.core.events import EventSink
from metalake_sync.core.notes import Note, NoteCode, counted, some_of
from metalake_sync.core.plan import CollectionPlan, TrashRulePlan
from metalake_sync.core.shapes import FormatName
from metalake_sync.core.snapshots import CollectionKey, RecordedCollection
from metalake_sync.errors import ManifestError, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.planning.desired import DesiredCollection, key_of
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.downloads.plan import DownloadObserver
    from metalake_sync.remote.client import LakeClient


SpecT = TypeVar("SpecT")

PlanT = TypeVar("PlanT")


@dataclass(frozen=True, slots=True)
class ManifestBlocks:
    """Plans the blocks of one manifest."""

    manifest: LoadedManifest
    state: StateStore
    lake: str
    """The identity of the lake in the state."""
    client: LakeClient | None
    """None does not ask the lake."""
    options: RunOptions
    emit: EventSink
    notes: list[Note]
    """Receives the notes."""
    downloads_only: bool = False
    sent_labels: Callable[[], Iterable[str]] = tuple
    """Returns the labels that this run may create in the lake."""

    def plan(self) -> tuple[tuple[DownloadPlan, ...], tuple[TrashRulePlan, ...]]:
        """Plan every block. A run with targets or a scope plans none, and one with exclusions no trash rule: a rule may
        match what is excluded."""
        model = self.manifest.model
        if self.options.targets or self.options.scope is not None or not (model.downloads or model.trash):
            return (), ()
        if model.downloads:
            from metalake_sync.downloads.classes import classes_in_common

            classes_in_common(self.manifest)  # Raises an error that needs no lake.
        if self.client is None:
            message = "downloads and trash rules are not included; 'plan' with '--refresh list' or 'full' includes them"
            self.notes.append(Note(NoteCode.LAKE_NOT_ASKED, message, self.manifest.source))
            return (), ()
        from metalake_sync.downloads.blocks import trash_selections
        from metalake_sync.downloads.metadata_file import metadata_file_for
        from metalake_sync.downloads.plan import DownloadObserver

        observer = DownloadObserver(
            self.client,
            self.state.downloads,
            self.lake,
            self.manifest.base_dir,
            self.emit,
            self.state.metadata_sets.field_names,
        )
        downloads = self._downloads(observer)
        self._notes_on_classes(downloads)
        self._notes_on_labels(downloads)
        noted: set[str] = set()
        drawn = {download.spec.block for download in downloads if not download.nothing_drawn}
        for download in downloads:
            self._notes_on_splits(download)
            if download.missing and download.spec.split is None:
                self.notes.append(self._note_on_missing(download.spec))
            if download.stale:
                clause = _words_on_stale(download)
                where = download.spec.declared_at
                self.notes.append(Note.naming(NoteCode.STALE_DOWNLOADS, clause, download.stale, where))
            wanted = download.spec.annotations
            if wanted is not None and wanted.operations and download.spec.block not in drawn | noted:
                noted.add(download.spec.block)
                message = f"no image of '{download.spec.key}' has a shape of {', '.join(map(repr, wanted.operations))}"
                self.notes.append(Note(NoteCode.NO_SUCH_ANNOTATIONS, message, download.spec.declared_at))
            if download.fields_unknown and download.spec.block not in noted:
                noted.add(download.spec.block)
                file = metadata_file_for(wanted.format if wanted is not None else None)
                message = (
                    f"{file} has only Tags, because the lake does not list the fields of a file, and this"
                    " manifest wrote none; list the fields in 'metadata_fields'"
                )
                self.notes.append(Note(NoteCode.METADATA_FIELDS_UNKNOWN, message, download.spec.declared_at))
            if wanted is not None and download.spec.split is None:
                self._warn_of_folder(wanted.format, download.spec)
            for line in download.losses:
                message = f"the annotation format cannot express everything: {line}"
                self.notes.append(Note(NoteCode.ANNOTATIONS_NOT_HELD, message, download.spec.declared_at))
        if self.downloads_only or self.options.excludes:
            return downloads, ()
        rules = tuple(
            self._plan_block("trash", number, observer.plan_trash, selection)
            for number, selection in enumerate(trash_selections(self.manifest, self.client))
        )
        for number, rule in enumerate(rules):
            if rule.missing:
                where = str(self.manifest.where("trash", number))
                missing = f"'{rule.selection.key}' of type {rule.selection.type.value}"
                message = (
                    f"the lake does not have a collection {missing}, so the rule trashes nothing; remove the rule, or"
                    " correct 'collection' and 'type'"
                )
                self.notes.append(Note(NoteCode.TRASH_WITHOUT_COLLECTION, message, where))
        return downloads, rules

    def _note_on_missing(self, spec: DownloadSpec) -> Note:
        """Return the note on a collection that is not in the lake: an error, unless the manifest creates it."""
        name, media_type = spec.selection.collection, spec.selection.type
        if any((one.name, key_of(one).type) == (name, media_type) for one in self.manifest.collections):
            message = f"the lake does not have the collection '{name}' yet, so nothing is downloaded"
            return Note(NoteCode.DOWNLOAD_WITHOUT_COLLECTION, message, spec.declared_at)
        message = (
            f"the lake does not have a collection '{name}', so nothing is downloaded; correct its name or its type"
        )
        return Note(NoteCode.COLLECTION_UNKNOWN, message, spec.declared_at)

    def _notes_on_labels(self, downloads: Sequence[DownloadPlan]) -> None:
        """Note labels of queries that the lake does not have. A query that selects something is not questioned."""
        assert self.client is not None
        selecting = {one.spec.block for one in downloads if one.missing or one.selects_files}
        empty = [one for one in downloads if one.spec.selection.query and one.spec.block not in selecting]
        if not empty:
            return
        from metalake_sync.remote.query_labels import labels_of_query, listed_labels, unknown_labels

        empty = [one for one in empty if any(labels_of_query(one.spec.selection.query))]
        known = listed_labels(self.client) if empty else None
        if known is None:
            return
        known += [*self.sent_labels()]
        for block in dict.fromkeys(one.spec.block for one in empty):
            specs = [one.spec for one in empty if one.spec.block == block]
            for clause in unknown_labels((spec.selection.query for spec in specs), known):
                self.notes.append(Note(NoteCode.LABEL_UNKNOWN, clause, specs[0].declared_at))

    def _notes_on_classes(self, downloads: Sequence[DownloadPlan]) -> None:
        """Note labels without a class id, and class ids that change. Folders with the same change share a note."""
        from metalake_sync.downloads.classes import moved_ids, refusal

        moved: dict[str, list[DownloadPlan]] = {}
        for download in downloads:
            if download.refused_labels and download.spec.split is not None:
                continue  # The folder around the splits has the note.
            if download.refused_labels:
                error = refusal(download.refused_labels)
                message = f"{error.message}. {error.remedy}"
                self.notes.append(Note(NoteCode.LABELS_NOT_IN_CLASSES, message, download.spec.declared_at))
            elif clause := moved_ids(download):
                moved.setdefault(clause, []).append(download)
        for clause, same in moved.items():
            folders = some_of([f"'{download.spec.to}'" for download in same])
            message = f"in {folders} {clause}"
            self.notes.append(Note(NoteCode.CLASS_IDS_CHANGED, message, same[0].spec.declared_at))

    def _warn_of_folder(self, format: FormatName, spec: DownloadSpec) -> None:
        from metalake_sync.annotations.formats import format_named

        output = format_named(format).output()
        of_splits = output.warning_for_splits(spec.splits) if spec.splits else None
        for warning in (output.warning_for(self.manifest.base_dir / spec.to), of_splits):
            if warning is not None:
                message = f"'{spec.to}' {warning}"
                self.notes.append(Note(NoteCode.LABELS_NOT_FOUND_BY_TRAINERS, message, spec.declared_at))

    def _notes_on_splits(self, download: DownloadPlan) -> None:
        spec = download.spec
        if download.in_other_splits:
            files = counted(len(download.in_other_splits), "file matches", "files match")
            clause = f"{files} the split '{spec.split}' and an earlier one, and only the earlier one gets them"
            names = download.in_other_splits
            self.notes.append(Note.naming(NoteCode.FILES_IN_TWO_SPLITS, clause, names, spec.declared_at))
        if download.unassigned:
            files = counted(download.unassigned, "file of the download is", "files of the download are")
            message = f"{files} in no split, and not downloaded"
            self.notes.append(Note(NoteCode.FILES_WITHOUT_SPLIT, message, spec.declared_at))

    def _downloads(self, observer: DownloadObserver) -> tuple[DownloadPlan, ...]:
        """Plan the downloads. They share class ids, so all are read before the first is compared."""
        assert self.client is not None
        from metalake_sync.downloads.blocks import download_specs

        with contextlib.ExitStack() as stack:
            observed = []
            for number, specs in download_specs(self.manifest, self.client):
                for spec in specs:
                    observed.append(self._plan_block("downloads", number, observer.observe, spec))
                    stack.callback(observed[-1].close)
            return tuple(observer.finish_all(observed))

    def _plan_block(self, section: str, number: int, plan: Callable[[SpecT], PlanT], spec: SpecT) -> PlanT:
        """Plan one block. A query that the lake rejects is an error at its line of the manifest."""
        try:
            return plan(spec)
        except UsageError as error:
            where = self.manifest.where(section, number, "query")
            raise ManifestError(error.message, where=where, remedy=error.remedy) from None

    def warn_of_contradictions(
        self,
        plans: Sequence[CollectionPlan],
        recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]],
        desired: Mapping[CollectionKey, DesiredCollection],
        rules: Sequence[TrashRulePlan],
    ) -> None:
        """Note files that this manifest both syncs and trashes by a rule: each run would undo the one before.

        Refuse a rule that matches files of a collection with 'prevent_destroy'.
        """
        items = [item for rule in rules for item in rule.items if isinstance(item, TrashMatched)]
        matched = {item.file.lake_id for item in items}
        if not matched:
            return
        for plan in plans:
            known = list(self.state.files.all(recorded[plan.key][0])) if plan.key in recorded else []
            meant = {file.lake_id for file in known} & matched
            if plan.policy.prevent_destroy:
                meant |= {item.file.lake_id for item in items if item.collection == plan.key}
                if meant:
                    files = counted(len(meant), "file matches", "files match")
                    message = f"{files} a trash rule, and 'prevent_destroy' is set"
                    self.notes.append(Note(NoteCode.DESTROY_PREVENTED, message, str(plan.key)))
            pruned = {action.recorded.name for action in plan.trash}
            both = [
                file.name
                for file in known
                if file.lake_id in matched and file.name not in pruned and desired[plan.key].takes(file.path)
            ]
            if both:
                more = f" and {len(both) - 1} more" if len(both) > 1 else ""
                message = (
                    f"{both[0]}{more} are synced by this manifest and match its trash rules, so the next run uploads "
                )
                message += "them again. Remove them from the folder, or narrow the rule"
                self.notes.append(Note(NoteCode.SYNCED_AND_TRASHED, message, str(plan.key)))


def _words_on_stale(download: DownloadPlan) -> str:
    """Return the clause on files that a download does not write, and that stay."""
    files = counted(len(download.stale), "file", "files")
    clause = f"'{download.spec.to}' has {files} that this download does not write"
    if not download.spec.prune:
        return clause
    if download.nothing_matches:
        return f"{clause}, and nothing is removed, because it selects no file of the lake"
    return f"{clause}, and keeps them: they were changed, or it is not known that a download wrote them"
