"""The manifest that the server shows: its status, its plan and its run.

Owns: what may happen at the same time. All methods are called in the event loop; they start work in threads. Must not:
know a page or a request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from metalake_sync.api.projects import project_of
from metalake_sync.api.results import ApplyResult
from metalake_sync.core.diff_sets import ConflictDecision, SetKey
from metalake_sync.engine import Engine
from metalake_sync.errors import GuardStopped, Interrupted
from metalake_sync.operations import source_check
from metalake_sync.operations.doctor import Finding, examine
from metalake_sync.operations.source_check import CheckedSources
from metalake_sync.operations.state import Status, read_status
from metalake_sync.state.backends.file import FileBackend, watch_lock
from metalake_sync.web.background import Changes, Work
from metalake_sync.web.image_cache import ImageCache
from metalake_sync.web.lake_reader import LakeReader
from metalake_sync.web.plans import PlanDesk, ShownPlan
from metalake_sync.web.runs import Run, listener
from metalake_sync.web.words import OpensEngine, Words

DAEMON_LOCK_TIMEOUT_S = 60.0
"""How long a run waits for a run of the daemon that serves the pages."""

DOCTOR_RETRY_S = 5.0
"""How long `doctor` retries an unreachable lake."""


class Workspace:
    """One manifest. `name`: how pages name it."""

    def __init__(
        self,
        name: str,
        open_engine: OpensEngine,
        words: Words,
        *,
        read_only: bool,
        daemon: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        """`daemon`: the health of the `watch` that serves the pages. None: no `watch` does."""
        self.name = name
        self.daemon = daemon
        self.watched_by: str | None = None
        """The other process that watches the manifest, as of the last comparison."""
        self.read_only = read_only
        self.words = words
        self.open_engine = open_engine
        self.changes = Changes()
        self.images = ImageCache()
        self.status: Work[Status] | None = None
        self.checking: Work[CheckedSources] | None = None
        self.examining: Work[list[Finding]] | None = None
        self.planning: Work[ShownPlan] | None = None
        self.run: Run | None = None
        self.decisions: dict[SetKey, ConflictDecision] = {}
        """The conflicts that the user decided, for the next plan."""
        self.lake = LakeReader(lambda: open_engine(lambda _event: None, None))
        self._desk = PlanDesk(words, self.images, self.lake)
        self.desk_thread = ThreadPoolExecutor(1, thread_name_prefix="ui plan")
        """The thread in which the plan is made and read."""
        self._status_thread = ThreadPoolExecutor(1, thread_name_prefix="ui status")
        self._check_thread = ThreadPoolExecutor(1, thread_name_prefix="ui checks")
        self._run_thread = ThreadPoolExecutor(1, thread_name_prefix="ui run")

    @property
    def desk(self) -> PlanDesk:
        """The open plan. Used in `desk_thread` only."""
        return self._desk

    @property
    def shown(self) -> ShownPlan | None:
        """The last plan, if it was made and not applied yet."""
        return self.planning.result if self.planning is not None else None

    @property
    def is_running(self) -> bool:
        return self.run is not None and self.run.is_working

    @property
    def has_new_decisions(self) -> bool:
        """Whether the plan was made with other decisions."""
        return self.shown is not None and self.shown.revert is None and self.shown.decisions != self.decisions

    def operations(self) -> tuple[str, ...]:
        """Return the operations of the manifest. Reads the manifest."""
        manifest = self._engine().manifest
        of_collections = (block for one in manifest.collections for block in one.annotations)
        return tuple(dict.fromkeys(block.operation for block in (*of_collections, *manifest.model.annotations)))

    def _engine(self) -> Engine:
        return self.open_engine(lambda _event: None, None)

    def decide(self, key: SetKey, decision: ConflictDecision) -> None:
        """Decide a conflict. The next plan takes the decision. Raises GuardStopped while a run is active."""
        self._check_idle()
        self.decisions[key] = decision
        self.changes.add()

    def withdraw_decisions(self) -> None:
        """Leave all conflicts to the manifest again. Raises GuardStopped while a run is active."""
        self._check_idle()
        self.decisions.clear()
        self.changes.add()

    def read_status(self, *, again: bool = False) -> Work[Status]:
        """Start to compare the folders with the records, unless the result of an earlier comparison still counts."""
        if self.status is not None and (self.status.is_working or not again):
            return self.status
        work: Work[Status] = Work(self.changes)
        self.status = work

        def read() -> Status:
            engine = self.open_engine(listener(work), work.is_cancelled)
            if self.daemon is None:
                self.watched_by = FileBackend(watch_lock(engine.state_path)).lock_holder()
            return read_status(replace(engine, options=replace(engine.options, refresh="none")))

        work.start(self._status_thread, read)
        return work

    def check_sources(self) -> Work[CheckedSources]:
        """Start to check all local files and annotations, unless that is in progress already."""
        if self.checking is not None and self.checking.is_working:
            return self.checking
        work: Work[CheckedSources] = Work(self.changes)
        self.checking = work
        work.start(
            self._check_thread,
            lambda: source_check.check_sources(self.open_engine(listener(work), work.is_cancelled)),
        )
        return work

    def examine(self) -> Work[list[Finding]]:
        """Start to examine what a run depends on, unless that is in progress already."""
        if self.examining is not None and self.examining.is_working:
            return self.examining
        work: Work[list[Finding]] = Work(self.changes)
        self.examining = work

        def look() -> list[Finding]:
            engine = self.open_engine(listener(work), work.is_cancelled)
            engine = replace(engine, options=replace(engine.options, retry_for_s=DOCTOR_RETRY_S))
            found: list[Finding] = []
            with self.lake.released(engine):
                for finding in examine(engine):
                    found.append(finding)
                    work.tell(finding.subject)
                    if work.is_cancelled():
                        raise Interrupted.by_program()
            return found

        work.start(self._check_thread, look)
        return work

    def make_plan(self, revert: str | None = None) -> Work[ShownPlan]:
        """Start to make a plan. `revert`: of a run's way back. Raises GuardStopped while a run is active."""
        self._check_idle()
        if self.planning is not None and self.planning.is_working:
            return self.planning
        work: Work[ShownPlan] = Work(self.changes)
        self.planning = work
        decisions = dict(self.decisions)

        def make() -> ShownPlan:
            engine = self.open_engine(listener(work), work.is_cancelled)
            if revert is not None:
                from metalake_sync.operations.revert import reverting
                from metalake_sync.operations.state import require_state

                require_state(engine)
                engine = reverting(engine, revert)
            else:
                engine = replace(engine, options=replace(engine.options, decisions=decisions))
            return self._desk.make(engine, revert)

        work.start(self.desk_thread, make)
        return work

    def apply(self, plan_id: str, typed: str) -> Run:
        """Start to carry out the plan that was shown. `typed`: the number of destructive actions that the user typed.

        Raises GuardStopped if there is a newer plan, the plan cannot be applied, or the number is wrong.
        """
        self._check_idle()
        shown = self.shown
        if shown is None or shown.id != plan_id:
            raise GuardStopped(
                "this plan was replaced by a newer one, or was applied already",
                remedy="Nothing was done. Look at the current plan.",
            )
        if not shown.can_apply:
            why = "; ".join(shown.plan.blocked) or "there is nothing to do"
            raise GuardStopped(f"the plan cannot be applied: {why}", remedy="Nothing was done.")
        if self.has_new_decisions:
            raise GuardStopped("the plan does not have all decisions yet", remedy="Nothing was done. Plan again.")
        if shown.plan.destructive and typed.strip().replace(",", "") != str(shown.destroys):
            raise GuardStopped(
                "the typed number is not the number of destructive actions",
                remedy=f"Nothing was done. Type {shown.destroys} to approve the plan.",
            )
        run = Run(self.changes, shown)
        self.run, self.planning = run, None
        closed = self.desk_thread.submit(self._desk.close)

        def carry_out() -> ApplyResult:
            closed.result()
            engine = self._engine()
            with self.lake.released(engine):
                return project_of(engine).apply(
                    shown.plan,
                    check=False,
                    cancelled=run.is_cancelled,
                    on_event=run.take,
                    lock_timeout_s=0.0 if self.daemon is None else DAEMON_LOCK_TIMEOUT_S,
                )

        run.start(self._run_thread, carry_out)
        threading.Thread(target=self._after, args=(run,), name="ui after run", daemon=True).start()
        return run

    def _after(self, run: Run) -> None:
        """Compare the folders with the records again after a run, and forget the decisions that it carried out."""
        run.wait()
        self.lake.forget()
        if run.state == "done":
            for key in run.shown.decisions:
                self.decisions.pop(key, None)
        self.status = None
        self.changes.add()

    def _check_idle(self) -> None:
        if self.is_running:
            raise GuardStopped("a run is active", remedy="Wait until it ends, or cancel it.")

    def close(self) -> None:
        """Cancel everything, and wait for its end. What a run finished is recorded. Called from any thread."""
        for work in (self.run, self.planning, self.status, self.checking, self.examining):
            if work is not None and work.is_working:
                work.cancel()
        self._run_thread.shutdown()
        self._status_thread.shutdown()
        self._check_thread.shutdown()
        self.desk_thread.submit(self._desk.close).result()
        self.desk_thread.shutdown()
        self.lake.close()
        self.images.close()
