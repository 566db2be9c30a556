"""From three snapshots to a plan, collection by collection.

Owns: which looks are taken in which order, and the notes. Must not: decide (`core.diff`) or change anything but the
hash cache and the markers of what was seen in the lake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from metalake_sync.core.addressed import AddressedPlan
from metalake_sync.core.diff import CollectionRules, compare_head
from metalake_sync.core.diff_sets import OperationPolicy
from metalake_sync.core.downloads import DownloadPlan
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.facts import CollectionKey, MediaType, RecordedCollection
from metalake_sync.core.guards import too_many_deletes
from metalake_sync.core.metadata import TAGS, MetadataValues
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import CollectionPlan, Plan, TrashRulePlan
from metalake_sync.core.targets import Target, keep_targets, parse_target
from metalake_sync.engine.addressed import AddressedPlanner, AddressedSources, open_addressed
from metalake_sync.engine.close_look import CloseLook
from metalake_sync.engine.desired import DesiredCollection, key_of, open_collection
from metalake_sync.engine.judge import Judge
from metalake_sync.engine.lake_view import LakeView, view_lake
from metalake_sync.engine.loose_ends import loose_ends
from metalake_sync.engine.march import CollectionMarch
from metalake_sync.engine.new_labels import new_labels
from metalake_sync.engine.options import RunOptions
from metalake_sync.engine.set_apart import Broken
from metalake_sync.engine.set_check import shapes_of_others
from metalake_sync.errors import GuardStopped, ManifestError, ManifestErrors, UsageError
from metalake_sync.manifest import LoadedManifest
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.engine.refresh import FullLook
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.remote.observe import RemoteListing

WishT = TypeVar("WishT")
PlanT = TypeVar("PlanT")


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
    """`client` is None where the lake is not to be asked (`--refresh none`). `lake`: what the state calls it.
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

    def plan(self) -> PlannedRun:
        """Observe everything and compare. Raises ManifestErrors, GuardStopped, and what the lake raises."""
        if self.downloads_only:
            downloads, _ = self._beside_collections()
            return PlannedRun(
                Plan(self.manifest.source, self.state.serial, (), tuple(self._notes), downloads), {}, self._unreadable
            )
        recorded = self.state.records.collections(self.lake)
        targets = chosen_targets(self.manifest, self.options)
        desired: dict[CollectionKey, DesiredCollection] = {}
        addressed = self._open_addressed()
        try:
            plans = []
            for collection in open_collections(self.manifest, self.options, self.state):
                desired[collection.key] = collection
                named = [target for target in targets if target.collection == collection.key.name]
                if named or not targets:
                    part = self._whole_or_apart(collection, recorded.get(collection.key))
                    if part is None:
                        continue
                    if named:
                        keep_targets(part, named)
                    self._warn_of_shapes(part, recorded.get(collection.key))
                    plans.append(part)
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
        downloads, trash_rules = self._beside_collections()
        self._warn_of_contradictions(plans, recorded, desired, trash_rules)
        notes = [Note(NoteCode.MANIFEST, warning.message, str(warning.where)) for warning in self.manifest.warnings]
        by_rules = sum(len(rule.items) for rule in trash_rules)
        guarded = too_many_deletes(plans, self.options.max_delete, by_rules=by_rules)
        notes += [*self._notes, *guarded]
        plan = Plan(
            self.manifest.source, self.state.serial, tuple(plans), tuple(notes), downloads, trash_rules, addressed_plans
        )
        return PlannedRun(plan, desired, self._unreadable, addressed or AddressedSources())

    # What a run can do without, where it may.

    def _set_apart(self, part: CollectionKey | None, error: ManifestError | GuardStopped) -> None:
        """Leave a part of the manifest out, or raise what is wrong with it."""
        if self.options.set_apart is None:
            raise error
        self.options.set_apart(Broken(part, None, error))

    def _whole_or_apart(
        self, desired: DesiredCollection, recorded: tuple[int, RecordedCollection] | None
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
            sources, self.state, self.lake, self.client, self.options.calls_at_once, collections
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
        self, desired: DesiredCollection, recorded: tuple[int, RecordedCollection] | None
    ) -> CollectionPlan:
        row_id, known = recorded if recorded else (None, None)
        full = self.options.refresh == "full"
        self.emit(Observing(f"listing {desired.key} in the lake"))
        view = view_lake(self.client, desired.key, known, full)
        known = known if known is not None and known.lake_id == view.lake_id else None
        self._guard_empty_annotations(desired, row_id)
        rules = rules_of(desired, self.state)
        plan = CollectionPlan(
            desired.key,
            desired.policy,
            storage_prefix=desired.storage_prefix,
            lake_id=view.lake_id,
            storage_path=known.storage_path if known else None,
            head=desired.head,
            common_metadata=desired.common_metadata,
            recorded=self.state.records.file_count(row_id) if row_id is not None else 0,
        )
        look = self._look_in_full(rules, desired, row_id, known, view) if full else None
        head_digest = known.head_digest if known else None
        lake_head = self._head_in_lake(desired, view, look) if full else None
        verdict = compare_head(
            rules, desired.head, exists=view.lake_id is not None, written_digest=head_digest, lake=lake_head
        )
        plan.take(verdict, wanted=False)
        self._notes += verdict.notes

        believed = view.listing is None
        closely = CloseLook(self.state, self.client, self.manifest.base_dir, self.options, self.emit, self.looked_at_ns)
        march = CollectionMarch(
            desired,
            self.state,
            row_id,
            view.listing,
            scanned=lambda count: self.emit(Observing(f"scanning {desired.key}", count)),
            verify=closely.holding if self.options.checksum else None,
            scope=self.options.scope,
            hold=self.options.hold,
        )
        found = march.run()
        plan.unchanged += found.unchanged
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
            if row_id is not None and known is not None and judged.in_step and not found.left_out:
                self._remember(row_id, known, view, look, desired)
        self.state.flush_caches()
        if self.options.scope is None:
            self._notes += loose_ends(desired)
        return plan

    def _look_in_full(
        self,
        rules: CollectionRules,
        desired: DesiredCollection,
        row_id: int | None,
        known: RecordedCollection | None,
        view: LakeView,
    ) -> FullLook | None:
        if self.client is None or row_id is None or known is None or view.listing is None:
            return None
        from metalake_sync.engine.refresh import FullRefresh, Marker

        marker = Marker.read(known.looked_until, desired.policy)
        return FullRefresh(
            self.client,
            self.state,
            self.manifest.base_dir,
            rules,
            desired,
            row_id,
            known,
            view.listing,
            marker,
            self.options.calls_at_once,
            self.emit,
        ).run()

    def _head_in_lake(self, desired: DesiredCollection, view: LakeView, look: FullLook | None) -> MetadataValues | None:
        """The metadata of the collection's head, as far as it is ours or wanted."""
        if view.lake_id is None or self.client is None:
            return None
        fields = dict.fromkeys((*desired.head.values, *(look.head if look else ()), TAGS), True)
        details = self.client.collection_details(view.lake_id, fields)
        return {name: value for name, value in details.items() if name in fields}

    def _remember(
        self, row_id: int, known: RecordedCollection, view: LakeView, look: FullLook | None, desired: DesiredCollection
    ) -> None:
        """The lake agrees with the records: keep what lets the next run see that cheaply."""
        assert view.listing is not None
        listed = (len(view.listing) + view.listing.duplicates, view.listing.newest)
        until = look.marker_by(desired.policy) if look else None
        seen = look.seen if look else []
        if listed == (known.listed_count, known.listed_newest) and until in (None, known.looked_until) and not seen:
            return
        with self.state.write():
            self.state.records.record_listed(row_id, *listed)
            self.state.records.record_seen(row_id, seen)
            if until is not None:
                self.state.records.record_looked(row_id, until)

    def _guard_empty_annotations(self, desired: DesiredCollection, row_id: int | None) -> None:
        """A source that lost all its entries or shapes is a mistake more often than a wish to clear every image."""
        if row_id is None or all(index.has_shapes for index in desired.annotations.values()):
            return
        recorded = self.state.records.set_counts(row_id)
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

    # Downloads and trash rules.

    def _beside_collections(self) -> tuple[tuple[DownloadPlan, ...], tuple[TrashRulePlan, ...]]:
        model = self.manifest.model
        if self.options.targets or self.options.scope is not None or not (model.downloads or model.trash):
            return (), ()
        if self.client is None:
            message = "downloads and trash rules are left out, because the lake is not asked"
            self._notes.append(Note(NoteCode.LAKE_NOT_ASKED, message, self.manifest.source))
            return (), ()
        from metalake_sync.engine.downloads.plan import DownloadObserver
        from metalake_sync.engine.downloads.wishes import download_wishes, trash_selections

        observer = DownloadObserver(self.client, self.state.downloads, self.lake, self.manifest.base_dir, self.emit)
        downloads = tuple(
            self._meant("downloads", number, observer.plan, wish)
            for number, wish in enumerate(download_wishes(self.manifest, self.client))
        )
        for download in downloads:
            if download.missing:
                message = f"the lake has no collection '{download.wish.key}' to download yet"
                self._notes.append(Note(NoteCode.DOWNLOAD_WITHOUT_COLLECTION, message, download.wish.declared_at))
            wanted = download.wish.annotations
            if wanted is not None and wanted.operations and download.nothing_drawn:
                message = f"no image of '{download.wish.key}' has a shape of {', '.join(map(repr, wanted.operations))}"
                self._notes.append(Note(NoteCode.NO_SUCH_ANNOTATIONS, message, download.wish.declared_at))
            for line in download.losses:
                message = f"the annotations' format does not hold everything: {line}"
                self._notes.append(Note(NoteCode.ANNOTATIONS_NOT_HELD, message, download.wish.declared_at))
        if self.downloads_only:
            return downloads, ()
        rules = tuple(
            self._meant("trash", number, observer.plan_trash, selection)
            for number, selection in enumerate(trash_selections(self.manifest, self.client))
        )
        return downloads, rules

    def _meant(self, section: str, number: int, plan: Callable[[WishT], PlanT], wish: WishT) -> PlanT:
        """Plan one block. A query that the lake does not take is a mistake at its line."""
        try:
            return plan(wish)
        except UsageError as error:
            where = self.manifest.where(section, number, "query")
            raise ManifestError(error.message, where=where, remedy=error.remedy) from None

    def _warn_of_contradictions(
        self,
        plans: Sequence[CollectionPlan],
        recorded: Mapping[CollectionKey, tuple[int, RecordedCollection]],
        desired: Mapping[CollectionKey, DesiredCollection],
        rules: Sequence[TrashRulePlan],
    ) -> None:
        """Say which files this manifest both syncs and trashes by a rule: each run would undo the one before."""
        matched = {item.file.lake_id for rule in rules for item in rule.items}
        if not matched:
            return
        for plan in plans:
            if plan.key not in recorded:
                continue
            pruned = {action.recorded.name for action in plan.trash}
            both = [
                file.name
                for file in self.state.records.all_files(recorded[plan.key][0])
                if file.lake_id in matched and file.name not in pruned and desired[plan.key].takes(file.path)
            ]
            if both:
                more = f" and {len(both) - 1} more" if len(both) > 1 else ""
                message = f"{both[0]}{more} are synced by this manifest and match its trash rules: the next run sends "
                message += "them again. Take them out of the folder, or narrow the rule"
                self._notes.append(Note(NoteCode.SYNCED_AND_TRASHED, message, str(plan.key)))

    def _warn_of_shapes(self, plan: CollectionPlan, recorded: tuple[int, RecordedCollection] | None) -> None:
        """Say which shapes of others go with the files that are replaced or trashed."""
        if self.client is None or plan.lake_id is None or plan.key.type is not MediaType.IMAGE:
            return
        lost = shapes_of_others(self.client, plan, self.state, recorded[0] if recorded else None)
        for name, shapes in lost.items():
            message = f"loses {shapes} shapes that were not drawn by this manifest"
            self._notes.append(Note(NoteCode.SETS_LOST, message, f"{plan.key}/{name}"))


