"""`revert`: plans the way back to the metadata and annotation sets that the lake had before a run.

Owns: which files of the run the plan covers, what is read from the lake for their sets, and the notes on the rest. The
plan is an ordinary one: apply shows it, asks for approval and records it. Must not: read the run (`reverted_run`),
decide about a single set (`revert_sets`), plan metadata (`revert_updates`), send anything, or restore files.

Longer than 300 lines, because managed and unmanaged files share how sets are read and left out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from typing import Any

from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.actions import Rerecord
from metalake_sync.core.addresses import Address, FileAt, Place
from metalake_sync.core.base_action import ActionKey
from metalake_sync.core.diff_sets import OnDrift
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.metadata import NO_METADATA, MetadataSet
from metalake_sync.core.notes import Note, NoteCode, counted, grouped_notes
from metalake_sync.core.plan import AddressedPlan, CollectionPlan, Plan
from metalake_sync.core.snapshots import (
    AnnotationKind,
    CollectionKey,
    CollectionPolicy,
    DesiredFile,
    MediaType,
    RecordedCollection,
)
from metalake_sync.engine import Engine
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.operations.revert_sets import (
    ComparedSet,
    SentByRun,
    SetReverts,
    ShownSetsFromHistory,
    empty_index,
    sent_sets,
)
from metalake_sync.operations.revert_updates import VALUES_LOST, MetadataReverts
from metalake_sync.operations.reverted_run import RevertedRun, changes_values
from metalake_sync.planning.desired import DesiredCollection, key_of
from metalake_sync.planning.lake_listing import LakeView, view_lake
from metalake_sync.planning.open_sources import collection_policy
from metalake_sync.planning.planner import PlannedRun
from metalake_sync.planning.run_options import RunOptions, chosen_targets
from metalake_sync.planning.unmanaged_lookup import UnmanagedLookup
from metalake_sync.planning.unmanaged_sources import UnmanagedSources, address_of
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_resolutions
from metalake_sync.remote.listings import sets_of_images
from metalake_sync.sources.image_headers import image_size
from metalake_sync.sources.metadata_layers import MetadataRules
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.records_by_place import PlaceRecords
from metalake_sync.state.runs import RunChange
from metalake_sync.state.store import StateStore

NEW_BYTES = frozenset({"upload", "replace"})
"""Actions after which the lake has other bytes under a name, so that earlier sets and metadata do not belong to it."""


def reverting(engine: Engine, run_id: str) -> Engine:
    """Return the engine whose plans revert a run. `run_id`: as the history has it."""
    options = replace(engine.options, refresh="full", only_part=True)
    return replace(engine, options=options, make_planner=partial(RevertPlanner, run_id))


@dataclass(slots=True)
class RevertPlanner:
    """Makes the plan that reverts one run."""

    run_id: str
    manifest: LoadedManifest
    state: StateStore
    lake: str
    """The identity of the lake in the state."""
    client: LakeClient | None
    options: RunOptions
    emit: EventSink
    _left_out: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Where and why → the files or sets that are not reverted."""
    _notes: list[Note] = field(default_factory=list)
    _compared: dict[ActionKey, ComparedSet] = field(default_factory=dict)
    _run: RevertedRun = field(init=False)
    _metadata: MetadataReverts = field(init=False)

    def plan(self) -> PlannedRun:
        """Make the plan. Raises UsageError for a run that cannot be reverted, and what the lake raises."""
        assert self.client is not None, "a revert compares with the lake"
        run = RevertedRun(
            self.run_id, self.state, self.lake, chosen_targets(self.manifest, self.options), self._leave_out
        )
        run.check()
        changes = list(self.state.runs.changes(self.run_id))
        places = run.by_place(changes)
        run.check_values(changes)
        run.read_later(places)
        self._run = run
        self._metadata = MetadataReverts(run, self.state, self.client, self.options.calls_at_once, self._notes)
        desired: dict[CollectionKey, DesiredCollection] = {}
        unmanaged = UnmanagedSources()
        with contextlib.ExitStack() as on_error:
            on_error.callback(unmanaged.close)
            collections: list[CollectionPlan] = []
            addressed: list[AddressedPlan] = []
            for place, own in places.items():
                if isinstance(place, Address):
                    addressed += self._plan_address(place, own, self.client, unmanaged)
                    continue
                collection = self._plan_collection(place, own, self.client, desired)
                if collection is not None:
                    on_error.callback(desired[place].close)
                    collections.append(collection)
            on_error.pop_all()
        version = self.state.version
        plan = Plan(
            self.manifest.source,
            version.serial,
            tuple(collections),
            tuple(self._all_notes()),
            addressed=tuple(addressed),
            state_lineage=version.lineage,
            shown_sets=ShownSetsFromHistory(self.state, self._compared),
        )
        return PlannedRun(plan, desired, 0, unmanaged)

    # Collections.

    def _plan_collection(
        self,
        key: CollectionKey,
        changes: Sequence[RunChange],
        client: LakeClient,
        desired: dict[CollectionKey, DesiredCollection],
    ) -> CollectionPlan | None:
        """Plan one collection, and open what its actions need into `desired`. None: the lake does not have it."""
        self._note_files(key, changes)
        if not any(map(changes_values, changes)):
            return None
        row = self.state.collections.of_lake(self.lake).get(key)
        known = row[1] if row is not None else None
        self.emit(Observing(f"listing {key} in the lake"))
        view = view_lake(client, key, known, full=True)
        if row is None or known is None or view.lake_id != known.lake_id or view.listing is None:
            for change in changes:
                if changes_values(change):
                    self._leave_out("the lake does not have the collection any more", change.row.file or "*", str(key))
            return None
        handle = row[0]
        policy = next(
            (collection_policy(one) for one in self.manifest.collections if key_of(one) == key), CollectionPolicy()
        )
        plan = CollectionPlan(
            key,
            policy,
            lake_id=view.lake_id,
            storage_path=known.storage_path,
            recorded=self.state.files.count(handle),
        )
        opened = DesiredCollection(key, policy, None, NO_METADATA, NO_METADATA, (), (), MetadataRules())
        desired[key] = opened
        files = self._present(key, handle, view, changes)
        changes = [one for one in changes if one.row.file is None or one.row.file in files]
        settled: set[str] = set()
        records = self.state.of_collection(handle)
        paths = dict(self.state.files.paths(handle, files))
        for operation, sent in sent_sets(changes).items():
            reverts = self._set_reverts(key, operation, sent, records, self._size_of(paths))
            opened.annotations[operation] = reverts.index
            there = self._sets_of(client, view, operation, {files[name].unique_name or "": name for name in sent})
            for name, shapes in there:
                reverts.decide(sent[name], files[name], shapes, paths.get(name))
            self._note_unverified(reverts, str(key))
            plan.annotations += reverts.actions
            settled.update(reverts.as_before)
        self._plan_metadata(plan, handle, known, files, changes, settled)
        acted = {action.file_name for action in (*plan.annotations, *plan.metadata)}
        plan.unchanged = len(settled - acted)
        return plan

    def _present(
        self, key: CollectionKey, handle: CollectionHandle, view: LakeView, changes: Sequence[RunChange]
    ) -> dict[str, FileAt]:
        """The files whose sets or metadata the run changed, and that still have the bytes that they had then."""
        created = {one.row.file for one in changes if one.row.action in NEW_BYTES}
        names: dict[str, None] = {}
        for change in filter(changes_values, changes):
            if change.row.file is not None:
                names[change.row.file] = None
        recorded = self.state.files.named(handle, [name for name in names if name not in created])
        files: dict[str, FileAt] = {}
        for name, known in recorded.items():
            later = self._run.later_run(key, name, lambda one: one.action in NEW_BYTES)
            there = view.listing.get(name) if view.listing is not None else None
            if later is not None:
                self._leave_out(f"run {later} uploaded other bytes", name, str(key))
            elif there is None:
                self._leave_out("the lake does not have the file any more", name, str(key))
            elif there.lake_id != known.lake_id:
                self._leave_out("another client uploaded the file again", name, str(key))
            else:
                files[name] = FileAt(key, name, known.unique_name, known.lake_id)
        for name in names:
            if name not in created and name not in recorded:
                self._leave_out("the file is not recorded any more", name, str(key))
        return files

    def _plan_metadata(
        self,
        plan: CollectionPlan,
        handle: CollectionHandle,
        known: RecordedCollection,
        files: Mapping[str, FileAt],
        changes: Sequence[RunChange],
        settled: set[str],
    ) -> None:
        changed = _metadata_changes(changes)
        recorded = self.state.files.named(handle, [name for name in changed if name is not None and name in files])
        before = {name: one.metadata_digest for name, one in recorded.items()}

        def rerecord(at: FileAt, ours: MetadataSet) -> None:
            one = recorded[at.name]
            file = DesiredFile(one.name, one.path, one.fingerprint, ours)
            plan.rerecords.append(Rerecord(plan.key, file, local=False, metadata=True))

        plan.metadata += self._metadata.updates(plan.key, changed, files, before, plan.policy, settled, rerecord)
        if None in changed:
            self._metadata.plan_head(plan, known, changed[None])

    # Unmanaged files.

    def _plan_address(
        self, address: Address, changes: Sequence[RunChange], client: LakeClient, unmanaged: UnmanagedSources
    ) -> Iterator[AddressedPlan]:
        """Plan the sets of each operation, and the metadata, of one address."""
        lookup = UnmanagedLookup(
            UnmanagedSources(), self.state, self.lake, client, self.options.calls_at_once, full=True
        )
        names = [one.row.file for one in changes if one.row.file is not None]
        types = [address.type] if address.type is not None else list(MediaType)
        located = lookup.locate(address, names, types)
        tells = lookup.find(address, names, None) is not None
        records = self.state.of_address(self.lake, address)
        files = {name: one.at for name, one in located.items()}
        if tells:
            for name in dict.fromkeys(names):
                if name not in files:
                    self._leave_out("the lake does not have the file any more", name, str(address))
        else:
            files = {name: FileAt(address, name) for name in names} | files
        for operation, sent in sent_sets(changes).items():
            plan = AddressedPlan(address, operation)
            sent = {name: one for name, one in sent.items() if name in files}
            reverts = self._set_reverts(address, operation, sent, records, self._size_of({}))
            unmanaged.annotations[address, operation] = reverts.index
            for view in {id(one.view): one.view for one in located.values()}.values():
                here = {
                    one.at.unique_name or "": name for name, one in located.items() if one.view is view and name in sent
                }
                for name, shapes in self._sets_of(client, view, operation, here):
                    reverts.decide(sent[name], files[name], shapes)
            for name in sent:
                if name not in located:
                    reverts.decide(sent[name], files[name], None)
            self._note_unverified(reverts, str(address))
            plan.actions += reverts.actions
            plan.unchanged = len(reverts.as_before)
            yield plan
        changed = _metadata_changes(changes)
        before = {name: one.digest for name, one in records.metadata().items() if name in changed}
        plan = AddressedPlan(address)
        settled: set[str] = set()
        plan.actions += self._metadata.updates(
            address, changed, files, before, CollectionPolicy(), settled, lambda *one: plan.settled.append(one)
        )
        plan.unchanged = len(settled)
        if changed:
            yield plan

    # Sets.

    def _set_reverts(
        self,
        place: Place,
        operation: str,
        sent: Mapping[str, SentByRun],
        records: PlaceRecords,
        size_of: Callable[[FileAt], Size | None],
    ) -> SetReverts:
        befores = (self.state.runs.values_of(one.first).set_before for one in sent.values())
        units = {before.normalized for before in befores if before is not None and before.shapes}
        kind, on_drift = self._operation(place, operation, next(iter(sent.values()), None), records)
        later = {
            name: run
            for name in sent
            if (run := self._run.later_run(place, name, lambda one: one.operation == operation)) is not None
        }
        return SetReverts(
            self.state,
            records,
            place,
            operation,
            kind,
            on_drift,
            self.manifest.base_dir,
            size_of,
            later,
            empty_index(operation, kind, normalized=units == {True}),
            self._compared,
            lambda clause, name: self._leave_out(clause, name, f"{place}, {operation}"),
        )

    def _operation(
        self, place: Place, operation: str, sent: SentByRun | None, records: PlaceRecords
    ) -> tuple[AnnotationKind, OnDrift]:
        """The kind of an operation, and what the manifest says about changes of other clients."""
        if isinstance(place, Address):
            blocks: Iterable[Any] = (one for one in self.manifest.model.annotations if address_of(one) == place)
        else:
            blocks = (block for one in self.manifest.collections if key_of(one) == place for block in one.annotations)
        block = next((one for one in blocks if one.operation == operation), None)
        kind = self.state.runs.values_of(sent.first).kind if sent is not None else None
        if kind is None and block is not None:
            kind = block.kind
        if kind is None:
            kind = next((one.kind.value for one in records.sets(operation).values()), AnnotationKind.HUMAN.value)
        return AnnotationKind(kind), block.on_drift if block is not None else "ask"

    def _sets_of(
        self, client: LakeClient, view: LakeView, operation: str, names: dict[str, str]
    ) -> Iterator[tuple[str, Sequence[Any]]]:
        """Yield the lake's set of each image. `names`: unique name → name."""
        self.emit(Observing(f"reading {operation} back from {view.key}"))
        listing = view.listed()
        count = len(listing) if listing is not None else 0
        yield from sets_of_images(client, view.lake_id or "", names, file_count=count, operation=operation)

    def _size_of(self, paths: Mapping[str, str]) -> Callable[[FileAt], Size | None]:
        """Returns a function for the sizes of images. `paths`: of local images, by name."""
        sizes: dict[FileAt, Size | None] = {}

        def size_of(at: FileAt) -> Size | None:
            if at not in sizes:
                path = paths.get(at.name)
                found = image_size(os.path.join(self.manifest.base_dir, path)) if path is not None else None
                if found is None and at.unique_name is not None and self.client is not None:
                    found = remote_resolutions(self.client, [at.unique_name], 1).get(at.unique_name)
                sizes[at] = found
            return sizes[at]

        return size_of

    # Notes.

    def _leave_out(self, clause: str, what: str, where: str) -> None:
        self._left_out.setdefault((where, clause), []).append(what)

    def _note_files(self, key: CollectionKey, changes: Sequence[RunChange]) -> None:
        """Name the files that the run uploaded, replaced or trashed. They stay as they are."""
        by_action: dict[str, list[str]] = {}
        replaced = {one.row.file for one in changes if one.row.action == "replace"}
        for change in changes:
            row = change.row
            if row.file is not None and not (row.action == "trash" and row.file in replaced):
                old = f" (id {row.before} in the trash)" if row.action in ("replace", "trash") and row.before else ""
                by_action.setdefault(row.action, []).append(row.file + old)
        lost = (
            "no call takes the old bytes out of the lake's trash. To upload them again, put them back into the sources"
        )
        for action, one, many, rest in (
            ("upload", "file that the run uploaded stays", "files that the run uploaded stay", ""),
            (
                "replace",
                "replaced file keeps its new bytes, metadata and annotation sets",
                "replaced files keep their new bytes, metadata and annotation sets",
                f"; {lost} and apply",
            ),
            ("trash", "trashed file is not restored", "trashed files are not restored", f"; {lost} and apply"),
        ):
            names = by_action.get(action, [])
            if names:
                clause = counted(len(names), one, many) + rest
                self._notes.append(Note.naming(NoteCode.FILES_NOT_REVERTED, clause, names, str(key)))
        claimed = [one.row.file for one in changes if one.row.action == "claim" and one.row.file is not None]
        if claimed:
            clause = f"{counted(len(claimed), 'claimed file stays', 'claimed files stay')} recorded as uploaded"
            self._notes.append(Note.naming(NoteCode.FILES_NOT_REVERTED, clause, claimed, str(key)))
        if any(one.row.action == "create_collection" for one in changes):
            self._notes.append(Note(NoteCode.FILES_NOT_REVERTED, "the collection that the run created stays", str(key)))

    def _note_unverified(self, reverts: SetReverts, where: str) -> None:
        if reverts.not_compared:
            what = counted(len(reverts.not_compared), "set", "sets")
            clause = f"the run did not read {what} of '{reverts.operation}' before it sent others; {VALUES_LOST}"
            self._notes.append(Note.naming(NoteCode.SETS_UNVERIFIED, clause, reverts.not_compared, where))
        if reverts.unverified:
            clause = (
                f"{counted(len(reverts.unverified), 'set', 'sets')} of '{reverts.operation}' cannot be compared with"
                " the lake, so the records are trusted"
            )
            self._notes.append(Note.naming(NoteCode.SETS_UNVERIFIED, clause, reverts.unverified, where))

    def _all_notes(self) -> Iterator[Note]:
        for (where, clause), names in self._left_out.items():
            what = f"{counted(len(names), 'change is', 'changes are')} not reverted, because {clause}"
            yield Note.naming(NoteCode.NOT_REVERTED, what, names, where)
        yield from grouped_notes(self._notes)


def _metadata_changes(changes: Sequence[RunChange]) -> dict[str | None, RunChange]:
    """The changes of metadata by name of the file. None: of the head."""
    return {one.row.file: one for one in changes if one.row.action == "update_metadata"}
