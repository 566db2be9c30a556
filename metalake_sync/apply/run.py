"""One run of a plan: carries it out, and writes the history of the run.

Owns: the history of the run, and the client for the calls of the run. Must not: make the plan, or approve it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.events import RunFinished, Waiting
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.lake_access import ReachedLake
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.open_sessions import decide_open_sessions
from metalake_sync.planning.planner import PlannedRun
from metalake_sync.planning.run_options import RUN_RETRY_TIMEOUT_S, RunOptions
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.apply.executor import Executor


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

    def execute(self, planned: PlannedRun, command: str, *, partial: bool) -> RunFinished:
        """Carry out the plan, and write the history of the run. A plan without actions leaves no history."""
        recorder = self.recorder
        recorder.count_untouched(planned.plan.summary())
        self._add_bases(planned)
        owed = self.state.pending_replacements.owed()
        recorded = self.state.collections.of_lake(self.lake.identity)
        left_open = dict(
            decide_open_sessions(self.state, planned.plan.collections, recorded, self.in_manifest, partial=partial)
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
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
