"""What the calls of `Project` give to a program: plans, events and results."""

from __future__ import annotations

import inspect
import json
import os
import reprlib
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any, TypeAlias

from metalake_sync.api.connected import local_path
from metalake_sync.api.results import ApplyResult, FailedItem
from metalake_sync.core.approved_plan import ApprovedPlan
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
from metalake_sync.core.plan import Plan
from metalake_sync.core.summary import Summary
from metalake_sync.documents.base import to_json
from metalake_sync.documents.events import EventDocument, event_document
from metalake_sync.documents.plan import PlanDocument, plan_document
from metalake_sync.documents.saved_plan_files import save_plan
from metalake_sync.engine import Applied, Engine
from metalake_sync.errors import Interrupted, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.loading import manifest_digest
from metalake_sync.planning.run_options import RunOptions

ProjectEvent: TypeAlias = EventDocument | Observing | Waiting
"""An event of a run: those of `apply --json`, steps before the plan exists, and calls that are retried."""

OnEvent: TypeAlias = Callable[[ProjectEvent], None]

Approve: TypeAlias = "bool | Callable[[ProjectPlan], bool]"
"""Whether a plan that destroys something may be carried out, or a function that decides."""


@dataclass(frozen=True, slots=True)
class ProjectPlan:
    """What an apply would do. It stays as it is: `Project.apply` carries out exactly this, or raises GuardStopped."""

    document: PlanDocument = field(repr=False)
    """The plan as `plan --json` prints it."""
    destructive: bool
    """Whether it trashes, replaces, removes or overwrites anything, so that it needs approval."""
    _plan: Plan = field(repr=False)
    _engine: Engine = field(repr=False)
    _revert: str | None = None
    """The run that the plan reverts."""

    @property
    def summary(self) -> Summary:
        """The number of actions by name."""
        return self.document.summary

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return self._plan.empty

    @property
    def blocked(self) -> tuple[str, ...]:
        """Why an apply of this plan raises GuardStopped even if it is approved. Empty: it does not."""
        return tuple(str(note) for note in self._plan.blocking_notes)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values, in the form of `schemas/plan.schema.json`."""
        parsed: dict[str, Any] = json.loads(to_json(self.document))
        return parsed

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file, for `Project.apply` here or on another machine, and for `metalake-sync apply`.

        Raises UsageError for a manifest without a file.
        """
        save_plan(self._plan, self._engine, Path(local_path(path)), document=self.document, revert=self._revert)

    def _approved(self) -> ApprovedPlan:
        actions = {action.key: dict(action.facts()) for action in self._plan.actions()}
        return ApprovedPlan(
            manifest_digest(self._engine.manifest), self._plan.state_lineage, self._plan.state_serial, actions
        )


def approval_of(answer: object) -> bool:
    """Return an answer about approval. Raises UsageError unless it is True or False: a text or a coroutine, which are
    truthy too, approve nothing."""
    if isinstance(answer, bool):
        return answer
    if inspect.iscoroutine(answer):
        answer.close()
    raise UsageError(
        f"'approve' is {reprlib.repr(answer)}, neither True nor False",
        remedy="Pass True or False, or a function that returns one of them and is not async.",
    )


def given_plan(plan: ProjectPlan) -> tuple[RunOptions, ApprovedPlan, str | None]:
    """Return the options that a plan was made with, what it approves, and the run that it reverts."""
    return plan._engine.options, plan._approved(), plan._revert


def plan_of(plan: Plan, engine: Engine, revert: str | None = None) -> ProjectPlan:
    """Return a plan for `Project.apply`. `engine`: what made it. `revert`: the run that it reverts."""
    return ProjectPlan(plan_document(plan), plan.destructive, plan, engine, revert)


class ProjectListener:
    """Passes events on to the program, and ends a run that was cancelled before it changes anything."""

    def __init__(self, on_event: OnEvent | None, cancelled: Callable[[], bool] | None) -> None:
        self._on_event = on_event
        self._cancelled = cancelled

    def __call__(self, event: Event) -> None:
        if isinstance(event, Observing | PlanMade) and self._cancelled is not None and self._cancelled():
            raise Interrupted.by_program()
        if self._on_event is None:
            return
        match event:
            case Observing() | Waiting():
                self._on_event(event)
            case PlanMade() | Progress() | ActionDone() | ActionFailed() | Resumed() | RunFinished():
                self._on_event(event_document(event))
            case SessionOpened() | LossesFound():
                pass


def apply_result(applied: Applied) -> ApplyResult:
    finished = applied.finished
    failed = tuple(
        FailedItem(one.action.file_name or one.action.action_name, one.error, one.retryable) for one in finished.failed
    )
    return ApplyResult(
        finished.run_id,
        finished.done,
        failed,
        finished.bytes_sent,
        finished.requests,
        finished.writes,
        finished.seconds,
        finished.bytes_received,
        applied.unreadable,
    )
