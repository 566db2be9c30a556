"""What the command line passes to the pages: how to open the manifest, and the words of the terminal.

Owns: the interface between both. Must not: import the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from metalake_sync.core.events import EventSink
from metalake_sync.documents.plan import PlanDocument
from metalake_sync.engine import Engine
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.report.model import ReportPlan
from metalake_sync.report.planned_images import PlannedImages
from metalake_sync.state.runs import ActionRow, Values


class OpensEngine(Protocol):
    """Reads the manifest as it is now. `is_cancelled`: ends a plan or a run that it returns True for."""

    def __call__(self, emit: EventSink, is_cancelled: Callable[[], bool] | None) -> Engine: ...


@dataclass(frozen=True, slots=True)
class ActionWords:
    """One action of a past run as text."""

    sign: str
    why: str
    details: Sequence[str]
    """The values before and after, one line each."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words of the terminal."""

    report_plan: Callable[[PlanDocument, PlannedImages], ReportPlan]
    """Returns the entries and the counts of a plan."""
    past_action: Callable[[ActionRow, Values], ActionWords]
    """Returns the words for an action of a past run."""
    document: Callable[[ActionRow, Values], dict[str, object]]
    """Returns an action of a past run as `history --json --diff` prints it."""
