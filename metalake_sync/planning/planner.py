"""Makes a plan from the three snapshots: all collections, unmanaged files, downloads, trash rules and attachments.

Owns: the order in which the parts of the manifest are planned, and the notes of the plan. Must not: plan a single
collection (`collection_planner`), or change anything but caches and markers. Longer than 300 lines, because it names
every part of a manifest once, in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from metalake_sync.core.actions import AttachModelRun
from metalake_sync.core.checks import Finding, notes_on, without_found
from metalake_sync.core.events import EventSink
from metalake_sync.core.guards import too_many_deletes
from metalake_sync.core.notes import BLOCKING, UNUSABLE, Note, NoteCode, grouped_notes
from metalake_sync.core.plan import AddressedPlan, CollectionPlan, Plan
from metalake_sync.core.snapshots import CollectionKey, RecordedCollection
from metalake_sync.core.targets import EXCLUDE_OPTION, Chosen, check_matched
from metalake_sync.errors import GuardStopped, ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.planning.attachments import plan_attachments
from metalake_sync.planning.collection_planner import CollectionPlanner
from metalake_sync.planning.desired import DesiredCollection, key_of
from metalake_sync.planning.interrupted_runs import (
    decide_open_sessions,
    deduct_sent,
    notes_on_abandoned_uploads,
    replacement_notes,
)
from metalake_sync.planning.lake_listing import notes_on_lost_shapes
from metalake_sync.planning.manifest_blocks import ManifestBlocks
from metalake_sync.planning.open_sources import open_sources
from metalake_sync.planning.run_options import RunOptions, SkippedPart, chosen_parts
from metalake_sync.planning.shown_sets import ShownSetsFromState
from metalake_sync.planning.unmanaged_sources import UnmanagedSources, open_unmanaged
from metalake_sync.planning.written_names import new_labels
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.core.addresses import Place
    from metalake_sync.remote.client import LakeClient


@dataclass(slots=True)
class PlannedRun:
    """A plan with what is needed to carry it out. Close it: annotation indexes live in temporary files."""

    plan: Plan
    desired: Mapping[CollectionKey, DesiredCollection]
    unreadable: int
    """How many parts could not be read. If there are any, even a run without failures did not do everything."""
    addressed: UnmanagedSources = field(default_factory=UnmanagedSources)

    def __enter__(self) -> PlannedRun:
        return self

    def __exit__(self, *_: object) -> None:
        for collection in self.desired.values():
            collection.close()
        self.addressed.close()


@dataclass(slots=True)
class Planner:
    """Makes one plan."""

    manifest: LoadedManifest
    state: StateStore
    lake: str
    """The identity of the lake in the state."""
    client: LakeClient | None
    """None does not ask the lake (`--refresh none`)."""
    options: RunOptions
    emit: EventSink
    started_at_ns: int
    """When the run started, in nanoseconds since the epoch."""
    downloads_only: bool = False
    """Whether to plan downloads only, without collections and trash rules."""
    _notes: list[Note] = field(default_factory=list)
    _unreadable: int = 0
    _new_names: dict[CollectionKey, list[str]] = field(default_factory=dict)

    def plan(self) -> PlannedRun:
        """Read the three snapshots and compare them. Raises ManifestErrors, GuardStopped, and what the lake raises."""
        if self.downloads_only:
            downloads, _ = self._blocks().plan()
            self._notes += too_many_deletes((), self.options.max_delete, downloads=downloads)
            plan = Plan(self.manifest.source, self.state.serial, (), tuple(self._notes), downloads)
            return PlannedRun(plan, {}, self._unreadable + _unusable(self._notes))
        recorded = self.state.collections.of_lake(self.lake)
        chosen = chosen_parts(self.manifest, self.options)
        desired: dict[CollectionKey, DesiredCollection] = {}
        addressed = self._open_unmanaged()
        try:
            plans = self._plan_collections(desired, recorded, chosen)
            self._check_chosen(chosen, recorded)
            # Unmanaged files belong to no collection of the manifest, so a target never includes them.
            addressed_plans: tuple[AddressedPlan, ...] = ()
            if addressed is not None and not chosen.targets and self.options.scope is None:
                addressed_plans = self._plan_addressed(addressed, desired.values())
            if self.client is not None:
                indexes = addressed.annotations if addressed is not None else {}
                self._notes += new_labels(self.client, plans, desired, addressed_plans, indexes)
        except BaseException:
            if addressed is not None:
                addressed.close()
            for opened in desired.values():
                opened.close()
            raise
        for key in recorded.keys() - set(map(key_of, self.manifest.collections)):
            message = "is no longer in the manifest; its files stay in the lake"
            self._notes.append(Note(NoteCode.COLLECTION_LEFT, message, key.name))
        self._notes += replacement_notes(self.state, self.lake, plans, recorded)
        left_open = dict(
            decide_open_sessions(
                self.state,
                plans,
                recorded,
                set(map(key_of, self.manifest.collections)),
                partial=self.options.partial,
                base_dir=self.manifest.base_dir,
                threads=self.options.hash_threads,
            )
        )
        self._notes += notes_on_abandoned_uploads(self.state, left_open, recorded)
        deduct_sent(plans, left_open)
        if addressed is not None and addressed.metadata:
            from metalake_sync.planning.contradicting_metadata import notes_on_blocks, notes_on_conflicts

            places = desired.keys(), addressed.metadata.keys()
            self._notes += notes_on_conflicts(self.state, self.lake, *places, self.manifest.source)
            self._notes += notes_on_blocks(addressed.metadata, self.manifest.source)
        self._notes += self._notes_on_other_manifests(plans, recorded, desired, addressed or UnmanagedSources())
        blocks = self._blocks(lambda: _labels_of(desired.values(), addressed))
        downloads, trash_rules = blocks.plan()
        findings = self._check_sources(plans, addressed_plans, desired, addressed, recorded)
        self._notes += notes_on(findings)
        blocks.warn_of_contradictions(plans, recorded, desired, trash_rules)
        notes = [Note(NoteCode.MANIFEST, warning.message, str(warning.where)) for warning in self.manifest.warnings]
        by_rules = sum(rule.trashed for rule in trash_rules)
        guarded = too_many_deletes(plans, self.options.max_delete, by_rules=by_rules, downloads=downloads)
        notes += [*grouped_notes(without_found(self._notes, findings)), *guarded]
        version = self.state.version
        plan = Plan(
            self.manifest.source,
            version.serial,
            tuple(plans),
            tuple(notes),
            downloads,
            trash_rules,
            addressed_plans,
            self._attachments(plans, desired, addressed if not chosen.targets else None),
            state_lineage=version.lineage,
            findings=findings,
            shown_sets=self._shown_sets(desired, addressed or UnmanagedSources()),
        )
        return PlannedRun(plan, desired, self._unreadable + _unusable(notes), addressed or UnmanagedSources())

    def _shown_sets(
        self, desired: Mapping[CollectionKey, DesiredCollection], unmanaged: UnmanagedSources
    ) -> ShownSetsFromState:
        looked = self.client is not None and self.options.refresh == "full"
        return ShownSetsFromState(self.state, self.lake, self.manifest.base_dir, desired, unmanaged, looked)

    # Collections.

    def _plan_collections(
        self,
        desired: dict[CollectionKey, DesiredCollection],
        recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]],
        chosen: Chosen,
    ) -> list[CollectionPlan]:
        """Open every collection into `desired`, and plan those that the run covers."""
        planner = CollectionPlanner(
            self.manifest, self.state, self.lake, self.client, self.options, self.emit, self.started_at_ns
        )
        plans: list[CollectionPlan] = []
        for collection in open_sources(self.manifest, self.options, self.state, self.state.spelling(self.lake)):
            desired[collection.key] = collection
            if not chosen.takes_part_of(collection.key.name):
                continue
            row = recorded.get(collection.key)
            try:
                planned = planner.plan(collection, row)
            except (ManifestError, GuardStopped) as error:
                self._skip_or_raise(collection.key, error)
                continue
            self._notes += [note for note in planned.notes if not _blocks_elsewhere(note, collection.key, chosen)]
            self._unreadable += planned.unreadable
            if chosen:
                self._new_names[collection.key] = planned.new_names
            plan = planned.plan.keep_chosen(chosen) if chosen else planned.plan
            self._notes += notes_on_lost_shapes(self.client, plan, self.state, row[0] if row else None)
            plans.append(plan)
        return plans

    def _check_chosen(
        self, chosen: Chosen, recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]]
    ) -> None:
        """Raise UsageError for a target or an exclusion that matches no file. Those of a daemon may match later."""
        if self.options.on_skipped is not None or self.options.targets_may_miss:
            return

        def names() -> dict[CollectionKey, Iterable[str]]:
            return {
                key: itertools.chain(new, self.state.files.names(recorded[key][0]) if key in recorded else ())
                for key, new in self._new_names.items()
            }

        where = "on disk or in the state"
        check_matched(chosen.targets, names(), where)
        planned = {key.name for key in self._new_names}
        excluded = [one for one in chosen.excluded if one.collection in planned]
        check_matched(excluded, names(), where, EXCLUDE_OPTION)

    def _skip_or_raise(self, part: CollectionKey | None, error: ManifestError | GuardStopped) -> None:
        """Leave a part of the manifest out if the options allow it. Otherwise raise its error."""
        if self.options.on_skipped is None:
            raise error
        self.options.on_skipped(SkippedPart(part, None, error))

    # Unmanaged files.

    def _open_unmanaged(self) -> UnmanagedSources | None:
        try:
            return open_unmanaged(self.manifest, self.state.set_memo)
        except ManifestError as error:
            self._skip_or_raise(None, error)
            return None

    def _plan_addressed(
        self, sources: UnmanagedSources, collections: Iterable[DesiredCollection]
    ) -> tuple[AddressedPlan, ...]:
        if not (sources.annotations or sources.metadata or self.state.addresses.exist(self.lake)):
            return ()
        # Imported here, because most manifests have no such blocks: saves start-up time.
        from metalake_sync.planning.unmanaged_files import UnmanagedPlanner

        planner = UnmanagedPlanner(
            sources,
            self.state,
            self.lake,
            self.client,
            self.options.calls_at_once,
            collections,
            full=self.options.refresh == "full",
            decisions=self.options.decisions,
        )
        try:
            plans = tuple(planner.plan())
        except (ManifestError, GuardStopped) as error:
            self._skip_or_raise(None, error)
            return ()
        self._notes += planner.notes
        return plans

    # Checks of what is sent.

    def _check_sources(
        self,
        plans: Sequence[CollectionPlan],
        addressed_plans: Sequence[AddressedPlan],
        desired: Mapping[CollectionKey, DesiredCollection],
        addressed: UnmanagedSources | None,
        recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]],
    ) -> tuple[Finding, ...]:
        if not any(plan.uploads or plan.annotations for plan in plans) and not addressed_plans:
            return ()
        # Imported here, because a plan without changes checks nothing: saves start-up time.
        from metalake_sync.planning.run_checks import CheckRun

        handles = {key: handle for key, (handle, _) in recorded.items()}
        checks = CheckRun(
            self.manifest,
            self.manifest.model.checks,
            self.state,
            handles,
            self.options.hash_threads,
            self.emit,
            self.started_at_ns,
        )
        indexes: dict[tuple[Place, str], AnnotationIndex] = {
            (key, operation): index for key, one in desired.items() for operation, index in one.annotations.items()
        }
        if addressed is not None:
            indexes.update(addressed.annotations.items())
        findings = checks.of_plan(plans, addressed_plans, indexes)
        self.state.flush_caches()
        return findings

    # Other blocks of the manifest.

    def _attachments(
        self,
        plans: Iterable[CollectionPlan],
        desired: Mapping[CollectionKey, DesiredCollection],
        addressed: UnmanagedSources | None,
    ) -> tuple[AttachModelRun, ...]:
        """The model runs to attach. A run with a scope attaches none."""
        blocks = [*self.manifest.model.annotations, *(b for one in self.manifest.collections for b in one.annotations)]
        if self.options.scope is not None or not any(block.destination_project_id for block in blocks):
            return ()
        planned = {plan.key: desired[plan.key] for plan in plans}
        return plan_attachments(self.manifest, self.state.attached.of(self.lake), planned, addressed)

    def _blocks(self, sent_labels: Callable[[], Iterable[str]] = tuple) -> ManifestBlocks:
        return ManifestBlocks(
            self.manifest,
            self.state,
            self.lake,
            self.client,
            self.options,
            self.emit,
            self._notes,
            downloads_only=self.downloads_only,
            sent_labels=sent_labels,
        )

    def _notes_on_other_manifests(
        self,
        plans: Sequence[CollectionPlan],
        recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]],
        desired: Mapping[CollectionKey, DesiredCollection],
        unmanaged: UnmanagedSources,
    ) -> list[Note]:
        """Notes on what another manifest on this machine writes too. A run with a scope makes none."""
        if self.options.scope is not None:
            return []
        from metalake_sync.planning.other_manifests import WrittenHere, notes_on_other_manifests

        written = [
            WrittenHere(plan, desired[plan.key], recorded[plan.key][0] if plan.key in recorded else None)
            for plan in plans
        ]
        return notes_on_other_manifests(self.manifest, self.state, self.lake, written, unmanaged)


def _unusable(notes: Iterable[Note]) -> int:
    return sum(note.code in UNUSABLE for note in notes)


def _labels_of(collections: Iterable[DesiredCollection], elsewhere: UnmanagedSources | None) -> Iterator[str]:
    """The labels of all annotation sources."""
    for collection in collections:
        for index in collection.annotations.values():
            yield from index.labels()
    for index in elsewhere.annotations.values() if elsewhere is not None else ():
        yield from index.labels()


def _blocks_elsewhere(note: Note, key: CollectionKey, chosen: Chosen) -> bool:
    """Whether a note would stop the run because of a file that the run does not cover."""
    name = note.where.removeprefix(f"{key}/")
    return note.code in BLOCKING and name != note.where and not chosen.takes(key.name, name)
