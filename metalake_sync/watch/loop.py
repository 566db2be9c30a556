"""The loop: hears hints, waits until they are due, runs, and copes with what went wrong.

Owns: the order of these, in one thread, one run at a time. Must not: know how a run is done (`door`), when hints are
due (`debounce`), or how anything is shown: it tells a logger, with facts beside the words.
"""

from __future__ import annotations

import logging
import os
import random
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol

from metalake_sync.core.actions import AdoptFile, ReplaceFile, UpdateFileMetadata, UploadFile
from metalake_sync.core.events import ActionDone, ActionFailed, Event
from metalake_sync.core.notes import counted
from metalake_sync.errors import GuardStopped, ManifestError, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.run_options import SkippedPart
from metalake_sync.remote.redaction import redact
from metalake_sync.sources.base import ScannedFile
from metalake_sync.watch.arrivals import Arrivals
from metalake_sync.watch.backoff import Backoff, SetAside
from metalake_sync.watch.debounce import Debouncer, Timing, Width, Work
from metalake_sync.watch.health import Health, Metrics
from metalake_sync.watch.hints import EventsLost, FolderTouched, HintBox, ManifestTouched, TreeTouched
from metalake_sync.watch.notify import Webhook
from metalake_sync.watch.run_log import NotesTold, facts, log, tell_ran
from metalake_sync.watch.runner import Keep, Ran, Runner
from metalake_sync.watch.settle import Settling
from metalake_sync.watch.signals import Signals
from metalake_sync.watch.systemd import ServiceManager
from metalake_sync.watch.watched_paths import Places

SUPERVISE_S = 5.0
JUMP_S = 5.0
"""A clock that moves so far against the other was set, or the machine slept."""


class Watched(Protocol):
    """A manifest that is in force: how to run it, what it names, and whom it tells."""

    @property
    def door(self) -> Runner: ...

    @property
    def places(self) -> Places: ...

    @property
    def base_dir(self) -> str: ...

    @property
    def webhook(self) -> Webhook | None: ...

    def close(self) -> None: ...


