"""The composition root: what `plan`, `apply`, `validate` and `status` are made of.

Owns: opening and closing the lake, the state and its lock in the right order. Must not: decide, or know of a terminal.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import Action
from metalake_sync.core.approval import Approved, find_stale_facts, keep_approved
from metalake_sync.core.events import EventSink, PlanMade, RunFinished, Waiting
from metalake_sync.core.notes import GUARDS, Note, NoteCode
from metalake_sync.core.plan import Plan
from metalake_sync.errors import GuardStopped, SyncError
from metalake_sync.lake_access import ReachedLake, lake_identity, reach_lake
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.manifest.loading import manifest_digest
from metalake_sync.planning.desired import key_of
from metalake_sync.planning.metadata_check import (
    MetadataCheck,
    MetadataNames,
    check_metadata_names,
    notes_on_computed,
    notes_on_spelling,
    raise_objection,
)
from metalake_sync.planning.open_sessions import decide_open_sessions
from metalake_sync.planning.planner import PlannedRun, Planner
from metalake_sync.planning.run_options import RUN_RETRY_TIMEOUT_S, START_RETRY_TIMEOUT_S, RunOptions
from metalake_sync.planning.state_ownership import claim_state
from metalake_sync.protocol.generations import Generation
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.state.backends.file import FileBackend, state_path
from metalake_sync.state.store import StateStore

MOVED_SHOWN = 5

SPELLING_ROUNDS = 3
"""How often a plan is made at most, while the lake goes on offering other spellings."""

Hold = Callable[[Sequence[Action], Sequence[Note]], None]
"""Told the actions that were left out of a run, and the notes that refuse a plan."""


if TYPE_CHECKING:
    from metalake_sync.apply.executor import Executor
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.remote.generation_detection import Greeting


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an apply. `unreadable`: how many things could not even be looked at."""

    finished: RunFinished
    unreadable: int


@dataclass(frozen=True, slots=True)
class Observed:
    """A plan, and what it was made from. `client`: None where the lake was not asked."""

    planned: PlannedRun
    state: StateStore
    client: LakeClient | None


