"""What a run tells while it goes on. Any number of listeners may hear it: terminal, JSON Lines, log, metrics.

Owns: the closed union of events. Must not: know of any listener.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from metalake_sync.core.actions import Action
from metalake_sync.core.plan import Plan
from metalake_sync.core.summary import Summary
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Observing:
    """A step before the plan: `what` is a clause such as "scanning images", `count` how many so far."""

    what: str
    count: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call is tried again and again, because nobody answers. `words`: a sentence. Told from any thread."""

    words: str


@dataclass(frozen=True, slots=True)
class PlanMade:
    plan: Plan


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the run stands. `bytes_sent` counts what is on the wire, either way, also of files that are not finished.

    `bytes_total`: 0 while nobody knows it: a lake lists no sizes, so that of a download is known at its end.
    """

    files_done: int
    files_total: int
    bytes_sent: int
    bytes_total: int
    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """An upload session was opened. `job_id`: the lake's job that takes its files in."""

    collection: str
    job_id: str


@dataclass(frozen=True, slots=True)
class ActionDone:
    """The lake confirmed it, and it is recorded."""

    action: Action


@dataclass(frozen=True, slots=True)
class ActionFailed:
    """`error` is the whole sentence. `retryable`: the next run may succeed with nothing changed."""

    action: Action
    error: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Resumed:
    """An upload session that an earlier run left open was completed. `files` of them are now in the lake."""

    collection: str
    files: int


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event. `done` counts what was done, `requests` what was asked of lake and store together."""

    run_id: str
    done: Summary
    failed: tuple[ActionFailed, ...]
    bytes_sent: int
    requests: int
    writes: int
    seconds: float


Event: TypeAlias = (
    Observing | Waiting | PlanMade | Progress | SessionOpened | ActionDone | ActionFailed | Resumed | RunFinished
)

EventSink: TypeAlias = Callable[[Event], None]
