"""The notification trigger: watchdog on every folder, and polling where notifications do not work.

Owns: how each folder is watched, and renewing watches when a folder comes back. Must not: assume that it receives every
event.
"""

from __future__ import annotations

import errno
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from metalake_sync.watch.hints import Change, EventsLost, HintBox, Places, SourceTouched, TreeTouched
from metalake_sync.watch.polling import MOUNTINFO, PollingTrigger, silent_filesystem
from metalake_sync.watch.watchdog_faults import ThreadDeaths, WatchdogLog, retire

POLL_S = 10.0
"""Seconds between scans of a file system without notifications, unless --poll is given."""

LIMITS = {
    errno.ENOSPC: ("fs.inotify.max_user_watches", 1_048_576),
    errno.EMFILE: ("fs.inotify.max_user_instances", 1024),
}

# Writes before a file is closed are not needed. Reads must be excluded, because our own reads would cause events.
_WANTED: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]

Report = Callable[[str], None]


class Triggers:
    """Watches the places of a manifest.

    `poll_s`: seconds between scans if everything is polled; None polls only where notifications do not work. `report`:
    receives messages for the user, such as a limit and how to raise it. `mountinfo`: the system's table of mounts.
    """

    def __init__(
        self, box: HintBox, places: Places, poll_s: float | None, report: Report, mountinfo: Path = MOUNTINFO
    ) -> None:
        self._box = box
        self._places = places
        self._poll_s = poll_s
        self._report = report
        self._mountinfo = mountinfo
        self._observer: BaseObserver | None = None
        self._refused = 0
        self._watches: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}
        self._polled: dict[str, bool] = {}
        self._reported: set[str] = set()
        self._poller = PollingTrigger(box, poll_s or POLL_S, lambda: self._places)
        self._watchdog_log = WatchdogLog(box)
        self._deaths = ThreadDeaths(box)
        self._folder_appeared = False

    def start(self) -> None:
        logging.getLogger("watchdog").addHandler(self._watchdog_log)
        # These warnings concern the bookkeeping of watchdog and would be stray lines in the log.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.")
        self._deaths.watch()
        if self._poll_s is None:
            self._observe()
        self.watch(self._places)

    def watch(self, places: Places) -> None:
        """Watch these places from now on. Existing watches on them stay."""
        self._places = places
        wanted = places.folders()
        for path in self._watches.keys() - wanted.keys():
            self._drop(path)
        self._polled = {path: deep for path, deep in self._polled.items() if path in wanted}
        for path, deep in wanted.items():
            if path not in self._watches and path not in self._polled:
                self._add(path, deep)
        self._poller.watch(self._polled)

    def supervise(self) -> None:
        """Renew lost watches: a folder came back, was replaced or mounted over, or a thread died. Call this every few
        seconds."""
        before = set(self._polled)
        if self._observer is not None and (not self._observer.is_alive() or self._deaths.seen()):
            retire(self._observer)
            self._watches.clear()
            self._observe()
            self._box.put(EventsLost("a thread that receives notifications died"))
        for path, deep in self._places.folders().items():
            if path in self._polled:
                continue
            watch = self._watches.get(path)
            identity = _identity(path)
            if watch is not None and watch[1] == identity and self._is_alive(watch[0]):
                continue
            if watch is not None:
                self._drop(path)
            if identity is not None:
                self._add(path, deep)
                self._box.put(TreeTouched(path))
                if any(source == path or os.path.dirname(source) == path for source in self._places.sources):
                    self._box.put(SourceTouched(path))
        if self._folder_appeared:
            self._folder_appeared = False
            reached = self._limit_reached()
            if reached is not None:
                for path in [path for path in self._watches if self._places.folders().get(path)]:
                    self._drop(path)
                    self._poll_instead(path, True, reached)
                    self._box.put(TreeTouched(path))
        if set(self._polled) != before:
            self._poller.watch(self._polled)

    def close(self) -> None:
        self._poller.close()
        if self._observer is not None:
            retire(self._observer)
        self._deaths.forget()
        logging.getLogger("watchdog").removeHandler(self._watchdog_log)

    def on_event(self, event: FileSystemEvent) -> None:
        """Turn an event of watchdog into hints. Called in its thread."""
        if isinstance(event, DirCreatedEvent | DirMovedEvent):
            self._folder_appeared = True
        changes = [Change(os.fsdecode(event.src_path), event.is_directory, gone=event.event_type == "deleted")]
        if isinstance(event, FileMovedEvent | DirMovedEvent):
            changes = [Change(os.fsdecode(event.src_path), event.is_directory, gone=True)] if event.src_path else []
            if event.dest_path:
                changes.append(Change(os.fsdecode(event.dest_path), event.is_directory))
        for change in changes:
            for hint in self._places.hints(change):
                self._box.put(hint)

    def _observe(self) -> None:
        """Start an observer, if the system allows it."""
        self._observer = None
        try:
            observer = Observer()
            observer.start()
        except OSError as error:
            self._refused = error.errno or errno.ENOSYS
        else:
            self._observer = observer

    def _add(self, path: str, deep: bool) -> None:
        silent = silent_filesystem(path, self._mountinfo)
        if self._poll_s is not None or silent is not None:
            if silent is not None:
                self._report_once(f"{path} is on {silent}, which sends no notifications: it is polled")
            self._polled[path] = deep
            return
        if self._observer is None:
            self._poll_instead(path, deep, self._refused)
            return
        identity = _identity(path)
        if identity is None:
            self._report_once(f"{path} does not exist now; it is checked every few seconds")
            return
        try:
            watch = self._observer.schedule(_Handler(self), path, recursive=deep, event_filter=_WANTED)
        except OSError as error:
            if error.errno in LIMITS:
                self._poll_instead(path, deep, error.errno)
            else:
                self._report_once(f"{path} cannot be watched now ({error.strerror}); the next attempt follows")
            return
        self._watches[path] = (watch, identity)
        reached = self._limit_reached() if deep else None
        if reached is not None:
            self._drop(path)
            self._poll_instead(path, deep, reached)

    def _limit_reached(self) -> int | None:
        """Return the error with which the system refuses one more watch, or None.

        watchdog does not report a folder in a tree that it could not watch. So this method requests one more watch and
        releases it.
        """
        assert self._observer is not None
        try:
            watch = self._observer.schedule(FileSystemEventHandler(), os.sep, event_filter=[DirDeletedEvent])
        except OSError as error:
            return error.errno if error.errno in LIMITS else None
        self._observer.unschedule(watch)
        return None

    def _poll_instead(self, path: str, deep: bool, number: int) -> None:
        """Poll a folder that cannot be watched, and report the reason."""
        self._polled[path] = deep
        if number not in LIMITS:
            self._report_once(f"{path} is polled, because the system sends no notifications ({os.strerror(number)})")
            return
        name, enough = LIMITS[number]
        try:
            with open("/proc/sys/" + name.replace(".", "/")) as file:
                limit = file.read().strip()
        except OSError:
            limit = "unknown"
        self._report_once(
            f"{path} is polled, because the system's limit {name} ({limit}) is reached."
            f" Raise it with: sudo sysctl {name}={enough}"
        )

    def _report_once(self, message: str) -> None:
        if message not in self._reported:
            self._reported.add(message)
            self._report(message)

    def _drop(self, path: str) -> None:
        watch, _ = self._watches.pop(path)
        assert self._observer is not None
        try:
            self._observer.unschedule(watch)
        except (KeyError, OSError) as error:
            self._report(f"the watch on {path} could not be removed ({type(error).__name__}); a new one is set")

    def _is_alive(self, watch: ObservedWatch) -> bool:
        observer = self._observer
        return observer is not None and any(one.watch == watch and one.is_alive() for one in observer.emitters)


class _Handler(FileSystemEventHandler):
    def __init__(self, triggers: Triggers) -> None:
        self._triggers = triggers

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._triggers.on_event(event)


def _identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of a folder, which differ if another folder or a mount replaces it, or None."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
