"""`drift` and `check`: compare the lake with the records of the last apply, regardless of the manifest and the disk.

Owns: which records are compared. Drift: the truth table decides which actions would undo a difference, so drift reads
like a plan. Check: the lake has each recorded file with the recorded size and, on request, the recorded bytes. Must
not: change anything in the lake or in the state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from metalake_sync.core.actions import CreateCollection, Reason
from metalake_sync.core.diff import CollectionRules, compare, compare_head
from metalake_sync.core.events import Observing
from metalake_sync.core.metadata import NO_METADATA, MetadataSet
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import AddressedPlan, CollectionPlan, Plan
from metalake_sync.core.snapshots import CollectionKey, RecordedCollection, RecordedFile
from metalake_sync.core.targets import EXCLUDE_OPTION, Chosen, check_matched
from metalake_sync.engine import Engine
from metalake_sync.errors import GuardStopped, LakeRejected
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection, collection_rules, desired_as_recorded
from metalake_sync.planning.full_refresh import FullRefresh, FullRefreshResult, Marker
from metalake_sync.planning.lake_listing import LakeView, view_lake
from metalake_sync.planning.open_sources import open_sources
from metalake_sync.planning.run_options import chosen_parts, recorded_names
from metalake_sync.planning.unmanaged_files import UnmanagedPlanner
from metalake_sync.planning.unmanaged_sources import open_unmanaged, operations_elsewhere
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.content_proof import hash_of_object
from metalake_sync.remote.item_details import remote_details
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

PAGE = 1000

DOWNLOADS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Mismatch:
    collection: str
    file: str
    problem: str
    """A clause, such as "is not in the lake"."""


@dataclass(frozen=True, slots=True)
class Checked:
    files: int
    """How many files were checked."""
    bytes_read: int
    """How many bytes were downloaded."""
    mismatches: list[Mismatch]


def check(engine: Engine, *, download: bool) -> Checked:
    """Check every recorded file. `download`: also download its bytes and compare their hash."""
    files = bytes_read = 0
    mismatches: list[Mismatch] = []
    with StateStore(engine.state_backend) as state, engine.reach(state) as client:
        recorded = state.collections.of_lake(lake_identity(engine.manifest))
        chosen = _chosen(engine, state, recorded)
        for key, (handle, known) in recorded.items():
            view = view_lake(client, key, known, full=True)
            wanted = [file for file in state.files.all(handle) if chosen.takes(key.name, file.name)]
            for start in range(0, len(wanted), PAGE):
                page = wanted[start : start + PAGE]
                listed: list[RecordedFile] = []
                for file in page:
                    remote = view.of_recorded(file)
                    if remote is not None and remote.lake_id == file.lake_id:
                        listed.append(file)
                        continue
                    problem = "is not in the lake" if remote is None else "was replaced by another client"
                    mismatches.append(Mismatch(key.name, file.name, problem))
                right, wrong = _check_sizes(client, listed, engine.options.calls_at_once)
                mismatches += [Mismatch(key.name, name, problem) for name, problem in wrong]
                if download:
                    for file, size, bad in _check_bytes(client, right, engine.options.parallelism or DOWNLOADS_AT_ONCE):
                        bytes_read += size
                        if bad is not None:
                            mismatches.append(Mismatch(key.name, file.name, bad))
                files += len(page)
                engine.emit(Observing(f"checking {key}", files))
    return Checked(files, bytes_read, mismatches)


def _chosen(
    engine: Engine, state: StateStore, recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]]
) -> Chosen:
    """The part of the manifest to compare. Raises UsageError for what names no record."""
    chosen = chosen_parts(engine.manifest, engine.options)
    check_matched(chosen.targets, recorded_names(state, recorded), "in the state")
    check_matched(chosen.excluded, recorded_names(state, recorded), "in the state", EXCLUDE_OPTION)
    return chosen


def _check_sizes(
    client: LakeClient, files: Sequence[RecordedFile], threads: int
) -> tuple[list[RecordedFile], list[tuple[str, str]]]:
    details = remote_details(client, [(file.unique_name, ()) for file in files], threads)
    right: list[RecordedFile] = []
    wrong: list[tuple[str, str]] = []
    for file in files:
        found = details.get(file.unique_name)
        size = found.size_bytes if found is not None else None
        if not file.content_hash:
            # The lake's bytes differ on purpose ('on_change: keep').
            continue
        if size == file.fingerprint.size_bytes:
            right.append(file)
        else:
            recorded = f"{file.fingerprint.size_bytes} bytes were recorded"
            problem = f"has {size} bytes in the lake, but {recorded}"
            if size is None:
                problem = f"is not confirmed: the lake does not report its size, but {recorded}"
            wrong.append((file.name, problem))
    return right, wrong


def _check_bytes(
    client: LakeClient, files: Sequence[RecordedFile], at_once: int
) -> Iterator[tuple[RecordedFile, int, str | None]]:
    """Each file with the number of bytes read and its problem, if any."""
    with ThreadPoolExecutor(at_once, thread_name_prefix="check") as pool:
        yield from pool.map(lambda file: (file, *_check_one(client, file)), files)


def _check_one(client: LakeClient, file: RecordedFile) -> tuple[int, str | None]:
    try:
        url = client.download_url(file.unique_name)
    except LakeRejected as rejection:
        return 0, f"can't be downloaded ({rejection.message})"
    # The download URL is signed, which makes it a credential. Ours are not sent with it.
    size, content_hash, trouble = hash_of_object(url, client.address, file.fingerprint.size_bytes)
    if content_hash is None:
        return size, f"can't be downloaded ({trouble})"
    if size != file.fingerprint.size_bytes:
        return size, f"can't be downloaded (the store sent {size} of {file.fingerprint.size_bytes} bytes)"
    return size, None if content_hash == file.content_hash else "has different bytes in the lake than recorded"


def find_drift(engine: Engine) -> Plan:
    """Compare the lake with the records, in full. The returned plan would restore what was last applied."""
    with StateStore(engine.state_backend) as state, engine.reach(state) as client:
        recorded = state.collections.of_lake(lake_identity(engine.manifest))
        chosen = _chosen(engine, state, recorded)
        plans: list[CollectionPlan] = []
        notes: list[Note] = []
        spelling = state.spelling(lake_identity(engine.manifest))
        for desired in open_sources(engine.manifest, spelling=spelling):
            try:
                if desired.key in recorded and chosen.takes_part_of(desired.key.name):
                    plan = _drift_of(engine, state, client, desired, *recorded[desired.key], notes)
                    plans.append(plan.keep_chosen(chosen) if chosen else plan)
            finally:
                desired.close()
        addressed = () if chosen.targets else _drift_elsewhere(engine, state, client, notes)
        drift = Plan(engine.manifest.source, state.serial, tuple(plans), tuple(notes), addressed=addressed)
        return drift.without_notes(engine.manifest.model.notes.ignore)


def _drift_elsewhere(
    engine: Engine, state: StateStore, client: LakeClient, notes: list[Note]
) -> tuple[AddressedPlan, ...]:
    """Drift of unmanaged files. Entries whose source changed since the last apply are not compared."""
    sources = open_unmanaged(engine.manifest, state.set_memo)
    try:
        lake = lake_identity(engine.manifest)
        plans = UnmanagedPlanner(sources, state, lake, client, engine.options.calls_at_once, full=True).plan()
    except GuardStopped as emptied:
        notes.append(Note(NoteCode.SOURCE_NOTE, f"not compared: {emptied.message}", str(emptied.where or "")))
        return ()
    finally:
        sources.close()
    return tuple(
        replace(plan, actions=[one for one in plan.actions if one.reason is Reason.DRIFTED], settled=[], forgotten=[])
        for plan in plans
    )


def _drift_of(
    engine: Engine,
    state: StateStore,
    client: LakeClient,
    desired: DesiredCollection,
    handle: CollectionHandle,
    known: RecordedCollection,
    notes: list[Note],
) -> CollectionPlan:
    view = view_lake(client, desired.key, known, full=True)
    rules = collection_rules(desired, state, handle)
    # Show every difference, including those that the policies of the manifest would leave alone.
    rules = replace(
        rules,
        policy=replace(
            rules.policy, on_change="replace", adopt="take_over", prevent_destroy=False, on_trashed="restore"
        ),
        operations={name: replace(operation, on_drift="ask") for name, operation in rules.operations.items()},
    )
    plan = CollectionPlan(desired.key, rules.policy, lake_id=view.lake_id, recorded=state.files.count(handle))
    if view.lake_id != known.lake_id or view.listing is None:
        _all_gone(rules, state, handle, plan)
        return plan
    marker = Marker.read(known.looked_until, desired.policy)
    refreshed = FullRefresh(
        client,
        state,
        engine.manifest.base_dir,
        rules,
        desired,
        handle,
        known,
        view.listing,
        marker,
        engine.options.calls_at_once,
        engine.emit,
        elsewhere=operations_elsewhere(engine.manifest, state, lake_identity(engine.manifest)),
    ).run()
    if known.head_digest is not None:
        head = MetadataSet(state.metadata_sets.values(known.head_digest) or {}, known.head_digest)
        decision = compare_head(rules, head, exists=True, written_digest=known.head_digest, lake=refreshed.head)
        plan.take(decision, wanted=False)
    _compare_files(rules, state, handle, view, refreshed, plan, notes)
    return plan


def _compare_files(
    rules: CollectionRules,
    state: StateStore,
    handle: CollectionHandle,
    view: LakeView,
    refreshed: FullRefreshResult,
    plan: CollectionPlan,
    notes: list[Note],
) -> None:
    listed = 0
    for file in state.files.all(handle):
        _, remote = refreshed.differing.get(file.name, (file, view.of_recorded(file)))
        listed += remote is not None
        kept = replace(file, content_hash="unknown") if not file.content_hash else file
        decision = compare(rules, desired_as_recorded(rules, kept), kept, remote)
        plan.take(decision, wanted=True)
        notes += decision.notes
    plan.unmanaged = (view.count or 0) - listed


def _all_gone(rules: CollectionRules, state: StateStore, handle: CollectionHandle, plan: CollectionPlan) -> None:
    """Report all files as missing: the collection itself is gone, or a new one has its name."""
    plan.take_action(CreateCollection(rules.key, NO_METADATA, Reason.MISSING_IN_LAKE))
    for file in state.files.all(handle):
        plan.take(compare(rules, desired_as_recorded(rules, file), file, None), wanted=True)
