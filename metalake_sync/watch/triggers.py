"""The trigger that the system notifies: watchdog on every folder, and the poller where that can't work.

Owns: which folder is watched how, that watches are renewed when a folder comes back, and that lost events are told.
Must not: believe that it hears of everything.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
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
from watchdog.observers.api import BaseObserver, EventDispatcher, ObservedWatch

from metalake_sync.watch.filesystems import MOUNTINFO, silent_filesystem
from metalake_sync.watch.hints import EventsLost, HintBox, SourceTouched, TreeTouched
from metalake_sync.watch.polling import PollingTrigger
from metalake_sync.watch.watched_paths import Change, Places

POLL_S = 10.0
"""How often a filesystem without notifications is looked at, unless --poll says otherwise."""

LIMITS = {
    errno.ENOSPC: ("fs.inotify.max_user_watches", 1_048_576),
    errno.EMFILE: ("fs.inotify.max_user_instances", 1024),
}

# Writes in between are no news: a file is taken when it is closed. What we read ourselves must not come back either.
_WANTED: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]

Say = Callable[[str], None]


class Triggers:
    """Watches the places of a manifest. `poll_s`: poll everything, so often; None polls only where it must. `say`: told
    what a user should know, such as a limit and how to raise it. `mountinfo`: the system's table of mounts."""

    def __init__(
        self, box: HintBox, places: Places, poll_s: float | None, say: Say, mountinfo: Path = MOUNTINFO
    ) -> None:
        self._box = box
        self._places = places
        self._poll_s = poll_s
        self._say = say
        self._mountinfo = mountinfo
        self._observer: BaseObserver | None = None
        self._refused = 0
        self._watches: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}
        self._polled: dict[str, bool] = {}
        self._told: set[str] = set()
        self._poller = PollingTrigger(box, poll_s or POLL_S, lambda: self._places)
        self._complaints = _Complaints(box)
        self._deaths = _Deaths(box)
        self._folder_came = False

    def start(self) -> None:
        logging.getLogger("watchdog").addHandler(self._complaints)
        # What it warns of concerns its own bookkeeping, and would stand as loose lines in the log.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.")
        self._deaths.watch()
        if self._poll_s is None:
            self._observe()
        self.watch(self._places)

    def watch(self, places: Places) -> None:
        """Watch these places from now on; what is watched already stays so."""
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
        """Renew what was lost: a folder that came back, was replaced or mounted over, a thread that died. Call it every
        few seconds."""
        before = set(self._polled)
        if self._observer is not None and (not self._observer.is_alive() or self._deaths.seen()):
            _retire(self._observer)
            self._watches.clear()
            self._observe()
            self._box.put(EventsLost("a thread that hears notifications had died"))
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
        if self._folder_came:
            self._folder_came = False
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
            _retire(self._observer)
        self._deaths.forget()
        logging.getLogger("watchdog").removeHandler(self._complaints)

    def heard(self, event: FileSystemEvent) -> None:
        """Turn an event of the library into hints. Called in its thread."""
        if isinstance(event, DirCreatedEvent | DirMovedEvent):
            self._folder_came = True
        changes = [Change(os.fsdecode(event.src_path), event.is_directory, gone=event.event_type == "deleted")]
        if isinstance(event, FileMovedEvent | DirMovedEvent):
            changes = [Change(os.fsdecode(event.src_path), event.is_directory, gone=True)] if event.src_path else []
            if event.dest_path:
                changes.append(Change(os.fsdecode(event.dest_path), event.is_directory))
        for change in changes:
            for hint in self._places.hints(change):
                self._box.put(hint)

    def _observe(self) -> None:
        """Begin to be notified, if the system lets us."""
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
                self._tell_once(f"{path} is on {silent}, which sends no notifications: it is polled")
            self._polled[path] = deep
            return
        if self._observer is None:
            self._poll_instead(path, deep, self._refused)
            return
        identity = _identity(path)
        if identity is None:
            self._tell_once(f"{path} is not there now; it is looked for every few seconds")
            return
        try:
            watch = self._observer.schedule(_Handler(self), path, recursive=deep, event_filter=_WANTED)
        except OSError as error:
            if error.errno in LIMITS:
                self._poll_instead(path, deep, error.errno)
            else:
                self._tell_once(f"{path} can't be watched now ({error.strerror}); it is tried again")
            return
        self._watches[path] = (watch, identity)
        reached = self._limit_reached() if deep else None
        if reached is not None:
            self._drop(path)
            self._poll_instead(path, deep, reached)

    def _limit_reached(self) -> int | None:
        """The error with which the system refuses one more watch, if it does. The library keeps silent about a folder
        within a tree that it could not watch, so one more is asked for, and given back."""
        assert self._observer is not None
        try:
            watch = self._observer.schedule(FileSystemEventHandler(), os.sep, event_filter=[DirDeletedEvent])
        except OSError as error:
            return error.errno if error.errno in LIMITS else None
        self._observer.unschedule(watch)
        return None

    def _poll_instead(self, path: str, deep: bool, number: int) -> None:
        """Poll what the system does not let us watch, and say why."""
        self._polled[path] = deep
        if number not in LIMITS:
            self._tell_once(f"{path} is polled, because the system sends no notifications ({os.strerror(number)})")
            return
        name, enough = LIMITS[number]
        try:
            with open("/proc/sys/" + name.replace(".", "/")) as file:
                limit = file.read().strip()
        except OSError:
            limit = "unknown"
        self._tell_once(
            f"{path} is polled, because the system's limit {name} ({limit}) is reached."
            f" Raise it with: sudo sysctl {name}={enough}"
        )

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._say(message)

    def _drop(self, path: str) -> None:
        watch, _ = self._watches.pop(path)
        assert self._observer is not None
        try:
            self._observer.unschedule(watch)
        except (KeyError, OSError) as error:
            self._say(f"the watch on {path} could not be taken back ({type(error).__name__}); a new one is set")

    def _is_alive(self, watch: ObservedWatch) -> bool:
        observer = self._observer
        return observer is not None and any(one.watch == watch and one.is_alive() for one in observer.emitters)


