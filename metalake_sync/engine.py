"""A manifest with its state and its lake, open: `Engine` plans, applies, pulls and validates.

Everything that a user can start goes through it: commands, the watcher, the pages and the Python API.

Owns: opening and closing the lake, the state and its lock, in the right order. Must not: decide what becomes of a
file, or know of a terminal. Longer than 300 lines, because every way to open and close a lake, a state and its lock
in order is here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from metalake_sync.apply.recorder import Recorder
from metalake_sync.apply.run import ApplyRun, OnHeld, hold_back, limit_to_approved, require_approval, stop_if_blocked
from metalake_sync.core.actions import Action
from metalake_sync.core.approved_plan import ApprovedPlan
from metalake_sync.core.events import EventSink, Observing, PlanMade, RunFinished, Waiting
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import Plan
from metalake_sync.core.snapshots import DesiredFile
from metalake_sync.errors import ManifestError, UsageError
from metalake_sync.lake_access import ReachedLake, lake_identity, reach_lake
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.manifest.loading import manifest_digest
from metalake_sync.planning.desired import key_of
from metalake_sync.planning.planner import PlannedRun, Planner
from metalake_sync.planning.run_options import START_RETRY_TIMEOUT_S, RunOptions
from metalake_sync.planning.state_ownership import check_owner, check_shared_owner, claim_state, notes_on_repository
from metalake_sync.planning.written_names import (
    MetadataCheck,
    MetadataNames,
    check_metadata_names,
    notes_on_computed,
    notes_on_spelling,
    raise_objection,
)
from metalake_sync.protocol.routes import Generation
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.sources.hashing import HashRequest, hash_files
from metalake_sync.state.backends.base import StateBackend
from metalake_sync.state.backends.opening import check_location, find_location, open_backend
from metalake_sync.state.store import StateStore

SPELLING_ROUNDS = 3
"""How many times a plan is made at most, while the lake keeps returning other spellings."""

if TYPE_CHECKING:
    from metalake_sync.apply.upload_executors.choosing import WorkerChoice
    from metalake_sync.planning.pending_writes import PendingWrites
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.remote.generation_detection import Greeting


class MakesPlan(Protocol):
    """Makes one plan of the open state and lake."""

    def plan(self) -> PlannedRun: ...


PlannerFactory = Callable[[LoadedManifest, StateStore, str, "LakeClient | None", RunOptions, EventSink], MakesPlan]
"""Takes the manifest, the state, the lake's identity in it, a client, the options and the event sink."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of an apply."""

    finished: RunFinished
    unreadable: int
    """How many parts could not be read."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A plan, with the open state and lake that it was made from."""

    planned: PlannedRun
    state: StateStore
    client: LakeClient | None
    """None if the lake was not asked."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A manifest with everything that is needed to work on it."""

    manifest: LoadedManifest
    options: RunOptions
    emit: EventSink
    state: str | None = None
    """Where the state is: a path or a URL. None means where the environment or the manifest says, or the default path
    beside the manifest."""
    downloads_only: bool = False
    """Whether to plan and apply the manifest's downloads only."""
    reached: ReachedLake | None = None
    """The lake, if the caller opens and closes it."""
    command_line: tuple[str, ...] = ()
    """The words of the command line, for the history. Empty: the engine was not opened from one."""
    make_planner: PlannerFactory | None = None
    """Makes the planner of plans that do not follow from the manifest's sources. None: the ordinary one."""
    backends: dict[tuple[str | None, Path, str], StateBackend] = field(default_factory=dict)
    """The backends in use, by location. Engines that `replace` makes share them."""

    @property
    def state_backend(self) -> StateBackend:
        """Where the state is kept."""
        location = find_location(self.state, self.manifest.state, os.environ)
        where = (location, self.manifest.base_dir, self.manifest.name)
        if where not in self.backends:
            self.backends[where] = open_backend(*where)
        return self.backends[where]

    @property
    def state_path(self) -> Path:
        """The state's SQLite file on this machine."""
        return self.state_backend.path

    @contextlib.contextmanager
    def plan(self) -> Iterator[PlannedRun]:
        """Make a plan. Changes nothing but caches and markers."""
        with self.observe() as observed:
            yield observed.planned

    @contextlib.contextmanager
    def observe(self) -> Iterator[Observed]:
        """Make a plan, and keep the state and the lake open."""
        with StateStore(self.state_backend) as state:
            check_shared_owner(state, self.manifest)
            of_state = notes_on_repository(state, self.manifest)
            if self.options.refresh == "none":
                with self._planner(state, None).plan() as planned:
                    plan = replace(planned.plan, notes=(*of_state, *planned.plan.notes))
                    planned.plan = plan.without_notes(self._ignored)
                    yield Observed(planned, state, None)
                return
            with self._reach() as lake, self._client(lake, RequestCounter(), state) as client:
                greeting = self._greet(client, lake, state)
                with (
                    self._with_settled_writes(state, client) as settled,
                    self._planned(settled, client, [*of_state, *greeting.notes]) as (planned, check),
                ):
                    if check.objection is not None:
                        refused = Note(NoteCode.METADATA_REFUSED, f"the lake rejects it: {check.objection}")
                        planned.plan = replace(planned.plan, notes=(*planned.plan.notes, refused))
                    yield Observed(planned, settled, client)

    @contextlib.contextmanager
    def reach(self, state: StateStore | None = None) -> Iterator[LakeClient]:
        """A client of the manifest's lake, whose protocol generation is known. `state`: keeps the generation."""
        with self._reach() as lake, self._client(lake, RequestCounter(), state) as client:
            self._greet(client, lake, state)
            yield client

    def apply(
        self,
        approve: Callable[[Plan], bool],
        *,
        lock_timeout_s: float = 0.0,
        command: str = "apply",
        approved: ApprovedPlan | None = None,
        only: Callable[[Action], bool] | None = None,
        on_held: OnHeld | None = None,
    ) -> Applied:
        """Make the lake match the manifest.

        `approve`: called with the plan if it is destructive. `approved`: a saved plan, which is carried out as it is or
        not at all. `only`: limits the run to some actions. Raises GuardStopped if `approve` returns False or the saved
        plan is stale, StateLocked, and errors that concern the whole run. Failures of single items are in the result.

        With `on_held`, a plan that has blocking notes or is not approved does not stop the run. Destructive actions are
        left out and passed to `on_held`, and the others are carried out.
        """
        backend = self.state_backend
        with (
            backend.lock(command=command, timeout_s=lock_timeout_s, waiting=self._tell_waiting),
            StateStore(backend) as state,
            self._reach() as lake,
        ):
            of_state = notes_on_repository(state, self.manifest)
            unclaimed = not self.downloads_only and check_owner(state, self.manifest)
            tally = RequestCounter()
            started_at_ns = time.time_ns()
            run_id = new_run_id()
            with self._client(lake, tally, state) as client:
                greeting = self._greet(client, lake, state)
                if state.pending_writes.exist(lake.identity):
                    self._pending_writes(state, client).settle()
                lake = replace(lake, address=client.address)
                handles = {key: handle for key, (handle, _) in state.collections.of_lake(lake.identity).items()}
                recorder = Recorder(
                    state,
                    run_id,
                    lake.identity,
                    handles,
                    self.emit,
                    tally,
                    started_at_ns,
                    keep_failures=self.options.keep_failures,
                    looked=self.options.refresh == "full",
                )
                in_manifest = set(map(key_of, self.manifest.collections))
                run = ApplyRun(
                    self.manifest.base_dir,
                    in_manifest,
                    self.options,
                    state,
                    lake,
                    recorder,
                    self.command_line,
                    self._workers(),
                )
                notes = [*of_state, *greeting.notes]

                def timed(plan: Plan) -> bool:
                    with recorder.paused():
                        return approve(plan)

                with self._planned(state, client, notes, started_at_ns) as (planned, check):
                    if approved is not None:
                        planned.plan = limit_to_approved(
                            approved, planned.plan, manifest_digest(self.manifest), self.hash_sent
                        )
                    if only is not None:
                        kept = replace(planned.plan, downloads=(), trash_rules=(), attachments=())
                        planned.plan = kept.keep(only)
                    self.emit(PlanMade(planned.plan))
                    if on_held is not None:
                        planned.plan = hold_back(planned.plan, timed, on_held)
                    if only is None:
                        stop_if_blocked(planned.plan)
                    require_approval(planned.plan, timed)
                    raise_objection(check, planned.plan.manifest)
                    if unclaimed:
                        claim_state(state, self.manifest)
                    partial = self.options.partial or only is not None or approved is not None
                    finished = run.execute(planned, command, partial=partial or self.downloads_only)
                self._delete_old_runs(state)
                return Applied(finished, planned.unreadable)

    def _workers(self) -> WorkerChoice | None:
        """The workers that the options or the manifest ask for. Raises UsageError if they could not call the lake."""
        workers = self.options.workers or self.manifest.model.run.workers
        # The embedded lake runs in this process, with credentials that only this process may know.
        if workers in (None, "0") or self.manifest.model.remote.embedded:
            return None
        from metalake_sync.apply.upload_executors.choosing import WorkerChoice
        from metalake_sync.manifest.credential_origin import credential_origin

        return WorkerChoice(workers, credential_origin(self.manifest))

    def _tell_waiting(self, clause: str) -> None:
        self.emit(Waiting(clause))

    def hash_sent(self, files: Iterable[DesiredFile]) -> dict[str, str]:
        """Return path → content hash of local files. Files that changed since the plan was made are missing."""
        base_dir = str(self.manifest.base_dir)
        wanted = {os.path.join(base_dir, file.path): file for file in files}
        requests = (HashRequest(path, file.fingerprint) for path, file in wanted.items())
        hashes: dict[str, str] = {}
        with contextlib.closing(hash_files(requests, self.options.hash_threads)) as outcomes:
            for number, outcome in enumerate(outcomes, start=1):
                if outcome.content_hash is not None:
                    hashes[wanted[outcome.path].path] = outcome.content_hash
                self.emit(Observing("hashing files to send", number))
        return hashes

    def _delete_old_runs(self, state: StateStore) -> None:
        """Delete runs that the history need not keep. Whole days are deleted, so that this happens once a day."""
        days = self.manifest.model.history.keep_days
        if days is not None:
            state.delete_old_runs((datetime.now(UTC).date() - timedelta(days=days)).isoformat())

    def pull(
        self,
        *,
        approve: Callable[[Plan], bool] = lambda _: False,
        lock_timeout_s: float = 0.0,
        command: str = "pull",
    ) -> Applied:
        """Carry out the manifest's downloads only. Raises the errors of `apply`.

        `approve`: called with the plan if it removes local files.
        """
        return replace(self, downloads_only=True).apply(approve, lock_timeout_s=lock_timeout_s, command=command)

    def validate(self, *, online: bool) -> Plan:
        """Check the manifest, its files, patterns and sources, and the address of the state.

        With `online`, ask the lake about tags and fields. Returns the plan of a first apply, for its counts and notes.
        """
        state_notes = self._check_state_address()
        with StateStore(None) as state, self._planner(state, None).plan() as planned:
            plan = planned.plan
        names = MetadataNames.written_by(plan)
        plan = replace(plan, notes=(*plan.notes, *state_notes, *notes_on_computed(names)))
        if online:
            with self.reach() as client:
                check = check_metadata_names(client, names)
            raise_objection(check, plan.manifest)
            plan = replace(plan, notes=(*plan.notes, *notes_on_spelling(names, check.spelling)))
        return plan.without_notes(self._ignored)

    @property
    def _ignored(self) -> Sequence[str]:
        """The codes of the notes that the manifest does not want to see."""
        return self.manifest.model.notes.ignore

    def _check_state_address(self) -> list[Note]:
        """Check where the state is, without opening it. Raises UsageError and ManifestError."""
        elsewhere = find_location(self.state, None, os.environ)
        where = self.manifest.where("state")
        try:
            missing = check_location(elsewhere or self.manifest.state, self.manifest.name)
        except UsageError as error:
            if elsewhere is not None:
                raise
            raise ManifestError(error.message, where=where, remedy=error.remedy) from None
        if missing is None:
            return []
        message = f"the state is in a store whose library is not installed on this machine; run: {missing}"
        return [Note(NoteCode.MANIFEST, message, str(where) if elsewhere is None else elsewhere)]

    def _reach(self) -> contextlib.AbstractContextManager[ReachedLake]:
        return reach_lake(self.manifest) if self.reached is None else contextlib.nullcontext(self.reached)

    def _planner(self, state: StateStore, client: LakeClient | None, started_at_ns: int | None = None) -> MakesPlan:
        if self.make_planner is not None:
            return self.make_planner(
                self.manifest, state, lake_identity(self.manifest), client, self.options, self.emit
            )
        return Planner(
            self.manifest,
            state,
            lake_identity(self.manifest),
            client if self.options.refresh != "none" else None,
            self.options,
            self.emit,
            started_at_ns if started_at_ns is not None else time.time_ns(),
            downloads_only=self.downloads_only,
        )

    @contextlib.contextmanager
    def _planned(
        self, state: StateStore, client: LakeClient, notes: Sequence[Note], started_at_ns: int | None = None
    ) -> Iterator[tuple[PlannedRun, MetadataCheck]]:
        """Make a plan, and ask the lake about the tags and fields that it writes. `notes`: the plan begins with them.

        If the lake spells some of them differently, the state learns the spelling, and a new plan is made with it.
        """
        lake = lake_identity(self.manifest)
        for rounds_left in reversed(range(SPELLING_ROUNDS)):
            with self._planner(state, client, started_at_ns).plan() as planned:
                names = MetadataNames.written_by(planned.plan)
                check = check_metadata_names(client, names)
                spelling = state.spelling(lake)
                if not check.spelling or not rounds_left:
                    of_names = (*notes_on_spelling(names, spelling), *notes_on_computed(names))
                    plan = replace(planned.plan, notes=(*notes, *planned.plan.notes, *of_names))
                    planned.plan = plan.without_notes(self._ignored)
                    yield planned, check
                    return
            with state.write():
                state.learn_spelling(lake, spelling.extended(check.spelling))

    @contextlib.contextmanager
    def _with_settled_writes(self, state: StateStore, client: LakeClient) -> Iterator[StateStore]:
        """The state to make a plan from: if a run was interrupted, a copy that has what the lake has of it."""
        if not state.pending_writes.exist(lake_identity(self.manifest)):
            yield state
            return
        from metalake_sync.planning.pending_writes import settled_copy

        with settled_copy(self._pending_writes(state, client)) as settled:
            yield settled

    def _pending_writes(self, state: StateStore, client: LakeClient) -> PendingWrites:
        # Imported here, because only a run after an interrupted one needs it: saves start-up time.
        from metalake_sync.planning.pending_writes import PendingWrites

        lake, base_dir, calls_at_once = lake_identity(self.manifest), self.manifest.base_dir, self.options.calls_at_once
        return PendingWrites(state, lake, client, base_dir, calls_at_once, self.emit)

    def _greet(self, client: LakeClient, lake: ReachedLake, state: StateStore | None) -> Greeting:
        """Detect which generation of the protocol the lake speaks, and record it in the state."""
        assumed = client.address.generation
        greeting = client.greet(pinned=lake.pinned, ignore_compatibility=self.options.ignore_compatibility)
        if state is not None and not lake.pinned and greeting.generation is not assumed:
            with state.write():
                state.learn(_generation_key(lake), str(int(greeting.generation)))
        return greeting

    def _client(self, lake: ReachedLake, tally: RequestCounter, state: StateStore | None) -> LakeClient:
        """A client that first tries the protocol generation in the state."""
        from metalake_sync.remote.client import LakeClient
        from metalake_sync.remote.retry import RetryPolicy

        address = lake.address
        remembered = state.learned(_generation_key(lake)) if state is not None and not lake.pinned else None
        if remembered is not None:
            address = replace(address, generation=Generation(int(remembered)))
        retry_timeout = self.options.retry_for_s if self.options.retry_for_s is not None else START_RETRY_TIMEOUT_S
        policy = RetryPolicy(give_up_after_s=retry_timeout, waiting=lambda clause: self.emit(Waiting(clause)))
        return LakeClient(address, retry=policy, counter=tally)


def new_run_id() -> str:
    """Return the id of a run that starts now."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def _generation_key(lake: ReachedLake) -> str:
    """The key under which the state keeps the protocol generation of a lake."""
    return f"generation {lake.identity}"
