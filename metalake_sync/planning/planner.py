"""From three snapshots to a plan, collection by collection.

Owns: which looks are taken in which order, and the notes. Must not: decide (`core.diff`) or change anything but the
hash cache and the markers of what was seen in the lake.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from metalake_sync.core.actions import AttachModelRun
from metalake_sync.core.diff import CollectionRules, compare_head
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.guards import too_many_deletes
from metalake_sync.core.metadata import TAGS, MetadataValues
from metalake_sync.core.notes import UNUSABLE, Note, NoteCode
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.core.snapshots import CollectionKey, MediaType, RecordedCollection, RecordedFile
from metalake_sync.core.targets import Target, check_matched
from metalake_sync.core.unmanaged_files import AddressedPlan
from metalake_sync.errors import GuardStopped, ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.planning.desired import DesiredCollection, key_of
from metalake_sync.planning.download_blocks import Blocks
from metalake_sync.planning.inspect_files import CloseLook
from metalake_sync.planning.lake_listing import LakeView, view_lake
from metalake_sync.planning.march import CollectionMarch
from metalake_sync.planning.new_labels import new_labels
from metalake_sync.planning.open_sessions import dispositions, found_in_lake, note_on
from metalake_sync.planning.opening import chosen_targets, open_collections, rules_of
from metalake_sync.planning.reconcile import Judge
from metalake_sync.planning.replacements import replacement_notes
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.planning.sets_of_others import shapes_of_others
from metalake_sync.planning.skipped_parts import Broken
from metalake_sync.planning.unmanaged_files import (
    AddressedPlanner,
    AddressedSources,
    open_addressed,
    operations_elsewhere,
)
from metalake_sync.planning.unmatched_entries import loose_ends
from metalake_sync.sources.hashing import Hasher
from metalake_sync.state.handles import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.planning.full_refresh import FullLook
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.remote.listings import RemoteListing


@dataclass(slots=True)
class PlannedRun:
    """A plan with what is needed to carry it out. Close it: annotation records live in temporary files.

    `unreadable`: things that could not be looked at, so that even a run without a failure did not do everything.
    """

    plan: Plan
    desired: Mapping[CollectionKey, DesiredCollection]
    unreadable: int
    addressed: AddressedSources = field(default_factory=AddressedSources)

    def __enter__(self) -> PlannedRun:
        return self

    def __exit__(self, *_: object) -> None:
        for collection in self.desired.values():
            collection.close()
        self.addressed.close()


@dataclass(slots=True)
class Planner:
    """`client` is None where the lake is not to be asked (`--refresh none`). `embedded_lake`: what the state calls it.
    `looked_at_ns`: when looking began, in nanoseconds since the epoch. `downloads_only`: collections and trash rules
    are not looked at."""

    manifest: LoadedManifest
    state: StateStore
    lake: str
    client: LakeClient | None
    options: RunOptions
    emit: EventSink
    looked_at_ns: int
    downloads_only: bool = False
    _notes: list[Note] = field(default_factory=list)
    _unreadable: int = 0
    _new_names: dict[CollectionKey, list[str]] = field(default_factory=dict)

    def plan(self) -> PlannedRun:
        """Observe everything and compare. Raises ManifestErrors, GuardStopped, and what the lake raises."""
        if self.downloads_only:
            downloads, _ = self._blocks().plan()
            return PlannedRun(
                Plan(self.manifest.source, self.state.serial, (), tuple(self._notes), downloads), {}, self._unreadable
            )
        recorded = self.state.collections.of_lake(self.lake)
        targets = chosen_targets(self.manifest, self.options)
        desired: dict[CollectionKey, DesiredCollection] = {}
        addressed = self._open_addressed()
        try:
            plans = []
            for collection in open_collections(self.manifest, self.options, self.state, self.state.spelling(self.lake)):
                desired[collection.key] = collection
                named = [target for target in targets if target.collection == collection.key.name]
                if named or not targets:
                    part = self._whole_or_apart(collection, recorded.get(collection.key))
                    if part is None:
                        continue
                    if named:
                        part = part.keep_targets(named)
                    self._warn_of_shapes(part, recorded.get(collection.key))
                    plans.append(part)
            self._check_targets(targets, recorded)
            # Files that the manifest does not upload belong to no collection of it, so a target never means them.
            addressed_plans: tuple[AddressedPlan, ...] = ()
            if addressed is not None and not targets and self.options.scope is None:
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
            note = "is no longer in the manifest; what was put there stays in the lake"
            self._notes.append(Note(NoteCode.COLLECTION_LEFT, note, key.name))
        self._notes += replacement_notes(self.state, self.lake, plans, recorded)
        self._notes += self._abandoned(plans, recorded)
        blocks = self._blocks()
        downloads, trash_rules = blocks.plan()
        blocks.warn_of_contradictions(plans, recorded, desired, trash_rules)
        notes = [Note(NoteCode.MANIFEST, warning.message, str(warning.where)) for warning in self.manifest.warnings]
        by_rules = sum(rule.trashed for rule in trash_rules)
        guarded = too_many_deletes(plans, self.options.max_delete, by_rules=by_rules)
        notes += [*self._notes, *guarded]
        plan = Plan(
            self.manifest.source,
            self.state.serial,
            tuple(plans),
            tuple(notes),
            downloads,
            trash_rules,
            addressed_plans,
            self._attachments(plans, desired, addressed if not targets else None),
        )
        invalid = sum(note.code in UNUSABLE for note in notes)
        return PlannedRun(plan, desired, self._unreadable + invalid, addressed or AddressedSources())

    def _attachments(
        self,
        plans: Iterable[CollectionPlan],
        desired: Mapping[CollectionKey, DesiredCollection],
        addressed: AddressedSources | None,
    ) -> tuple[AttachModelRun, ...]:
        """Model runs that are due to be attached; none where a run is limited to some files."""
        blocks = [*self.manifest.model.annotations, *(b for one in self.manifest.collections for b in one.annotations)]
        if self.options.scope is not None or not any(block.destination_project_id for block in blocks):
            return ()
        from metalake_sync.planning.attachments import plan_attachments

        planned = {plan.key: desired[plan.key] for plan in plans}
        return plan_attachments(self.manifest, self.state.attached.of(self.lake), planned, addressed)

    def _check_targets(
        self, targets: list[Target], recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]]
    ) -> None:
        """Raise UsageError for a target that means nothing; a watch may be told of files that come later."""
        if self.options.set_apart is not None or self.options.targets_may_miss:
            return
        names: dict[CollectionKey, Iterable[str]] = {}
        for key, new in self._new_names.items():
            rows = self.state.files.names(recorded[key][0]) if key in recorded else ()
            names[key] = itertools.chain(new, rows)
        check_matched(targets, names, "on disk or in the state")

    def _abandoned(
        self,
        plans: Sequence[CollectionPlan],
        recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]],
    ) -> Iterator[Note]:
        """Files of interrupted runs that this plan does not send."""
        for key, found in dispositions(
            self.state, plans, recorded, set(map(key_of, self.manifest.collections)), partial=self.options.partial
        ):
            names = [file.name for one in found for file in one.unwanted]
            yield from note_on(key, found, self.state.files.named(recorded[key][0], names))

    # What a run can do without, where it may.

    def _set_apart(self, part: CollectionKey | None, error: ManifestError | GuardStopped) -> None:
        """Leave a part of the manifest out, or raise what is wrong with it."""
        if self.options.set_apart is None:
            raise error
        self.options.set_apart(Broken(part, None, error))

    def _whole_or_apart(
        self, desired: DesiredCollection, recorded: tuple[CollectionHandle, RecordedCollection] | None
    ) -> CollectionPlan | None:
        notes, unreadable = len(self._notes), self._unreadable
        try:
            return self._plan_collection(desired, recorded)
        except (ManifestError, GuardStopped) as error:
            self._set_apart(desired.key, error)
            del self._notes[notes:]
            self._unreadable = unreadable
            return None

    def _open_addressed(self) -> AddressedSources | None:
        try:
            return open_addressed(self.manifest, self.state.set_memo)
        except ManifestError as error:
            self._set_apart(None, error)
            return None

    def _plan_addressed(
        self, sources: AddressedSources, collections: Iterable[DesiredCollection]
    ) -> tuple[AddressedPlan, ...]:
        elsewhere = AddressedPlanner(
            sources,
            self.state,
            self.lake,
            self.client,
            self.options.calls_at_once,
            collections,
            full=self.options.refresh == "full",
        )
        try:
            plans = tuple(elsewhere.plan())
        except (ManifestError, GuardStopped) as error:
            self._set_apart(None, error)
            return ()
        self._notes += elsewhere.notes
        return plans

    # One collection.

    def _plan_collection(
        self, desired: DesiredCollection, recorded: tuple[CollectionHandle, RecordedCollection] | None
    ) -> CollectionPlan:
        handle, known = recorded if recorded else (None, None)
        full = self.options.refresh == "full"
        self.emit(Observing(f"listing {desired.key} in the lake"))
        view = view_lake(self.client, desired.key, known, full)
        known = known if known is not None and known.lake_id == view.lake_id else None
        self._guard_empty_annotations(desired, handle)
        rules = rules_of(desired, self.state)
        plan = CollectionPlan(
            desired.key,
            desired.policy,
            storage_prefix=desired.storage_prefix,
            lake_id=view.lake_id,
            storage_path=known.storage_path if known else None,
            head=desired.head,
            common_metadata=desired.common_metadata,
            recorded=self.state.files.count(handle) if handle is not None else 0,
        )
        recovered = found_in_lake(
            self.state, self.client, handle, view, self.manifest.base_dir, self.options.calls_at_once
        )
        plan.recovered = list(recovered.values())
        if handle is not None and recovered:
            plan.recorded += len(recovered) - len(self.state.files.named(handle, recovered))
        look = self._look_in_full(rules, desired, handle, known, view, recovered) if full else None
        head_digest = known.head_digest if known else None
        lake_head = self._head_in_lake(desired, view, look) if full else None
        verdict = compare_head(
            rules, desired.head, exists=view.lake_id is not None, written_digest=head_digest, lake=lake_head
        )
        plan.take(verdict, wanted=False)
        self._notes += verdict.notes

        believed = view.listing is None
        with Hasher(self.options.hash_threads) as hasher:
            closely = CloseLook(
                self.state,
                handle,
                self.client,
                self.manifest.base_dir,
                self.options,
                self.emit,
                self.looked_at_ns,
                hasher,
                plan.recovered,
            )
            march = CollectionMarch(
                desired,
                self.state,
                handle,
                view.listing,
                scanned=lambda count: self.emit(Observing(f"scanning {desired.key}", count)),
                verify=closely.holding if self.options.checksum else None,
                scope=self.options.scope,
                hold=self.options.hold,
                recovered=recovered,
            )
            found = march.run()
            if self.options.targets:
                left_out = (problem.filename for problem in found.left_out)
                self._new_names[desired.key] = [*(one.name for one in found.candidates), *left_out]
            plan.unchanged += found.unchanged
            plan.held = frozenset(found.held)
            self._notes += found.notes
            self._unreadable += sum(problem.hides_files or problem.is_failure for problem in found.left_out)
            judged = Judge(rules, plan, desired, view, closely, look)
            judged.judge(found)
        self._notes += judged.notes
        self._unreadable += closely.unreadable
        if view.count is not None:
            # Believed records are in the lake, all of them: that is what the markers say.
            plan.unmanaged += view.count - judged.matched - (plan.recorded - judged.recorded if believed else 0)
        if view.listing is not None and not believed:
            self._notes += _duplicates(desired.key, view.listing)
            if handle is not None and known is not None and judged.in_step and not found.left_out:
                self._remember(handle, known, view, look, desired)
        self.state.flush_caches()
        if self.options.scope is None:
            self._notes += loose_ends(desired)
        return plan

    def _look_in_full(
        self,
        rules: CollectionRules,
        desired: DesiredCollection,
        handle: CollectionHandle | None,
        known: RecordedCollection | None,
        view: LakeView,
        recovered: Mapping[str, RecordedFile],
    ) -> FullLook | None:
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

    def _head_in_lake(self, desired: DesiredCollection, view: LakeView, look: FullLook | None) -> MetadataValues | None:
        """The metadata of the collection's head, as far as it is ours or wanted."""
        if view.lake_id is None or self.client is None:
            return None
        fields = dict.fromkeys((*desired.head.values, *(look.head if look else ()), TAGS), True)
        details = self.client.collection_details(view.lake_id, fields)
        from metalake_sync.remote.item_details import fields_in

        return fields_in(details, fields)

    def _remember(
        self,
        handle: CollectionHandle,
        known: RecordedCollection,
        view: LakeView,
        look: FullLook | None,
        desired: DesiredCollection,
    ) -> None:
        """The lake agrees with the records: keep what lets the next run see that cheaply."""
        assert view.listing is not None
        listed = (len(view.listing) + view.listing.duplicates, view.listing.newest)
        until = look.marker_by(desired.policy) if look else None
        seen = look.seen if look else []
        if listed == (known.listed_count, known.listed_newest) and until in (None, known.looked_until) and not seen:
            return
        with self.state.write():
            self.state.collections.record_listed(handle, *listed)
            self.state.annotation_sets.record_seen(handle, seen)
            if until is not None:
                self.state.collections.record_looked(handle, until)

    def _guard_empty_annotations(self, desired: DesiredCollection, handle: CollectionHandle | None) -> None:
        """A source that lost all its entries or shapes is a mistake more often than a wish to clear every image."""
        if handle is None or all(index.has_shapes for index in desired.annotations.values()):
            return
        recorded = self.state.annotation_sets.counts(handle)
        for operation, index in list(desired.annotations.items()):
            sets = recorded.get(operation, 0)
            if sets and not index.has_shapes and index.mode == "replace":
                what = f"the source of '{operation}' has no entry with a shape any more"
                check = "the source and 'labels'"
                if index.without_file:
                    what = f"no picture that an entry of '{operation}' means is in the collection any more"
                    check = "that the folders are mounted and the patterns are right"
                error = GuardStopped(
                    f"{what}, and the state knows {sets} sets",
                    where=index.declared_at,
                    remedy=f"Check {check}. If all are meant to be cleared, take the operation out.",
                )
                if self.options.set_apart is None:
                    raise error
                desired.leave_alone(operation)
                self.options.set_apart(Broken(desired.key, operation, error))

    def _blocks(self) -> Blocks:
        return Blocks(
            self.manifest,
            self.state,
            self.lake,
            self.client,
            self.options,
            self.emit,
            self._notes,
            downloads_only=self.downloads_only,
        )

    def _warn_of_shapes(
        self, plan: CollectionPlan, recorded: tuple[CollectionHandle, RecordedCollection] | None
    ) -> None:
        """Say which shapes of others go with the files that are replaced or trashed."""
        if self.client is None or plan.lake_id is None or plan.key.type is not MediaType.IMAGE:
            return
        lost = shapes_of_others(self.client, plan, self.state, recorded[0] if recorded else None)
        for name, shapes in lost.items():
            message = f"loses {shapes} shapes that were not drawn by this manifest"
            self._notes.append(Note(NoteCode.SETS_LOST, message, f"{plan.key}/{name}"))


def _duplicates(key: CollectionKey, listing: RemoteListing) -> Iterable[Note]:
    if listing.duplicates:
        message = f"lists {listing.duplicates} names twice; the first of each counts"
        yield Note(NoteCode.DUPLICATE_IN_LAKE, message, key.name)
