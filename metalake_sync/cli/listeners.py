"""The listeners of a run: a terminal with a live display, a plain log with occasional lines, or JSON Lines.

Owns: how events are printed. Must not: change the course of a run.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

import click

from metalake_sync.cli.log_lines import Failures, json_line
from metalake_sync.cli.render_plan import render_plan
from metalake_sync.cli.run_words import done_words
from metalake_sync.cli.terminal import count, duration, echo_json, say, shown, size
from metalake_sync.core.actions import Action, TrashCollection
from metalake_sync.core.base_action import ActionKey
from metalake_sync.core.events import (
    ActionDone,
    ActionFailed,
    Event,
    LossesFound,
    Observing,
    PlanMade,
    Progress,
    Resumed,
    RunFinished,
    SessionOpened,
    Waiting,
)
from metalake_sync.core.selection import WHOLE_LAKE
from metalake_sync.core.set_changes import SetChanges
from metalake_sync.core.summary import ACTION_NAMES
from metalake_sync.documents.plan import plan_document

LINE_EVERY_S = 30.0
"""How often a run without a terminal prints its progress."""

WAITING_EVERY_S = 10.0

JSON_PROGRESS_EVERY_S = 1.0


class Listener(Protocol):
    """Receives every event. `pause` clears the display for a prompt, `close` for good."""

    def __call__(self, event: Event) -> None: ...

    def pause(self) -> None: ...

    def close(self) -> None: ...


class JsonListener:
    """Prints events as JSON Lines on standard output. Of the progress, about one line a second and the last one."""

    def __init__(self) -> None:
        self._next_progress = 0.0
        self._skipped: Progress | None = None
        self._shape_changes: dict[ActionKey, SetChanges] = {}
        """What the plan says about the sets that are not sent yet."""

    def __call__(self, event: Event) -> None:
        from metalake_sync.documents.base import to_json
        from metalake_sync.documents.events import PlanEvent, event_document

        if isinstance(event, Observing | Waiting | SessionOpened | LossesFound):
            return
        if isinstance(event, Progress):
            if time.monotonic() < self._next_progress:
                self._skipped = event
                return
            self._skipped = None
            self._next_progress = time.monotonic() + JSON_PROGRESS_EVERY_S
        if isinstance(event, RunFinished) and self._skipped is not None:
            echo_json(to_json(event_document(self._skipped, None)))
        changes = None
        if isinstance(event, ActionDone | ActionFailed):
            changes = self._shape_changes.pop(event.action.key, None)
        document = event_document(event, changes)
        if isinstance(event, PlanMade) and isinstance(document, PlanEvent):
            self._shape_changes = {
                action.key: one.shape_changes
                for action, one in zip(event.plan.actions(), document.plan.actions, strict=True)
                if one.shape_changes is not None
            }
        echo_json(to_json(document))

    def pause(self) -> None: ...

    def close(self) -> None: ...


class TextListener:
    """Prints events as text: progress on a display, the rest on standard output."""

    def __init__(self, *, quiet: bool, verbose: bool, json_log: bool = False) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._failures = Failures(everything=verbose, json_log=json_log)
        self._downloads_only = False
        live = sys.stderr.isatty() and not quiet and not json_log
        self._display: Display = LiveDisplay() if live else PlainDisplay(quiet, json_log)

    def __call__(self, event: Event) -> None:
        match event:
            case Observing():
                self._display.observing(f"{event.what}: {event.count}" if event.count else event.what)
            case Waiting():
                self._display.waiting(event.message)
            case PlanMade():
                self._display.clear()
                self._downloads_only = bool(event.plan.downloads) and not event.plan.collections
                if not self._quiet:
                    plan = plan_document(event.plan, full_names=self._verbose)
                    for line in render_plan(plan, all_lines=self._verbose):
                        say(line)
            case Progress():
                self._display.progress(event)
            case Resumed():
                self._display.clear()
                if not self._quiet:
                    files = count(event.files, "file")
                    say(f"{shown(event.collection)}: finished an upload session of an earlier run ({files})")
            case LossesFound():
                self._display.clear()
                for line in event.losses if not self._quiet else ():
                    say(f"{shown(event.folder)}: the annotation format cannot express everything: {shown(line)}")
            case ActionFailed():
                self._display.clear()
                error = event.error
                if event.retryable:
                    error = f"{error.removesuffix('.')}. The next run retries it."
                self._failures.report(item_of(event.action), error)
            case RunFinished():
                self._display.clear()
                self._failures.close()
                say(outcome(event, downloads_only=self._downloads_only))
            case ActionDone(action=TrashCollection() as action):
                self._display.clear()
                if not self._quiet:
                    say(f"{shown(str(action.collection))}: trashed the collection with {count(action.items, 'item')}")
            case ActionDone() | SessionOpened():
                pass

    def pause(self) -> None:
        self._display.clear()

    def close(self) -> None:
        self._display.close()
        self._failures.close()


def item_of(action: Action) -> str:
    """Return the file that an action concerns, with its collection in front."""
    item = action.file_name or "the collection"
    return item if action.collection.name == WHOLE_LAKE else f"{action.collection.name}/{item}"


def outcome(event: RunFinished, *, downloads_only: bool = False) -> str:
    """Return the last line of an apply. `downloads_only`: the plan had only downloads."""
    done = event.done
    counts = list(done_words({name: getattr(done, name) for name in ACTION_NAMES}))
    failed = click.style(f", {len(event.failed)} failed", fg="red") if event.failed else ""
    if not counts and not failed:
        if downloads_only:
            return "Nothing was downloaded: the local files match the lake."
        return "Nothing was sent: the lake matches the manifest."
    moved = [f"{size(event.bytes_sent)} sent"] if event.bytes_sent or not event.bytes_received else []
    moved += [f"{size(event.bytes_received)} received"] if event.bytes_received else []
    calls = f"{' and '.join(moved)} in {count(event.requests, 'request')}, {duration(event.seconds)}"
    return f"{click.style('Applied', bold=True)}: {', '.join(counts) or 'nothing'}{failed} ({calls})."


class Display(Protocol):
    """Shows the progress of a run while it lasts."""

    def observing(self, message: str) -> None: ...

    def waiting(self, message: str) -> None: ...

    def progress(self, event: Progress) -> None: ...

    def clear(self) -> None: ...

    def close(self) -> None: ...


class PlainDisplay:
    """Prints a line on standard error every half minute, as text or JSON."""

    def __init__(self, quiet: bool, json_log: bool = False) -> None:
        self._quiet = quiet
        self._json_log = json_log
        self._next = time.monotonic() + LINE_EVERY_S
        self._next_waiting = 0.0

    def observing(self, message: str) -> None:
        self._print(message)

    def waiting(self, message: str) -> None:
        """Print the message at once, but only one of many waiting calls."""
        if not self._quiet and time.monotonic() >= self._next_waiting:
            self._next_waiting = time.monotonic() + WAITING_EVERY_S
            click.echo(json_line("warning", message) if self._json_log else shown(message), err=True)

    def progress(self, event: Progress) -> None:
        share = f" of {size(event.bytes_total)}" if event.bytes_total else ""
        self._print(
            f"{event.stage}: {event.files_done} of {event.files_total} files, {size(event.bytes_sent)}{share},"
            f" {duration(event.seconds)}"
        )

    def _print(self, message: str) -> None:
        if not self._quiet and time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_EVERY_S
            click.echo(json_line("info", message) if self._json_log else shown(message), err=True)

    def clear(self) -> None: ...

    def close(self) -> None: ...


class LiveDisplay:
    """A live display on standard error: files, bytes, rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._live: Any = None
        self._task: Any = None

    def observing(self, message: str) -> None:
        self._show(shown(message), None, None)

    def waiting(self, message: str) -> None:
        self._console.print(shown(message), markup=False, highlight=False)

    def progress(self, event: Progress) -> None:
        if not event.files_total and not event.bytes_total:
            self._show(shown(event.stage), None, None)
            return
        message = f"{shown(event.stage)}  {event.files_done}/{event.files_total} files"
        self._show(message, event.bytes_sent, event.bytes_total or None)

    def _show(self, message: str, completed: float | None, total: float | None) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        moving = completed is not None
        if self._live is None or self._moving != moving:
            self.clear()
            columns = [TextColumn("{task.description}", markup=False)]
            bars = [BarColumn(), DownloadColumn(), Speed(), TimeRemainingColumn()] if moving else []
            self._live = Progress(*columns, *bars, console=self._console, transient=True)
            self._live.start()
            self._task = self._live.add_task(message, total=total)
            self._moving = moving
        self._live.update(self._task, description=message, completed=completed, total=total)

    _moving = False

    def clear(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def close(self) -> None:
        self.clear()