class TriggerSet(Protocol):
    """Hints at changes of the places that it is told."""

    def watch(self, places: Places) -> None: ...

    def supervise(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WatchTiming:
    """In seconds. `settle_s`: how long a file or folder must be quiet; `rescan_s`: between full rescans."""

    settle_s: float = 2.0
    rescan_s: float = 600.0

    def debounce(self) -> Timing:
        return Timing(quiet_s=self.settle_s, cap_s=max(30.0, self.settle_s * 10))


@dataclass(slots=True)
class Watcher:
    """`load` reads the manifest and raises SyncError where it is broken; the one that was read last stays in force."""

    box: HintBox
    timing: WatchTiming
    load: Callable[[], Watched]
    watched: Watched
    triggers: TriggerSet
    signals: Signals
    health: Health
    metrics: Metrics
    service: ServiceManager
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    unit_random: Callable[[], float] = random.random
    _debouncer: Debouncer = field(init=False)
    _settling: Settling = field(init=False)
    _set_aside: SetAside = field(default_factory=SetAside)
    _lake: Backoff = field(default_factory=Backoff)
    _stopped: Backoff = field(default_factory=lambda: Backoff(first_s=5.0))
    _not_before: float = 0.0
    _later: Work | None = None
    _later_at: float = 0.0
    _broken: frozenset[str] = frozenset()
    _manifest_touched: bool = False
    _rescan_at: float = 0.0
    _supervise_at: float = 0.0
    _offset: float = 0.0
    _manifest_stamp: object = None
    _arrivals: Arrivals = field(default_factory=lambda: Arrivals(time.time_ns()))
    _notes: NotesTold = field(default_factory=NotesTold)

    def __post_init__(self) -> None:
        self._debouncer = Debouncer(self.timing.debounce())
        self._settling = Settling(self.timing.settle_s)

    def run(self) -> None:
        """Watch until asked to stop. Raises KeyboardInterrupt where a run had to be broken off."""
        self._offset = self.wall() - self.clock()
        self._manifest_stamp = self.watched.places.stamp()
        self._rescan_at = self.clock()
        self.service.ready()
        log.info("watching %s", self.watched.base_dir)
        while not self.signals.stopping:
            self.health.beat()
            self._listen(self.clock())
            work = self._next_work(self.clock())
            if work is not None:
                self._do(work)
                continue
            self._tell_queue()
            select.select([self.box], [], [], self._pause(self.clock()))

    # Listening.

    def _listen(self, now: float) -> None:
        """Everything that can ask for a run asks here."""
        if self.signals.reload:
            self.signals.reload = False
            self._not_before = now
            self.service.reloading()
            self._manifest_touched = True
            self._debouncer.want(Width.FULL, now)
        for hint in self.box.take():
            if isinstance(hint, EventsLost):
                self.metrics.events_lost()
                log.warning("events were lost (%s): the whole disk is looked at", hint.why)
                self._look_at_manifest()
            if isinstance(hint, TreeTouched) and not hint.removal:
                self._arrivals.folder_came(hint.path, time.time_ns())
            if isinstance(hint, ManifestTouched):
                # Whoever mends something does not wait for a pause to end.
                self._manifest_touched = True
                self._not_before = now
            self._debouncer.hint(hint, now)
        for folder in self._settling.settled_folders(now, time.time_ns()):
            self._debouncer.hint(FolderTouched(folder), now - self.timing.settle_s)
        for path in self._set_aside.due(now):
            if self._set_aside.attempts(path) > 1:
                # Believing the records did not help: ask the lake what it has.
                self._debouncer.want(Width.FULL, now)
            else:
                self._debouncer.hint(FolderTouched(os.path.dirname(path)), now - self.timing.settle_s)
        offset = self.wall() - now
        jump_s = abs(offset - self._offset)
        if jump_s > min(JUMP_S, self.timing.settle_s / 2):
            self._settling.clock_was_set(now)
        if jump_s > JUMP_S:
            log.warning("the clock moved by %.0f s: everything is looked at", offset - self._offset)
            self._debouncer.want(Width.FULL, now)
        self._offset = offset
        if now >= self._rescan_at:
            self._debouncer.want(Width.FULL, now)
            self._look_at_manifest()
            self._rescan_at = now + self.timing.rescan_s
        if now >= self._supervise_at:
            self.triggers.supervise()
            self._supervise_at = now + SUPERVISE_S
        if self._later is not None and now >= self._later_at:
            self._debouncer.put_back(self._later, now - self.timing.settle_s)
            self._later = None

    def _look_at_manifest(self) -> None:
        """See whether it changed, where nobody may have told."""
        if self.watched.places.stamp() != self._manifest_stamp:
            self._manifest_touched = True

    def _next_work(self, now: float) -> Work | None:
        if now < self._not_before:
            return None
        return self._debouncer.take(now, settling=len(self._settling) > 0)

    def _pause(self, now: float) -> float:
        """How long nothing needs to be done, unless a hint or a signal comes."""
        if self.signals.stopping or self.signals.reload:
            # It came after the loop had looked for it, and the box was emptied since.
            return 0.0
        due = self._debouncer.due_at(settling=len(self._settling) > 0)
        moments = [
            max(due, self._not_before) if due is not None else None,
            self._settling.next_at(),
            self._set_aside.next_at(),
            self._later_at if self._later is not None else None,
            self._rescan_at,
            self._supervise_at,
        ]
        return max(0.0, min(moment for moment in moments if moment is not None) - now)

    # Running.

    def _do(self, work: Work) -> None:
        if self._manifest_touched:
            self._manifest_touched = False
            self._reload()
        began = self.clock()
        try:
            ran = self.watched.door.run(work, Keep(self._leave_alone, self._set_aside.names()))
        except KeyboardInterrupt:
            self.metrics.ran("interrupted", self.clock() - began)
            raise
        except (GuardStopped, ManifestError) as error:
            self._blocked(work, error)
            self.metrics.ran("stopped", self.clock() - began)
        except (SyncError, OSError) as error:
            self._could_not(work, str(error))
            self.metrics.ran("failed", self.clock() - began)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not end months of watching: it is told, and tried again
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = f"{os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else "?"
            self._could_not(work, f"a mistake in metalake-sync: {type(error).__name__} in {where}")
            self.metrics.ran("failed", self.clock() - began)
        else:
            self._came_through(work, ran, self.clock() - began)

    def _leave_alone(self, path: str, file: ScannedFile) -> bool:
        path = os.path.abspath(path)
        now = self.clock()
        return self._set_aside.holds(path, file, now) or self._settling.unsettled(path, file, now, time.time_ns())

    def on_event(self, event: Event) -> None:
        """Listen to a run's events; whoever makes sessions passes them on to here."""
        self.health.beat()
        if isinstance(event, ActionDone):
            action = event.action
            size_bytes, latency_s = 0, None
            if isinstance(action, UploadFile | ReplaceFile):
                fingerprint = action.file.fingerprint
                size_bytes = fingerprint.size_bytes
                latency_s = self._arrivals.latency_s(self._path(action.file.path), fingerprint, time.time_ns())
            if isinstance(action, UploadFile | ReplaceFile | AdoptFile | UpdateFileMetadata):
                self._set_aside.came_through(self._path(action.file.path))
            self.metrics.synced(action.action_name, size_bytes, latency_s)
            name, file = action.action_name, action.file_name
            beside = facts(action=name, collection=action.collection.name, latency_s=latency_s, file=file)
            log.debug("%s %s", name, file or "", extra=beside)
        elif isinstance(event, ActionFailed):
            action = event.action
            self.metrics.failed(action.action_name)
            file = action.file_name or ""
            log.warning("%s: %s", file or action.collection.name, event.error, extra=facts(file=file))
            if isinstance(action, UploadFile | ReplaceFile | AdoptFile | UpdateFileMetadata):
                version = action.file.fingerprint.version()
                self._set_aside.failed(self._path(action.file.path), file, version, self.clock())

    def _path(self, path: str) -> str:
        return os.path.abspath(os.path.join(self.watched.base_dir, path))

    # What came of it.

    def _came_through(self, work: Work, ran: Ran, seconds: float) -> None:
        self._lake.came_through()
        if ran.broken:
            self._without(work, ran.broken)
        elif work.width is Width.FULL:
            self._stopped.came_through()
            self._broken = frozenset()
            # What was to be looked at later lies in what was just looked at.
            self._later = None
        elif work.width is Width.DISK:
            # Nothing on the disk is broken any more: what waits for that need not wait longer.
            self._later_at = self.clock()
        self.health.last_success = self.wall()
        if work.width is not Width.FOLDERS:
            self.health.held = len(ran.held) + len(ran.refused)
        elif ran.held:
            self.health.held = max(self.health.held, len(ran.held))
        tell_ran(ran, work.width.name.lower(), seconds)
        self._notes.tell(ran.notes, of_everything=work.width is Width.FULL)
        self.metrics.ran("some_failed" if ran.finished.failed else "done", seconds)
        if ran.finished.failed:
            first = ran.finished.failed[0]
            self._problem(f"{counted(len(ran.finished.failed), 'item', 'items')} failed; the first: {first.error}")
        elif ran.broken:
            self._problem(f"{ran.broken[0]}: {ran.broken[0].error}")
        elif not len(self._set_aside) and self._later is None and not self.health.manifest_broken:
            self._all_is_well()

    def _could_not(self, work: Work, message: str) -> None:
        """The lake is away, or the disk is full: everything waits, and nothing that was hinted is forgotten."""
        now = self.clock()
        self._debouncer.put_back(work, now)
        pause_s = self._lake.failed(self.unit_random())
        self._not_before = now + pause_s
        log.error("%s; tried again in %.0f s", message, pause_s, extra=facts(failures=self._lake.failures))
        self._problem(message)

    def _without(self, work: Work, broken: Sequence[SkippedPart]) -> None:
        """A run left something out, because it is broken. What was told once is not told again by each run."""
        pause_s = self._look_again(work)
        told, self._broken = self._broken, frozenset(f"{part}: {part.error}" for part in broken)
        for part in broken[:20]:
            level = logging.DEBUG if f"{part}: {part.error}" in told else logging.ERROR
            message = "%s is left as it is, and the rest goes on: %s"
            log.log(level, message, part, part.error, extra=facts(again_in_s=round(pause_s)))

    def _blocked(self, work: Work, error: SyncError) -> None:
        """Something in the sources stops this work, and no other: it waits apart."""
        pause_s = self._look_again(work)
        log.error("%s", error, extra=facts(again_in_s=round(pause_s)))
        self._problem(str(error))

    def _look_again(self, work: Work) -> float:
        """Do this work again after a pause that grows; one that is under way goes on. The rest of it, in seconds."""
        now = self.clock()
        if self._later is None:
            self._later_at = now + self._stopped.failed(self.unit_random())
        self._later = work.merged(self._later)
        return self._later_at - now

    def _reload(self) -> None:
        """Take a changed manifest over, if it holds together."""
        self._manifest_stamp = self.watched.places.stamp()
        try:
            fresh = self.load()
        except SyncError as error:
            self.health.manifest_broken = True
            log.error("the manifest is broken, and the last good one stays in force: %s", error)
            self._problem(f"the manifest is broken: {error}")
        else:
            old, self.watched = self.watched, fresh
            old.close()
            if fresh.places.manifest != old.places.manifest:
                self._manifest_stamp = fresh.places.stamp()
            self.triggers.watch(fresh.places)
            self.health.manifest_broken = False
            log.info("the manifest was read again")
        self.service.ready()

    def _problem(self, message: str) -> None:
        """Tell of the turn from good to bad, once."""
        message = redact(message)
        new = self.health.problem is None
        self.health.problem = message
        self.service.status(f"degraded: {message.splitlines()[0][:200]}")
        if new and self.watched.webhook is not None:
            self.watched.webhook.tell("failed", message=message)

    def _all_is_well(self) -> None:
        if self.health.problem is not None:
            was, self.health.problem = self.health.problem, None
            log.info("recovered")
            if self.watched.webhook is not None:
                self.watched.webhook.tell("recovered", message=was)
        self.service.status("watching; all is synced")

    def _tell_queue(self) -> None:
        self.health.queued = len(self._debouncer) + len(self._settling)
        self.health.set_aside = len(self._set_aside)
        if not self.health.queued:
            self._arrivals.forget()
