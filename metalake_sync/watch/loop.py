"""The loop of the daemon: receive hints and signals, wait until work is due, run it, and handle errors.

Owns: the order of these steps, in one thread with one run at a time, the signal handlers, and reading a changed
manifest. Must not: know how a run works (`watch.runner`), when work is due (`watch.scheduler`), or how results are
shown (`watch.reporter`).
"""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Callable
from dataclasses import field
from types import FrameType
from typing import Protocol

from metalake_sync.core.events import Event
from metalake_sync.errors import GuardStopped, ManifestError, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.watch.debounce import Coverage, Work
from metalake_sync.watch.health import Health, Metrics, ServiceManager
from metalake_sync.watch.hints import EventsLost, HintBox, ManifestTouched, Places, TreeTouched
from metalake_sync.watch.notify import Webhook
from metalake_sync.watch.reporter import Reporter, log
from metalake_sync.watch.runner import Exclusions, Runner, RunResult
from metalake_sync.watch.scheduler import Scheduler, WatchTiming

DRAIN_S = 30.0


@dataclass(slots=True)
class Signals:
    """The requests of the system. What a run finished before it was interrupted is recorded."""

    wake: Callable[[], None]
    """Ends the loop's wait."""
    drain_s: float = DRAIN_S
    """Seconds that a run may continue after the first SIGTERM or SIGINT. Then, or at the second signal,
    KeyboardInterrupt ends it."""
    stopping: bool = False
    reload: bool = False

    def install(self) -> None:
        """Install handlers for SIGTERM, SIGINT, SIGHUP and SIGALRM. Only the main thread may call this."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGALRM, self._leave)
        signal.signal(signal.SIGHUP, self._reload)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:
            self._leave(number, frame)
        self.stopping = True
        signal.setitimer(signal.ITIMER_REAL, self.drain_s)
        self.wake()

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload = True
        self.wake()


class WatchedManifest(Protocol):
    """A manifest in use: its runner, the paths that it names, and its webhook."""

    @property
    def runner(self) -> Runner: ...

    @property
    def places(self) -> Places: ...

    @property
    def base_dir(self) -> str: ...

    @property
    def webhook(self) -> Webhook | None: ...

    def close(self) -> None: ...


class TriggerSet(Protocol):
    """Sends hints about changes of the watched places."""

    def watch(self, places: Places) -> None: ...

    def supervise(self) -> None: ...


@dataclass(slots=True)
class Watcher:
    """The loop with everything that it connects."""

    box: HintBox
    timing: WatchTiming
    load: Callable[[], WatchedManifest]
    """Reads the manifest. Raises SyncError if it is broken; the previous one then stays in use."""
    watched: WatchedManifest
    triggers: TriggerSet
    signals: Signals
    health: Health
    metrics: Metrics
    service: ServiceManager
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    unit_random: Callable[[], float] = random.Random().random  # noqa: S311
    _scheduler: Scheduler = field(init=False)
    _reporter: Reporter = field(init=False)
    _manifest_touched: bool = False
    _manifest_stamp: object = None
    """Sizes and times of the manifest's files when it was read."""

    def __post_init__(self) -> None:
        self._scheduler = Scheduler(self.timing, self.clock, self.wall, self.unit_random)
        self._reporter = Reporter(
            self.health,
            self.metrics,
            self.service,
            self._scheduler.failed_files,
            self.clock,
            self.wall,
            self.watched.base_dir,
            self.watched.webhook,
        )

    def run(self) -> None:
        """Watch until a signal ends the loop. Raises KeyboardInterrupt if a run had to be aborted."""
        self._scheduler.start()
        self._manifest_stamp = self.watched.places.stamp()
        self._reporter.started()
        while not self.signals.stopping:
            self.health.beat()
            self._collect(self.clock())
            work = self._scheduler.next_work(self.clock())
            if work is not None:
                self._do(work)
                continue
            self._reporter.queue(self._scheduler.waiting)
            select.select([self.box], [], [], self._pause_s(self.clock()))

    def on_event(self, event: Event) -> None:
        """Receive an event of a run."""
        self._reporter.on_event(event)

    # Reasons for a run.

    def _collect(self, now: float) -> None:
        """Pass everything that can start a run to the scheduler: signals, hints, times and clock jumps."""
        scheduler = self._scheduler
        if self.signals.reload:
            self.signals.reload = False
            self.service.reloading()
            self._manifest_touched = True
            scheduler.reload(now)
        for hint in self.box.take():
            if isinstance(hint, EventsLost):
                self.metrics.events_lost()
                log.warning("events were lost (%s): the whole disk is scanned", hint.why)
                self._check_manifest()
            if isinstance(hint, TreeTouched) and not hint.removal:
                self._reporter.folder_appeared(hint.path)
            if isinstance(hint, ManifestTouched):
                self._manifest_touched = True
            scheduler.hint(hint, now)
        scheduler.add_due(now)
        moved_s = scheduler.clock_jump_s(now)
        if moved_s is not None:
            log.warning("the clock moved by %.0f s: everything is scanned", moved_s)
        if scheduler.rescan_is_due(now):
            self._check_manifest()
        if scheduler.supervision_is_due(now):
            self.triggers.supervise()

    def _check_manifest(self) -> None:
        """Check whether the manifest changed, because its notification may be lost."""
        if self.watched.places.stamp() != self._manifest_stamp:
            self._manifest_touched = True

    def _pause_s(self, now: float) -> float:
        if self.signals.stopping or self.signals.reload:
            # The signal arrived after the loop checked for it, and its wake-up was already read.
            return 0.0
        return self._scheduler.pause_s(now)

    # Runs.

    def _do(self, work: Work) -> None:
        if self._manifest_touched:
            self._manifest_touched = False
            self._reload()
        began = self.clock()
        exclusions = Exclusions(self._scheduler.is_held, self._scheduler.failed_files.names())
        try:
            result = self.watched.runner.run(work, exclusions)
        except KeyboardInterrupt:
            self.metrics.ran("interrupted", self.clock() - began)
            raise
        except (GuardStopped, ManifestError) as error:
            self._reporter.stopped(str(error), self._scheduler.postpone(work))
            self.metrics.ran("stopped", self.clock() - began)
        except (SyncError, OSError) as error:
            self._failed(work, str(error))
            self.metrics.ran("failed", self.clock() - began)
        except Exception as error:  # noqa: BLE001 - an internal error must not end the watch: it is logged and retried
            self._failed(work, f"internal error: {type(error).__name__} in {_place_of(error)}")
            self.metrics.ran("failed", self.clock() - began)
        else:
            self._finished(work, result, self.clock() - began)

    def _finished(self, work: Work, result: RunResult, seconds: float) -> None:
        if result.broken:
            self._reporter.broken_parts(result.broken, self._scheduler.some_broken(work))
        else:
            self._scheduler.succeeded(work)
            if work.coverage is Coverage.FULL:
                self._reporter.nothing_broken()
        self._reporter.run_finished(work, result, seconds)
        self._reporter.result_of(result, work_is_left=self._scheduler.postponed)

    def _failed(self, work: Work, message: str) -> None:
        """The lake is unreachable, or the disk is full: everything waits, and no hint is lost."""
        pause_s = self._scheduler.put_back(work)
        self._reporter.unreachable(message, pause_s, self._scheduler.failures)

    def _reload(self) -> None:
        """Use a changed manifest if it is valid."""
        self._manifest_stamp = self.watched.places.stamp()
        try:
            fresh = self.load()
        except SyncError as error:
            self._reporter.manifest_broken(str(error))
        else:
            old, self.watched = self.watched, fresh
            old.close()
            if fresh.places.manifest != old.places.manifest:
                self._manifest_stamp = fresh.places.stamp()
            self.triggers.watch(fresh.places)
            self._reporter.base_dir, self._reporter.webhook = fresh.base_dir, fresh.webhook
            self._reporter.manifest_read()
        self.service.ready()


def _place_of(error: BaseException) -> str:
    """Return file and line in which an exception was raised. Its message may contain a secret, so it is not used."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return f"{os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else "?"
