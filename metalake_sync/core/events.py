"""The events of a run, for any number of listeners: terminal, JSON Lines, log, metrics.

Owns: the closed union of events. Must not: know a listener.
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
    """Progress of a step before the plan exists."""

    what: str
    """The step as a clause, such as "scanning images"."""
    count: int = 0
    """The number of items so far."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run is slower than usual: a call is retried, because the lake or the store does not answer, or workers are
    not used any more. Any thread may emit this event."""

    message: str


@dataclass(frozen=True, slots=True)
class PlanMade:
    """The plan that the run carries out."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is."""

    files_done: int
    files_total: int
    bytes_sent: int
    """The number of transferred bytes in both directions, including those of unfinished files."""
    bytes_total: int
    """0 while unknown: listings have no sizes, so the size of a download is known when it ends."""
    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """An upload session was opened."""

    collection: str
    job_id: str
    """The lake's job that processes the files of the session."""


@dataclass(frozen=True, slots=True)
class ActionDone:
    """The lake confirmed the action, and the state records it."""

    action: Action


@dataclass(frozen=True, slots=True)
class ActionFailed:
    """The action failed."""

    action: Action
    error: str
    """The error as a complete sentence."""
    retryable: bool
    """Whether the next run may succeed without any change."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The run finished an upload session that an earlier run left open."""

    collection: str
    files: int
    """The number of files that are now in the lake."""


@dataclass(frozen=True, slots=True)
class LossesFound:
    """A download wrote annotations without what their format cannot express, and the plan did not show it."""

    folder: str
    losses: tuple[str, ...]
    """One line for each kind."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event of a run."""

    run_id: str
    done: Summary
    failed: tuple[ActionFailed, ...]
    bytes_sent: int
    requests: int
    """The number of calls of the lake and the object store."""
    writes: int
    """The number of calls that may change something."""
    seconds: float
    bytes_received: int = 0
    """The number of downloaded bytes of files."""


Event: TypeAlias = (
    Observing
    | Waiting
    | PlanMade
    | Progress
    | SessionOpened
    | ActionDone
    | ActionFailed
    | Resumed
    | LossesFound
    | RunFinished
)

EventSink: TypeAlias = Callable[[Event], None]
