"""Plans one collection: lists it in the lake, scans its sources, inspects what differs, and reconciles the three.

Owns: the order of these steps. Must not: decide what becomes of a file (`core.diff`), or change anything but the hash
cache and the markers of what was seen in the lake. Longer than 300 lines, because each step of a plan of one
collection needs the results of those before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from metalake_sync.core.diff import CollectionRules, compare_head
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.metadata import TAGS, MetadataValues
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey, RecordedCollection, RecordedFile
from metalake_sync.errors import GuardStopped
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.planning.change_detection import ChangeDetector, ScanResult
from metalake_sync.planning.desired import DesiredCollection, collection_rules, unmatched_entry_notes
from metalake_sync.planning.file_inspection import FileInspector
from metalake_sync.planning.interrupted_runs import found_in_lake
from metalake_sync.planning.lake_listing import LakeView, view_lake
from metalake_sync.planning.reconcile import Reconciler
from metalake_sync.planning.run_options import RunOptions, SkippedPart
from metalake_sync.planning.source_guards import guard_annotations
from metalake_sync.planning.unmanaged_sources import operations_elsewhere
from metalake_sync.sources.hashing import Hasher
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.planning.full_refresh import FullRefreshResult
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.remote.listings import RemoteListing


@dataclass(slots=True)
class PlannedCollection:
    """A collection's plan, and what the planner found on the way."""

    plan: CollectionPlan
    notes: list[Note] = field(default_factory=list)
    unreadable: int = 0
    """How many files and folders could not be read."""
    new_names: list[str] = field(default_factory=list)
    """With targets or exclusions: the names on disk that differ from the records. Targets may match them."""


