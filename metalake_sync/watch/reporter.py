"""What the daemon reports: log lines, metrics, health, the webhook and the status line of systemd.

Owns: these outputs, the latency of files, and that each note, failure and recovery is reported once. Must not: decide
what runs, or when.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import field

from metalake_sync.core.actions import ReplaceFile, UploadFile
from metalake_sync.core.events import ActionDone, ActionFailed, Event
from metalake_sync.core.notes import counted
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.run_options import SkippedPart
from metalake_sync.redaction import redact
from metalake_sync.watch.debounce import Coverage, Work
from metalake_sync.watch.health import Health, Metrics, ServiceManager
from metalake_sync.watch.notify import Webhook
from metalake_sync.watch.reported import SHOWN, HeldLog, NoteLog, facts, waiting_of
from metalake_sync.watch.runner import RunResult
from metalake_sync.watch.skipped_files import FailedFiles

FOLDERS_LIMIT = 10_000

log = logging.getLogger("metalake_sync.watch")


@dataclass(slots=True)
class Arrivals:
    """Folders that appeared, for the latency of files: the time from a file's last change, or from the arrival of its
    folder, until the lake confirmed it. All times are nanoseconds of the clock that stamps files."""

    started_ns: int
    """Start of the watch. Files that were closed before it have no latency."""
    _appeared: dict[str, int] = field(default_factory=dict)

    def folder_appeared(self, path: str, now_ns: int) -> None:
        """A folder was created, moved in or mounted."""
        if len(self._appeared) < FOLDERS_LIMIT:
            self._appeared[path] = now_ns

    def latency_s(self, path: str, fingerprint: Fingerprint, now_ns: int) -> float | None:
        """Return the latency in seconds, or None for a file that existed before the watch began."""
        # A time ahead of the clock comes from another clock.
        changed_ns = max((one for one in (fingerprint.ctime_ns, fingerprint.mtime_ns) if one <= now_ns), default=now_ns)
        folder = os.path.dirname(path)
        while self._appeared and folder != os.path.dirname(folder):
            changed_ns = max(changed_ns, self._appeared.get(folder, 0))
            folder = os.path.dirname(folder)
        return max(0.0, (now_ns - changed_ns) / 1e9) if changed_ns > self.started_ns else None

    def forget(self) -> None:
        """Forget the folders, because a run has covered all of them."""
        self._appeared.clear()


def log_run(result: RunResult, coverage: str, seconds: float) -> None:
    """Log what a run did."""
    done, failed = result.finished.done, len(result.finished.failed)
    extra = facts(width=coverage, seconds=round(seconds, 3), requests=result.finished.requests)
    if done.changes or failed:
        log.info(
            "synced: %d uploaded, %d replaced, %d trashed, %d metadata, %d annotation sets; %d failed",
            done.upload, done.replace, done.trash, done.update_metadata,
            done.annotate + done.remove_annotations, failed, extra=extra,
        )  # fmt: skip
    else:
        log.debug("nothing to do", extra=extra)


@dataclass(slots=True)
class Reporter:
    """Reports events of runs, results of runs, problems and recoveries."""

    health: Health
    metrics: Metrics
    service: ServiceManager
    failed_files: FailedFiles
    clock: Callable[[], float]
    """Seconds of a clock that only goes forward."""
    wall: Callable[[], float]
    """Seconds since 1970."""
    base_dir: str = ""
    """The folder that the paths of a run are relative to."""
    webhook: Webhook | None = None
    _arrivals: Arrivals = field(default_factory=lambda: Arrivals(time.time_ns()))
    _notes: NoteLog = field(default_factory=NoteLog)
    _held: HeldLog = field(default_factory=HeldLog)
    _broken: frozenset[str] = frozenset()
    """Broken parts with their errors, as the last run logged them."""

    def started(self) -> None:
        self.service.ready()
        log.info("watching %s", self.base_dir)

    # Events during a run.

    def on_event(self, event: Event) -> None:
        """Count and log what a run does. Runs of the watched manifest send their events here."""
        self.health.beat()
        if isinstance(event, ActionDone):
            self._action_done(event)
        elif isinstance(event, ActionFailed):
            self._action_failed(event)

    def _action_done(self, event: ActionDone) -> None:
        action = event.action
        size_bytes, latency_s = 0, None
        if isinstance(action, UploadFile | ReplaceFile):
            fingerprint = action.file.fingerprint
            size_bytes = fingerprint.size_bytes
            latency_s = self._arrivals.latency_s(self._absolute(action.file.path), fingerprint, time.time_ns())
        if action.local_file is not None:
            self.failed_files.succeeded(self._absolute(action.local_file.path))
        self.metrics.synced(action.action_name, size_bytes, latency_s)
        name, file = action.action_name, action.file_name
        extra = facts(action=name, collection=action.collection.name, latency_s=latency_s, file=file)
        log.debug("%s %s", name, file or "", extra=extra)

    def _action_failed(self, event: ActionFailed) -> None:
        action = event.action
        self.metrics.failed(action.action_name)
        file = action.file_name or ""
        log.warning("%s: %s", file or action.collection.name, event.error, extra=facts(file=file))
        if (local := action.local_file) is not None:
            self.failed_files.failed(self._absolute(local.path), file, local.fingerprint.version(), self.clock())

    def _absolute(self, path: str) -> str:
        return os.path.abspath(os.path.join(self.base_dir, path))

    # Results of runs.

    def run_finished(self, work: Work, result: RunResult, seconds: float) -> None:
        """Log a run that came to its end, with what it held, what blocked it and what failed."""
        self.health.last_success = self.wall()
        if work.coverage is not Coverage.FOLDERS:
            self.health.held = waiting_of(result)
        elif result.held:
            self.health.held = max(self.health.held, len(result.held))
        log_run(result, work.coverage.name.lower(), seconds)
        of_everything = work.coverage is Coverage.FULL
        self._notes.log(result.notes, of_everything=of_everything)
        new = self._held.log(result, of_everything=of_everything)
        if new and self.webhook is not None:
            self.webhook.send(
                "held", waiting=waiting_of(result), new=len(new), first=[redact(clause) for clause in new[:SHOWN]]
            )
        self.metrics.ran("some_failed" if result.finished.failed else "done", seconds)

    def result_of(self, result: RunResult, *, work_is_left: bool) -> None:
        """Report a problem of a finished run, or the recovery if no problem and no work is left."""
        failed = result.finished.failed
        if failed:
            self.problem(f"{counted(len(failed), 'item', 'items')} failed; the first: {failed[0].error}")
        elif result.broken:
            self.problem(f"{result.broken[0]}: {result.broken[0].error}")
        elif not work_is_left and not len(self.failed_files) and not self.health.manifest_broken:
            self.recovered()

    def broken_parts(self, broken: Sequence[SkippedPart], pause_s: float) -> None:
        """Log what a run skipped because it is broken. A part with the same error is logged as an error only once."""
        known, self._broken = self._broken, frozenset(f"{part}: {part.error}" for part in broken)
        for part in broken[:SHOWN]:
            level = logging.DEBUG if f"{part}: {part.error}" in known else logging.ERROR
            message = "%s is not changed in the lake, and the rest continues: %s"
            log.log(level, message, part, part.error, extra=facts(again_in_s=round(pause_s)))

    def nothing_broken(self) -> None:
        self._broken = frozenset()

    def stopped(self, message: str, pause_s: float) -> None:
        """Log an error in the sources or the manifest that stopped a run."""
        log.error("%s", message, extra=facts(again_in_s=round(pause_s)))
        self.problem(message)

    def unreachable(self, message: str, pause_s: float, failures: int) -> None:
        """Log a run that failed as a whole, and when the next attempt starts."""
        log.error("%s; the next attempt is in %.0f s", message, pause_s, extra=facts(failures=failures))
        self.problem(message)

    # The manifest.

    def manifest_broken(self, message: str) -> None:
        self.health.manifest_broken = True
        log.error("the manifest is broken, and the last valid one stays in use: %s", message)
        self.problem(f"the manifest is broken: {message}")

    def manifest_read(self) -> None:
        self.health.manifest_broken = False
        log.info("the manifest was read again")

    # Problems and recoveries.

    def problem(self, message: str) -> None:
        """Show a problem in health and status. The webhook receives only the first one."""
        message = redact(message)
        is_new = self.health.problem is None
        self.health.problem = message
        self.service.status(f"degraded: {message.splitlines()[0][:200]}")
        if is_new and self.webhook is not None:
            self.webhook.send("failed", message=message)

    def recovered(self) -> None:
        """Clear the problem, and report the recovery if there was one."""
        if self.health.problem is not None:
            self.health.problem = None
            log.info("recovered")
            if self.webhook is not None:
                self.webhook.send("recovered", message="everything is synced again")
        self.service.status("watching; everything is synced")

    # Notifications.

    def folder_appeared(self, path: str) -> None:
        """Measure the latency of the files in a new folder from now on."""
        self._arrivals.folder_appeared(path, time.time_ns())

    def queue(self, waiting: int) -> None:
        """Show how much waits for a run."""
        self.health.queued = waiting
        self.health.set_aside = len(self.failed_files)
        if not waiting:
            self._arrivals.forget()
