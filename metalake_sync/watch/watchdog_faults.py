"""Failures of the watchdog library: lost events, dead threads and observers that cannot be ended.

Owns: noticing these failures, which watchdog does not report to its callers. Must not: decide what to watch.
"""

from __future__ import annotations

import contextlib
import logging
import threading

from watchdog.observers.api import BaseObserver, EventDispatcher

from metalake_sync.watch.hints import EventsLost, HintBox


class WatchdogLog(logging.Handler):
    """Turns warnings of watchdog into EventsLost. watchdog reports an overflow of the kernel's queue, and watches that
    it could not set, only in its log."""

    def __init__(self, box: HintBox) -> None:
        super().__init__(logging.WARNING)
        self._box = box

    def emit(self, record: logging.LogRecord) -> None:
        # A thread that was ended right after its start logs a warning too, but has lost no event.
        if record.funcName != "queue_events":
            self._box.put(EventsLost(record.getMessage()))


class ThreadDeaths:
    """Notices when a thread of watchdog ends with an exception. Its bookkeeping of folders that are moved out of a tree
    and into another can fail (7.1.0: a KeyError in the only thread that reads events). Then it sends no further event
    and logs nothing."""

    def __init__(self, box: HintBox) -> None:
        self._box = box
        self._seen = threading.Event()
        self._before = threading.excepthook

    def watch(self) -> None:
        self._before, threading.excepthook = threading.excepthook, self._on_death

    def forget(self) -> None:
        threading.excepthook = self._before

    def seen(self) -> bool:
        """Whether a thread died since the last call."""
        seen = self._seen.is_set()
        self._seen.clear()
        return seen

    def _on_death(self, death: threading.ExceptHookArgs) -> None:
        if not type(death.thread).__module__.startswith("watchdog."):
            self._before(death)
            return
        self._seen.set()
        self._box.put(EventsLost(f"a thread of watchdog ended with {death.exc_type.__name__}"))


def retire(observer: BaseObserver) -> None:
    """End an observer in any state. An observer with broken bookkeeping cannot be ended completely: its descriptors are
    closed, and its waiting threads stay as daemon threads without events."""
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