@dataclass(frozen=True, slots=True)
class CollectionPlanner:
    """Plans the collections of one manifest, one at a time."""

    manifest: LoadedManifest
    state: StateStore
    lake: str
    """The identity of the lake in the state."""
    client: LakeClient | None
    """None does not ask the lake."""
    options: RunOptions
    emit: EventSink
    started_at_ns: int
    """When the planner started, in nanoseconds since the epoch."""

    def plan(
        self, desired: DesiredCollection, recorded: tuple[CollectionHandle, RecordedCollection] | None
    ) -> PlannedCollection:
        """Plan one collection. `recorded`: its handle and record, None if it was never recorded.

        Raises ManifestError and GuardStopped for what concerns this collection, and what the lake raises.
        """
        handle, known = recorded if recorded else (None, None)
        full = self.options.refresh == "full"
        self.emit(Observing(f"listing {desired.key} in the lake"))
        view = view_lake(self.client, desired.key, known, full)
        known = known if known is not None and known.lake_id == view.lake_id else None
        self._guard_empty_annotations(desired, handle)
        rules = collection_rules(desired, self.state, handle)
        plan = self._empty_plan(desired, handle, known, view)
        planned = PlannedCollection(plan)
        recovered = found_in_lake(
            self.state, self.client, handle, view, self.manifest.base_dir, self.options.calls_at_once
        )
        plan.recovered = list(recovered.values())
        if handle is not None and recovered:
            plan.recorded += len(recovered) - len(self.state.files.named(handle, recovered))
        refreshed = self._refresh_in_full(rules, desired, handle, known, view, recovered) if full else None
        self._plan_head(planned, rules, desired, known, view, refreshed)

        trusts_records = view.listing is None
        with Hasher(self.options.hash_threads) as hasher:
            inspector = FileInspector(
                self.state,
                handle,
                self.client,
                self.manifest.base_dir,
                self.options,
                self.emit,
                self.started_at_ns,
                hasher,
                plan.recovered,
            )
            found = self._scan(planned, desired, handle, view, inspector, recovered)
            reconciler = Reconciler(
                rules,
                plan,
                desired,
                view,
                inspector,
                refreshed,
                operations_elsewhere(self.manifest, self.state, self.lake) if desired.annotations else frozenset(),
            )
            reconciler.reconcile(found)
        planned.notes += reconciler.notes
        planned.unreadable += inspector.unreadable
        if view.count is not None:
            # The planner trusts the records only if the lake has all recorded files: the markers say so.
            trusted = plan.recorded - reconciler.recorded if trusts_records else 0
            plan.unmanaged += view.count - reconciler.matched - trusted
        if view.listing is not None and not trusts_records:
            planned.notes += _notes_on_duplicates(desired.key, view.listing)
            if handle is not None and known is not None and reconciler.lake_matches_records and not found.problems:
                self._record_markers(handle, known, view, refreshed, desired)
        self.state.flush_caches()
        if self.options.scope is None:
            planned.notes += unmatched_entry_notes(desired)
        return planned

    def _empty_plan(
        self,
        desired: DesiredCollection,
        handle: CollectionHandle | None,
        known: RecordedCollection | None,
        view: LakeView,
    ) -> CollectionPlan:
        return CollectionPlan(
            desired.key,
            desired.policy,
            storage_prefix=desired.storage_prefix,
            lake_id=view.lake_id,
            storage_path=known.storage_path if known else None,
            head=desired.head,
            common_metadata=desired.common_metadata,
            recorded=self.state.files.count(handle) if handle is not None else 0,
        )

    def _scan(
        self,
        planned: PlannedCollection,
        desired: DesiredCollection,
        handle: CollectionHandle | None,
        view: LakeView,
        inspector: FileInspector,
        recovered: Mapping[str, RecordedFile],
    ) -> ScanResult:
        """Scan the sources, and compare them with the records and the listing."""
        found = ChangeDetector(
            desired,
            self.state,
            handle,
            view.listing,
            scanned=lambda count: self.emit(Observing(f"scanning {desired.key}", count)),
            find_unchanged=inspector.find_unchanged if self.options.checksum else None,
            scope=self.options.scope,
            is_held=self.options.is_held,
            recovered=recovered,
        ).run()
        if self.options.targets or self.options.excludes:
            unread = (problem.filename for problem in found.problems)
            planned.new_names = [*(one.name for one in found.candidates), *unread]
        planned.plan.unchanged += found.unchanged
        planned.plan.held = frozenset(found.held)
        planned.notes += found.notes
        planned.unreadable += sum(problem.hides_files or problem.is_failure for problem in found.problems)
        return found

    # The head.

    def _plan_head(
        self,
        planned: PlannedCollection,
        rules: CollectionRules,
        desired: DesiredCollection,
        known: RecordedCollection | None,
        view: LakeView,
        refreshed: FullRefreshResult | None,
    ) -> None:
        """Compare the metadata of the collection itself."""
        if self.options.refresh == "full":
            lake = self._head_in_lake(desired, view, refreshed)
        else:
            lake = self._changed_head(rules, desired, known, view)
        decision = compare_head(
            rules,
            desired.head,
            exists=view.lake_id is not None,
            written_digest=known.head_digest if known else None,
            lake=lake,
        )
        planned.plan.take(decision, wanted=False)
        planned.notes += decision.notes

    def _head_in_lake(
        self, desired: DesiredCollection, view: LakeView, refreshed: FullRefreshResult | None
    ) -> MetadataValues | None:
        """The lake's metadata of the collection, limited to the fields that we wrote or want."""
        if view.lake_id is None or self.client is None:
            return None
        fields = dict.fromkeys((*desired.head.values, *(refreshed.head if refreshed else ()), TAGS), True)
        details = self.client.collection_details(view.lake_id, fields)
        from metalake_sync.remote.item_details import fields_in

        return fields_in(details, fields)

    def _changed_head(
        self,
        rules: CollectionRules,
        desired: DesiredCollection,
        known: RecordedCollection | None,
        view: LakeView,
    ) -> MetadataValues | None:
        """The lake's metadata of a collection whose metadata is about to change. None if none of its fields changes."""
        if self.client is None or view.lake_id is None:
            return None
        if known is None or known.head_digest is None:
            # The state was lost, or another client created the collection.
            return self._head_in_lake(desired, view, None) if desired.head else None
        if known.head_digest == desired.head.digest:
            return None
        from metalake_sync.planning.lake_metadata import changed_fields, lake_values
        from metalake_sync.remote.item_details import fields_in

        before = rules.written(known.head_digest or "") or {}
        fields = changed_fields(before, desired.head.values)
        if not fields:
            return None
        details = self.client.collection_details(known.lake_id, dict.fromkeys(fields, True))
        return lake_values(before, fields, fields_in(details, fields))

    # The lake in full.

    def _refresh_in_full(
        self,
        rules: CollectionRules,
        desired: DesiredCollection,
        handle: CollectionHandle | None,
        known: RecordedCollection | None,
        view: LakeView,
        recovered: Mapping[str, RecordedFile],
    ) -> FullRefreshResult | None:
        if self.client is None or handle is None or known is None or view.listing is None:
            return None
        from metalake_sync.planning.full_refresh import FullRefresh, Marker

        marker = Marker.read(known.looked_until, desired.policy)
        return FullRefresh(
            self.client,
            self.state,
            self.manifest.base_dir,
            rules,
            desired,
            handle,
            known,
            view.listing,
            marker,
            self.options.calls_at_once,
            self.emit,
            operations_elsewhere(self.manifest, self.state, self.lake),
            recovered,
        ).run()

    def _record_markers(
        self,
        handle: CollectionHandle,
        known: RecordedCollection,
        view: LakeView,
        refreshed: FullRefreshResult | None,
        desired: DesiredCollection,
    ) -> None:
        """The lake matches the records: record the markers by which the next run finds that out cheaply."""
        assert view.listing is not None
        listed = (len(view.listing) + view.listing.duplicates, view.listing.newest)
        until = refreshed.marker_by(desired.policy) if refreshed else None
        seen = refreshed.seen if refreshed else []
        if listed == (known.listed_count, known.listed_newest) and until in (None, known.looked_until) and not seen:
            return
        with self.state.write():
            self.state.collections.record_listed(handle, *listed)
            self.state.annotation_sets.record_seen(handle, seen)
            if until is not None:
                self.state.collections.record_looked(handle, until)

    # Guards.

    def _guard_empty_annotations(self, desired: DesiredCollection, handle: CollectionHandle | None) -> None:
        """Stop if a source lost all its entries or shapes: that is more often an error than intended.

        With `on_skipped` in the options, leaves the operation out instead.
        """
        if handle is None or all(index.has_shapes for index in desired.annotations.values()):
            return
        recorded = self.state.annotation_sets.counts(handle)
        for operation, index in list(desired.annotations.items()):
            if index.has_shapes:
                continue
            try:
                guard_annotations(index, recorded.get(operation, 0))
            except GuardStopped as error:
                if self.options.on_skipped is None:
                    raise
                desired.leave_alone(operation)
                self.options.on_skipped(SkippedPart(desired.key, operation, error))


def _notes_on_duplicates(key: CollectionKey, listing: RemoteListing) -> Iterable[Note]:
    if listing.duplicates:
        message = f"the lake lists {listing.duplicates} names twice; the first file of each name counts"
        yield Note(NoteCode.DUPLICATE_IN_LAKE, message, key.name)
