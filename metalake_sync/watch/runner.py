"""The narrow door to a run: all that the loop knows of sessions.

Owns: how a piece of work becomes the options of a session. Must not: decide when.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import Protocol

from metalake_sync.core.actions import Action
from metalake_sync.core.events import Event, PlanMade, RunFinished
from metalake_sync.core.notes import Note
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.annotation_cache import AnnotationCache, StaleAnnotations
from metalake_sync.planning.run_options import SkippedPart
from metalake_sync.planning.scan_join import IsHeld
from metalake_sync.planning.scope import Scope
from metalake_sync.project import Project
from metalake_sync.watch.debounce import Width, Work
from metalake_sync.watch.filesystems import Mounts

log = logging.getLogger("metalake_sync.watch")

LOCK_PATIENCE_S = 5.0
LAKE_PATIENCE_S = 10.0
"""A lake that is away is left alone soon: the loop has its own pauses, and hears of signals in between."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run. `held`: what waits for approval. `refused`: what the manifest forbids. `broken`: what was
    left out. `notes`: all that the plan had to say."""

    finished: RunFinished
    unreadable: int
    held: Sequence[Action] = ()
    refused: Sequence[Note] = ()
    broken: Sequence[SkippedPart] = ()
    notes: Sequence[Note] = ()


@dataclass(frozen=True, slots=True)
class Keep:
    """What a run is to leave alone. `failures`: names whose past failures stay."""

    hold: IsHeld
    failures: frozenset[str]


class Runner(Protocol):
    """Does one run. Raises SyncError."""

    def run(self, work: Work, keep: Keep) -> Ran: ...


@dataclass(frozen=True, slots=True)
class ProjectRunner:
    """Runs a session, scoped to the work. `auto_approve`: also trash, replace and remove; but not while something that
    was mounted at an earlier run is away."""

    project: Project
    auto_approve: Callable[[], bool] = field(default=lambda: False)
    mounts: Mounts = field(default_factory=lambda: Mounts(()))
    kept: AnnotationCache = field(default_factory=AnnotationCache)

    def run(self, work: Work, keep: Keep) -> Ran:
        """Observe, plan and apply. A run over folders believes the records about the lake; a full one asks it."""
        if work.width is not Width.FOLDERS:
            self.kept.close()
        try:
            return self._run(work, keep)
        except StaleAnnotations:
            self.kept.close()
            return self._run(work, keep)

    def _run(self, work: Work, keep: Keep) -> Ran:
        base = os.path.abspath(self.project.manifest.base_dir)
        hinted = work.width is Width.FOLDERS
        given = self.project.options
        broken: list[SkippedPart] = []
        options = replace(
            given,
            refresh=given.refresh if work.width is Width.FULL else "none",
            retry_for_s=LAKE_PATIENCE_S if given.retry_for_s is None else given.retry_for_s,
            scope=Scope(base, work.folders, work.trees) if hinted else None,
            is_held=keep.hold,
            keep_failures=None if hinted else keep.failures,
            on_skipped=broken.append,
            annotation_cache=self.kept,
        )
        self.mounts.gone()
        notes: list[Note] = []

        def hear(event: Event) -> None:
            if isinstance(event, PlanMade):
                notes.extend(event.plan.notes)
            self.project.emit(event)

        held: list[Action] = []
        refused: list[Note] = []

        def hold(actions: Sequence[Action], refusals: Sequence[Note]) -> None:
            held.extend(actions)
            refused.extend(refusals)

        applied = replace(self.project, options=options, emit=hear).apply(
            lambda _plan: self._approves(), lock_timeout_s=LOCK_PATIENCE_S, command="watch", on_held=hold
        )
        return Ran(applied.finished, applied.unreadable, held, refused, broken, notes)

    def _approves(self) -> bool:
        if not self.auto_approve():
            return False
        gone = self.mounts.gone()
        if gone:
            log.warning(
                "nothing is taken away while %s is not mounted, as it was before; if it is gone for good, send SIGHUP",
                ", ".join(gone),
            )
        return not gone