def chosen_targets(manifest: LoadedManifest, options: RunOptions) -> list[Target]:
    """The parts that a run is limited to; none is everything. Raises UsageError for one that there is not."""
    names = [collection.name for collection in manifest.collections]
    targets = []
    for text in options.targets:
        target = parse_target(text, names)
        if target is None:
            raise UsageError(
                f"'--target {text}' names no collection of the manifest",
                remedy=f"Write COLLECTION or COLLECTION/GLOB; there are {', '.join(names) or 'none'}.",
            )
        targets.append(target)
    return targets


def rules_of(desired: DesiredCollection, state: StateStore) -> CollectionRules:
    """What decisions in a collection rest on."""
    return CollectionRules(
        desired.key,
        desired.policy,
        state.records.written_metadata,
        {operation: OperationPolicy(index.kind, index.mode) for operation, index in desired.annotations.items()}
        | desired.left_alone,
    )


def open_collections(
    manifest: LoadedManifest, options: RunOptions | None = None, state: StateStore | None = None
) -> Iterator[DesiredCollection]:
    """Open every collection of a manifest. The mistakes of all of them are raised together, before any is planned;
    where the options have `set_apart`, it is told of them, and the rest is opened. `state`: keeps what is read."""
    options = options or RunOptions()
    set_apart, kept, scoped = options.set_apart, options.kept, options.scope is not None
    readings, memo = (state.readings, state.set_memo) if state is not None else (None, None)
    opened: list[DesiredCollection] = []
    mistakes: list[ManifestError] = []
    for collection in manifest.collections:
        try:
            opened.append(open_collection(manifest, collection, readings, set_apart, kept, memo, scoped=scoped))
        except ManifestError as error:
            if set_apart is not None:
                set_apart(Broken(key_of(collection), None, error))
            else:
                mistakes += error.errors if isinstance(error, ManifestErrors) else [error]
    if mistakes:
        for collection_opened in opened:
            collection_opened.close()
        raise ManifestErrors(mistakes)
    yield from opened


def _duplicates(key: CollectionKey, listing: RemoteListing) -> Iterable[Note]:
    if listing.duplicates:
        message = f"lists {listing.duplicates} names twice; the first of each counts"
        yield Note(NoteCode.DUPLICATE_IN_LAKE, message, key.name)
