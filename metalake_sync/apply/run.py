"""One run of a plan: the checks before it, its execution, and its history.

Owns: what stops a run and what is left out of it (blocking notes, actions without approval, stale saved plans), the
history of the run, and the client for its calls. Must not: make the plan, or approve it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.apply.provenance import find_provenance
from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import Action
from metalake_sync.core.approved_plan import ApprovedPlan, files_to_compare, find_stale_facts, keep_approved
from metalake_sync.core.checks import LIST_ALL_FINDINGS
from metalake_sync.core.events import RunFinished, Waiting
from metalake_sync.core.notes import GUARDS, Note, NoteCode
from metalake_sync.core.plan import Plan
from metalake_sync.core.snapshots import CollectionKey, DesiredFile
from metalake_sync.errors import GuardStopped, Interrupted, SyncError
from metalake_sync.lake_access import ReachedLake
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.interrupted_runs import decide_open_sessions, deduct_sent
from metalake_sync.planning.planner import PlannedRun
from metalake_sync.planning.run_options import RUN_RETRY_TIMEOUT_S, RunOptions
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.apply.executor import Executor
    from metalake_sync.apply.upload_executors.choosing import WorkerChoice


@dataclass(frozen=True, slots=True)
class ApplyRun:
    """Carries out one plan."""

    base_dir: Path
    in_manifest: Set[CollectionKey]
    """The collections of the manifest."""
    options: RunOptions
    state: StateStore
    lake: ReachedLake
    recorder: Recorder
    command_line: Sequence[str] = ()
    """The words of the command line. Empty: the run was not started from one."""
    workers: WorkerChoice | None = None
    """Who else sends files. None: this process only."""

    def execute(self, planned: PlannedRun, command: str, *, partial: bool) -> RunFinished:
        """Carry out the plan, and write the history of the run. A plan without actions leaves no history."""
        recorder = self.recorder
        recorder.count_untouched(planned.plan.summary())
        self._add_bases(planned)
        owed = self.state.pending_replacements.owed()
        recorded = self.state.collections.of_lake(self.lake.identity)
        left_open = dict(
            decide_open_sessions(
                self.state,
                planned.plan.collections,
                recorded,
                self.in_manifest,
                partial=partial,
                base_dir=self.base_dir,
                threads=self.options.hash_threads,
            )
        )
        if partial:
            deduct_sent(planned.plan.collections, left_open)
        if planned.plan.empty and not planned.plan.bookkeeping and not owed and not left_open:
            return recorder.finish()
        started = find_provenance(
            self.base_dir, self.command_line, (self.lake.address.api_key, self.lake.address.secret)
        )
        with self.state.write():
            self.state.runs.begin(recorder.run_id, command, _now(), started, self.lake.identity)
        outcome = "failed"
        try:
            with self._executor() as executor:
                executor.execute(planned.plan, planned.desired, planned.addressed, left_open)
            outcome = "some_failed" if recorder.failures else "done"
        except (KeyboardInterrupt, Interrupted):
            outcome = "interrupted"
            raise
        finally:
            with self.state.write():
                self.state.runs.finish(recorder.run_id, _now(), outcome, recorder.summary())
                self.state.advance_serial()
        return recorder.finish()

    def _add_bases(self, planned: PlannedRun) -> None:
        """Keep the shapes of sets that an earlier version recorded without them, where the sources still have them.

        The digests say that the shapes are the same, so this changes no record.
        """
        sets = self.state.annotation_sets
        for key, desired in planned.desired.items():
            if desired.annotations and key in self.recorder.handles:
                handle = self.recorder.handles[key]
                for page in sets.without_base(handle):
                    with self.state.write():
                        sets.add_bases(handle, page, desired.recorded_shapes)

    @contextlib.contextmanager
    def _executor(self) -> Iterator[Executor]:
        """An executor whose client retries as long as a running apply may wait."""
        from metalake_sync.apply.executor import Executor
        from metalake_sync.remote.client import LakeClient
        from metalake_sync.remote.retry import RetryPolicy

        emit = self.recorder.emit
        retry = RetryPolicy(give_up_after_s=RUN_RETRY_TIMEOUT_S, waiting=lambda clause: emit(Waiting(clause)))
        with LakeClient(self.lake.address, retry=retry, counter=self.recorder.tally) as client:
            yield Executor(
                client,
                self.lake.address,
                self.recorder,
                self.base_dir,
                self.lake.identity,
                self.in_manifest,
                self.options,
                self.workers,
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


STALE_SHOWN = 5

BLOCKING_SHOWN = 5

OnHeld = Callable[[Sequence[Action], Sequence[Note]], None]
"""Receives the actions that were left out of a run, and the blocking notes of the plan."""


def hold_back(plan: Plan, approve: Callable[[Plan], bool], on_held: OnHeld) -> Plan:
    """Return the plan without the actions that are not approved, without what failed a check, and without its blocking
    notes."""
    plan = plan.without_failed_checks()
    if not plan.blocking_notes and (not plan.destructive or approve(plan)):
        return plan
    blocking = plan.blocking_notes
    rest, held = plan.without_destructive()
    on_held(held, blocking)
    return replace(rest, notes=tuple(note for note in rest.notes if note not in blocking))


def stop_if_blocked(plan: Plan) -> None:
    """Raise an error if the plan has blocking notes."""
    blocking = plan.blocking_notes
    if not blocking:
        return
    listed = "; ".join(map(str, blocking[:BLOCKING_SHOWN]))
    more = f" and {len(blocking) - BLOCKING_SHOWN} more" if len(blocking) > BLOCKING_SHOWN else ""
    if all(note.code is NoteCode.CHECK_FAILED for note in blocking):
        raise GuardStopped(f"nothing was done: {listed}{more}", remedy=LIST_ALL_FINDINGS)
    if any(note.code in GUARDS for note in blocking):
        raise GuardStopped(f"nothing was done: {listed}{more}", remedy="Check the plan before you continue.")
    raise SyncError(f"nothing was done: {listed}{more}", remedy="Change 'on_change', or restore the old bytes.")


def require_approval(plan: Plan, approve: Callable[[Plan], bool]) -> None:
    """Raise GuardStopped if the plan is destructive and not approved."""
    if plan.destructive and not approve(plan):
        raise GuardStopped(
            "the plan trashes, replaces or removes something, or overwrites what another client wrote,"
            " and it was not approved",
            remedy="Nothing was done. Check the plan, and use --auto-approve if it is right.",
        )


def limit_to_approved(
    approved: ApprovedPlan,
    plan: Plan,
    manifest_digest: str,
    hash_sent: Callable[[Iterable[DesiredFile]], dict[str, str]],
) -> Plan:
    """Return the plan with the actions of a saved plan only. Raise GuardStopped if the saved plan is stale.

    `hash_sent`: returns path → content hash of files.
    """
    contents = hash_sent(files_to_compare(approved, plan))
    stale = list(islice(find_stale_facts(approved, plan, manifest_digest, contents), STALE_SHOWN + 1))
    if stale:
        more = "; and more" if len(stale) > STALE_SHOWN else ""
        raise GuardStopped(
            f"the plan is stale: {'; '.join(stale[:STALE_SHOWN])}{more}",
            remedy="Nothing was done. Make a new plan with 'plan --out', and check it.",
        )
    return keep_approved(approved, plan, contents)
