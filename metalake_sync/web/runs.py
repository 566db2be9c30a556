"""A run of this server, and how events become the progress of a piece of work.

Owns: what is kept of a run while it is active. Must not: start a run.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from metalake_sync.api.project_values import ProjectEvent
from metalake_sync.api.results import ApplyResult
from metalake_sync.core.events import Event, Observing, PlanMade, Waiting
from metalake_sync.documents.events import ActionDoneEvent, ActionFailedEvent, ProgressEvent
from metalake_sync.errors import Interrupted
from metalake_sync.web.background import Changes, Work
from metalake_sync.web.plans import ShownPlan

FAILURES_KEPT = 1_000
LAST_ACTIONS_KEPT = 20


class Run(Work[ApplyResult]):
    """A run of this server."""

    def __init__(self, changes: Changes, shown: ShownPlan) -> None:
        super().__init__(changes)
        self.shown = shown
        """The plan that it carries out."""
        self.started_at = datetime.now(UTC)
        self.progress: ProgressEvent | None = None
        self.done: Counter[str] = Counter()
        """Action → how many of them the lake confirmed."""
        self.failures: deque[ActionFailedEvent] = deque(maxlen=FAILURES_KEPT)
        self.failed = 0
        self.last: deque[ActionDoneEvent] = deque(maxlen=LAST_ACTIONS_KEPT)

    def take(self, event: ProjectEvent) -> None:
        """Take an event of the run. Called by its threads."""
        match event:
            case ProgressEvent():
                self.progress = event
            case ActionDoneEvent():
                self.done[event.action] += 1
                self.last.append(event)
            case ActionFailedEvent():
                self.failed += 1
                self.failures.append(event)
            case Observing() | Waiting():
                self.step = step_text(event)
            case _:
                return
        self._changes.add()


def listener(work: Work[Any]) -> Callable[[Event], None]:
    """Return a listener that passes on progress, and ends cancelled work."""

    def listen(event: Event) -> None:
        if isinstance(event, Observing | PlanMade) and work.is_cancelled():
            raise Interrupted.by_program()
        if isinstance(event, Observing | Waiting):
            work.tell(step_text(event))

    return listen


def step_text(event: Observing | Waiting) -> str:
    """Return an event as the step of a piece of work."""
    if isinstance(event, Waiting):
        return event.message
    return f"{event.what}: {event.count:,}" if event.count else event.what