@dataclass(frozen=True, slots=True)
class Project:
    """A manifest with everything that is needed to work on it. `state_file`: None is the place beside the manifest.
    `downloads_only`: nothing but the manifest's downloads is looked at and done. `reached`: the lake, where somebody
    else opened it and will close it."""

    manifest: LoadedManifest
    options: RunOptions
    emit: EventSink
    state_file: Path | None = None
    downloads_only: bool = False
    reached: ReachedLake | None = None

    @property
    def state_backend(self) -> FileBackend:
        """Where the state is kept."""
        return FileBackend(self.state_file or state_path(self.manifest.base_dir, self.manifest.name))

    @property
    def state_path(self) -> Path:
        """The state's SQLite file."""
        return self.state_backend.path

    @contextlib.contextmanager
    def plan(self) -> Iterator[PlannedRun]:
        """Observe and compare; change nothing but the hash cache."""
        with self.observe() as observed:
            yield observed.planned

    @contextlib.contextmanager
    def observe(self) -> Iterator[Observed]:
        """The same, with the state and the lake still open."""
        with StateStore(self.state_backend) as state:
            if self.options.refresh == "none":
                with self._planner(state, None).plan() as planned:
                    yield Observed(planned, state, None)
                return
            with self._reach() as lake, self._client(lake, RequestCounter(), state) as client:
                greeting = self._greet(client, lake, state)
                with self._planned(state, client, greeting) as (planned, word):
                    if word.objection is not None:
                        refused = Note(NoteCode.METADATA_REFUSED, f"the lake does not take it: {word.objection}")
                        planned.plan = replace(planned.plan, notes=(*planned.plan.notes, refused))
                    yield Observed(planned, state, client)

    @contextlib.contextmanager
    def reach(self, state: StateStore | None = None) -> Iterator[LakeClient]:
        """A client of the manifest's lake, which is up and speaks our protocol. `state`: what remembers which
        generation of it."""
        with self._reach() as lake, self._client(lake, RequestCounter(), state) as client:
            self._greet(client, lake, state)
            yield client

    def apply(
        self,
        approve: Callable[[Plan], bool],
        *,
        lock_timeout_s: float = 0.0,
        command: str = "apply",
        approved: Approved | None = None,
        only: Callable[[Action], bool] | None = None,
        hold: Hold | None = None,
    ) -> Applied:
        """Bring the lake to what the manifest says.

        `approve` is asked once the plan is made, and only where it takes something away. `approved`: a saved plan,
        carried out as it is or not at all. `only`: the actions to do, where not all are. Raises GuardStopped when
        `approve` says no or the saved plan is stale, StateLocked, and whatever concerns the whole run; items that fail
        are in the result.

        With `hold`, a plan that is refused or not approved does not stop the run: what takes something away is left out
        and told to `hold`, and the rest is done.
        """
        with (
            self.state_backend.lock(command=command, timeout_s=lock_timeout_s),
            StateStore(self.state_backend) as state,
            self._reach() as lake,
        ):
            if not self.downloads_only:
                claim_state(state, self.manifest)
            tally = RequestCounter()
            started_at_ns = time.time_ns()
            run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
            with self._client(lake, tally, state) as client:
                greeting = self._greet(client, lake, state)
                lake = replace(lake, address=client.address)
                handles = {key: handle for key, (handle, _) in state.collections.of_lake(lake.identity).items()}
                recorder = Recorder(
                    state,
                    run_id,
                    handles,
                    self.emit,
                    tally,
                    started_at_ns,
                    keep_failures=self.options.keep_failures,
                )
                run = _Run(self, state, lake, recorder)
                with self._planned(state, client, greeting, started_at_ns) as (planned, word):
                    if approved is not None:
                        _hold_to(approved, planned, manifest_digest(self.manifest))
                    if only is not None:
                        kept = replace(planned.plan, downloads=(), trash_rules=(), attachments=())
                        planned.plan = kept.keep(only)
                    self.emit(PlanMade(planned.plan))
                    if hold is not None:
                        _hold_back(planned, approve, hold)
                    if only is None:
                        _refuse(planned.plan)
                    if planned.plan.destructive and not approve(planned.plan):
                        raise GuardStopped(
                            "the plan trashes, replaces or removes something, or overwrites what another client wrote,"
                            " and it was not approved",
                            remedy="Nothing was done. Look at the plan and give --auto-approve if it is right.",
                        )
                    raise_objection(word, planned.plan.manifest)
                    partial = self.options.partial or only is not None or approved is not None
                    finished = run.execute(planned, command, partial=partial or self.downloads_only)
                return Applied(finished, planned.unreadable)

    def pull(self, *, lock_timeout_s: float = 0.0, command: str = "pull") -> Applied:
        """Carry out the manifest's downloads and nothing else. Raises what `apply` raises but for approval."""
        return replace(self, downloads_only=True).apply(lambda _: False, lock_timeout_s=lock_timeout_s, command=command)

    def validate(self, *, online: bool) -> Plan:
        """Check the manifest, its files, patterns and sources; with `online`, ask the lake about tags and fields.

        Returns what a first apply would do, for its counts and notes.
        """
        with StateStore(None) as state, self._planner(state, None).plan() as planned:
            plan = planned.plan
        names = MetadataNames.written_by(plan)
        plan = replace(plan, notes=(*plan.notes, *notes_on_computed(names)))
        if online:
            with self.reach() as client:
                word = check_metadata_names(client, names)
            raise_objection(word, plan.manifest)
            plan = replace(plan, notes=(*plan.notes, *notes_on_spelling(names, word.spelling)))
        return plan

    def _reach(self) -> contextlib.AbstractContextManager[ReachedLake]:
        return reach_lake(self.manifest) if self.reached is None else contextlib.nullcontext(self.reached)

    def _planner(self, state: StateStore, client: LakeClient | None, started_at_ns: int | None = None) -> Planner:
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
        self, state: StateStore, client: LakeClient, greeting: Greeting, started_at_ns: int | None = None
    ) -> Iterator[tuple[PlannedRun, MetadataCheck]]:
        """Plan, and ask the lake about the tags and fields that the plan would write. Where the lake has its own
        spelling of some, the state learns it, and the plan is made anew with it."""
        lake = lake_identity(self.manifest)
        for rounds_left in reversed(range(SPELLING_ROUNDS)):
            with self._planner(state, client, started_at_ns).plan() as planned:
                names = MetadataNames.written_by(planned.plan)
                word = check_metadata_names(client, names)
                spelling = state.spelling(lake)
                if not word.spelling or not rounds_left:
                    of_names = (*notes_on_spelling(names, spelling), *notes_on_computed(names))
                    notes = (*greeting.notes, *planned.plan.notes, *of_names)
                    planned.plan = replace(planned.plan, notes=notes)
                    yield planned, word
                    return
            with state.write():
                state.learn_spelling(lake, spelling.extended(word.spelling))

    def _greet(self, client: LakeClient, lake: ReachedLake, state: StateStore | None) -> Greeting:
        """Find out which generation of the protocol the lake speaks, and remember it."""
        assumed = client.address.generation
        greeting = client.greet(pinned=lake.pinned, ignore_compatibility=self.options.ignore_compatibility)
        if state is not None and not lake.pinned and greeting.generation is not assumed:
            with state.write():
                state.learn(_generation_key(lake), str(int(greeting.generation)))
        return greeting

    def _client(self, lake: ReachedLake, tally: RequestCounter, state: StateStore | None) -> LakeClient:
        """A client that assumes the generation that the state remembers."""
        from metalake_sync.remote.client import LakeClient
        from metalake_sync.remote.retry import RetryPolicy

        address = lake.address
        remembered = state.learned(_generation_key(lake)) if state is not None and not lake.pinned else None
        if remembered is not None:
            address = replace(address, generation=Generation(int(remembered)))
        retry_timeout = self.options.retry_for_s if self.options.retry_for_s is not None else START_RETRY_TIMEOUT_S
        policy = RetryPolicy(give_up_after_s=retry_timeout, waiting=lambda words: self.emit(Waiting(words)))
        return LakeClient(address, retry=policy, counter=tally)