class _Handler(FileSystemEventHandler):
    def __init__(self, triggers: Triggers) -> None:
        self._triggers = triggers

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._triggers.heard(event)


class _Complaints(logging.Handler):
    """watchdog tells of an overflow of the kernel's queue, and of watches that it could not set, in its log alone. What
    it complains of has cost events: everything is looked at."""

    def __init__(self, box: HintBox) -> None:
        super().__init__(logging.WARNING)
        self._box = box

    def emit(self, record: logging.LogRecord) -> None:
        # A thread that was ended just after its start complains too, and has heard nothing that is wanted.
        if record.funcName != "queue_events":
            self._box.put(EventsLost(record.getMessage()))


class _Deaths:
    """Sees when a thread of watchdog ends by an exception. Its books of folders that were moved out of a tree, and in
    again elsewhere, can go wrong (7.1.0: a KeyError in the only thread that reads events), and then it hears nothing
    and says nothing."""

    def __init__(self, box: HintBox) -> None:
        self._box = box
        self._seen = threading.Event()
        self._before = threading.excepthook

    def watch(self) -> None:
        self._before, threading.excepthook = threading.excepthook, self._died

    def forget(self) -> None:
        threading.excepthook = self._before

    def seen(self) -> bool:
        """Whether one died since the last call."""
        seen = self._seen.is_set()
        self._seen.clear()
        return seen

    def _died(self, death: threading.ExceptHookArgs) -> None:
        if not type(death.thread).__module__.startswith("watchdog."):
            self._before(death)
            return
        self._seen.set()
        self._box.put(EventsLost(f"a thread of watchdog ended with {death.exc_type.__name__}"))


def _retire(observer: BaseObserver) -> None:
    """End an observer, whatever state it is in. One whose books are wrong can't be ended whole: what it has open is
    closed, and threads that wait in it for events stay, as daemons, and hear nothing more."""
    try:
        observer.stop()
    except (KeyError, OSError):
        inotify = getattr(observer, "_inotify_fd", None)
        if inotify is not None:
            with contextlib.suppress(KeyError, OSError):
                inotify.stop()
        observer.event_queue.put_nowait(EventDispatcher.stop_event)
    if observer.is_alive():
        observer.join(timeout=5.0)


def _identity(path: str) -> tuple[int, int] | None:
    """What tells one folder from another that takes its place, such as a mount; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
