"""The manifest in use, and its runs: the loop passes work to the runner, and gets results.

Owns: how work becomes the options of a run, and what a manifest needs while it is watched: its places and its webhook.
Must not: decide when to run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Protocol

from metalake_sync.core.actions import Action
from metalake_sync.core.events import Event, PlanMade, RunFinished
from metalake_sync.core.notes import Note
from metalake_sync.engine import Engine
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.remote_models import Notify
from metalake_sync.planning.change_detection import IsHeld
from metalake_sync.planning.desired import AnnotationCache, StaleAnnotations
from metalake_sync.planning.run_options import Refresh, Scope, SkippedPart
from metalake_sync.sources.opening import read_small_file
from metalake_sync.watch.debounce import Coverage, Work
from metalake_sync.watch.hints import Places, places_of
from metalake_sync.watch.notify import Webhook, WebhookEvent
from metalake_sync.watch.polling import Mounts

log = logging.getLogger("metalake_sync.watch")

LOCK_TIMEOUT_S = 5.0
"""Seconds to wait for the state's lock."""

LAKE_RETRY_TIMEOUT_S = 10.0
"""The retry timeout at the start of a run. It is short, because the loop has its own pauses and handles signals between
them."""

SECRET_LIMIT_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run."""

    finished: RunFinished
    unreadable: int
    """The number of files and folders that could not be read."""
    held: Sequence[Action] = ()
    """Actions that wait for approval."""
    blocking: Sequence[Note] = ()
    """The blocking notes of the plan. The rest of the plan was carried out."""
    broken: Sequence[SkippedPart] = ()
    notes: Sequence[Note] = ()


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What a run must skip."""

    is_held: IsHeld
    failures: frozenset[str]
    """Names of files whose earlier failures stay recorded."""


class Runner(Protocol):
    """Carries out one run. Raises SyncError."""

    def run(self, work: Work, exclusions: Exclusions) -> RunResult: ...


@dataclass(frozen=True, slots=True)
class ProjectRunner:
    """Runs an engine, restricted to the work."""

    engine: Engine
    auto_approve: Callable[[], bool] = field(default=lambda: False)
    """Whether destructive actions are approved. They are still held while an earlier mount is missing."""
    mounts: Mounts = field(default_factory=lambda: Mounts(()))
    annotation_cache: AnnotationCache = field(default_factory=AnnotationCache)

    def run(self, work: Work, exclusions: Exclusions) -> RunResult:
        """Plan and apply. A run over folders trusts the records about the lake; a full run refreshes them."""
        if work.coverage is not Coverage.FOLDERS:
            self.annotation_cache.close()
        try:
            return self._run(work, exclusions)
        except StaleAnnotations:
            self.annotation_cache.close()
            return self._run(work, exclusions)

    def _run(self, work: Work, exclusions: Exclusions) -> RunResult:
        base = os.path.abspath(self.engine.manifest.base_dir)
        of_folders = work.coverage is Coverage.FOLDERS
        given = self.engine.options
        broken: list[SkippedPart] = []
        options = replace(
            given,
            refresh=self._refresh(work.coverage),
            retry_for_s=LAKE_RETRY_TIMEOUT_S if given.retry_for_s is None else given.retry_for_s,
            scope=Scope(base, work.folders, work.trees) if of_folders else None,
            is_held=exclusions.is_held,
            keep_failures=None if of_folders else exclusions.failures,
            on_skipped=broken.append,
            annotation_cache=self.annotation_cache,
        )
        self.mounts.gone()
        notes: list[Note] = []

        def on_event(event: Event) -> None:
            if isinstance(event, PlanMade):
                notes.extend(event.plan.notes)
            self.engine.emit(event)

        held: list[Action] = []
        blocking: list[Note] = []

        def collect_held(actions: Sequence[Action], notes_of_plan: Sequence[Note]) -> None:
            held.extend(actions)
            blocking.extend(notes_of_plan)

        applied = replace(self.engine, options=options, emit=on_event).apply(
            lambda _plan: self._approves(), lock_timeout_s=LOCK_TIMEOUT_S, command="watch", on_held=collect_held
        )
        return RunResult(applied.finished, applied.unreadable, held, blocking, broken, notes)

    def _refresh(self, coverage: Coverage) -> Refresh:
        """Only a full run asks the lake; and a run over all sources does, if it may overwrite annotation sets."""
        given = self.engine.options.refresh
        if coverage is Coverage.FULL or given == "none":
            return given
        model = self.engine.manifest.model
        blocks = [*model.defaults.annotations, *(block for one in model.collections for block in one.annotations)]
        reads_sets = any(block.on_drift != "overwrite" for block in blocks)
        return "list" if coverage is Coverage.DISK and reads_sets else "none"

    def _approves(self) -> bool:
        if not self.auto_approve():
            return False
        gone = self.mounts.gone()
        if gone:
            log.warning(
                "nothing is trashed or removed while %s is not mounted, as it was before;"
                " if it is gone for good, send SIGHUP",
                ", ".join(gone),
            )
        return not gone


@dataclass(frozen=True, slots=True)
class ActiveManifest:
    """A manifest in use. Close it when another one replaces it."""

    runner: ProjectRunner
    places: Places
    base_dir: str
    webhook: Webhook | None

    def close(self) -> None:
        self.runner.annotation_cache.close()
        if self.webhook is not None:
            self.webhook.close()


def activate(engine: Engine, own_files: Sequence[Path], *, auto_approve: bool) -> ActiveManifest:
    """Create the parts that watch a loaded manifest. `own_files`: the manifest, and its files of variables."""
    manifest = engine.manifest
    places = places_of(manifest, own_files[0], own_files[1:])
    notify = manifest.model.notify
    for warning in manifest.warnings:
        log.warning("%s: %s", warning.where, warning.message)
    return ActiveManifest(
        ProjectRunner(engine, lambda: auto_approve, Mounts(places.roots)),
        places,
        os.path.abspath(manifest.base_dir),
        None if notify is None else _webhook(notify, manifest.base_dir, manifest.name),
    )


def _webhook(notify: Notify, base_dir: Path, name: str) -> Webhook:
    events: frozenset[WebhookEvent] = frozenset(notify.on)
    return Webhook(notify.url, _secret_of(notify, base_dir), events=events, common={"manifest": name})


def _secret_of(notify: Notify, base_dir: Path) -> Callable[[], bytes | None]:
    def secret() -> bytes | None:
        if notify.secret_file is not None:
            return read_small_file(base_dir / notify.secret_file, SECRET_LIMIT_BYTES).strip()
        return notify.secret.get_secret_value().encode() if notify.secret is not None else None

    return secret