def _generation_key(lake: ReachedLake) -> str:
    """Under what the state remembers which generation of the protocol a lake speaks."""
    return f"generation {lake.identity}"


@dataclass(frozen=True, slots=True)
class _Run:
    """The part of an apply that changes something."""

    session: Project
    state: StateStore
    lake: ReachedLake
    recorder: Recorder

    def execute(self, planned: PlannedRun, command: str, *, partial: bool) -> RunFinished:
        """Do what the plan says, and keep the history of it."""
        recorder = self.recorder
        recorder.count_untouched(planned.plan.summary())
        owed = self.state.pending_replacements.owed()
        recorded = self.state.collections.of_lake(self.lake.identity)
        in_manifest = set(map(key_of, self.session.manifest.collections))
        left_open = dict(
            decide_open_sessions(self.state, planned.plan.collections, recorded, in_manifest, partial=partial)
        )
        if planned.plan.empty and not planned.plan.bookkeeping and not owed and not left_open:
            return recorder.finish()
        with self.state.write():
            self.state.runs.begin(recorder.run_id, command, _now())
        outcome = "failed"
        try:
            with self._executor() as executor:
                executor.execute(planned.plan, planned.desired, planned.addressed, left_open)
            outcome = "some_failed" if recorder.failures else "done"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            with self.state.write():
                self.state.runs.finish(recorder.run_id, _now(), outcome, recorder.summary())
                self.state.advance_serial()
        return recorder.finish()

    @contextlib.contextmanager
    def _executor(self) -> Iterator[Executor]:
        """With the patience of the middle of a run."""
        from metalake_sync.apply.executor import Executor
        from metalake_sync.remote.client import LakeClient
        from metalake_sync.remote.retry import RetryPolicy

        emit = self.session.emit
        retry = RetryPolicy(give_up_after_s=RUN_RETRY_TIMEOUT_S, waiting=lambda words: emit(Waiting(words)))
        with LakeClient(self.lake.address, retry=retry, counter=self.recorder.tally) as client:
            base_dir = self.session.manifest.base_dir
            yield Executor(client, self.lake.address, self.recorder, base_dir, self.lake.identity, self.session.options)


def _hold_back(planned: PlannedRun, approve: Callable[[Plan], bool], hold: Hold) -> None:
    """Leave out what is not approved, and the notes that would refuse the run as a whole."""
    plan = planned.plan
    if not plan.refusals and (not plan.destructive or approve(plan)):
        return
    refusals = plan.refusals
    rest, held = plan.without_destructive()
    hold(held, refusals)
    planned.plan = replace(rest, notes=tuple(note for note in rest.notes if note not in refusals))


def _refuse(plan: Plan) -> None:
    """Stop where the manifest forbids what would have to be done."""
    refusals = plan.refusals
    if not refusals:
        return
    listed = "; ".join(str(note) for note in refusals[:5])
    more = f" and {len(refusals) - 5} more" if len(refusals) > 5 else ""
    if any(note.code in GUARDS for note in refusals):
        raise GuardStopped(f"nothing was done: {listed}{more}", remedy="Look at the plan before you go on.")
    raise SyncError(f"nothing was done: {listed}{more}", remedy="Change 'on_change', or bring the old bytes back.")


def _hold_to(approved: Approved, planned: PlannedRun, digest: str) -> None:
    """Do what was approved, and that alone; refuse where any of it no longer holds."""
    moved = list(islice(find_stale_facts(approved, planned.plan, digest), MOVED_SHOWN + 1))
    if moved:
        more = "; and more" if len(moved) > MOVED_SHOWN else ""
        raise GuardStopped(
            f"the plan is stale: {'; '.join(moved[:MOVED_SHOWN])}{more}",
            remedy="Nothing was done. Make a new plan with 'plan --out', and look at it.",
        )
    planned.plan = keep_approved(approved, planned.plan)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
