"""A plan as plain values: what a terminal shows, and what `--json` and saved plans contain.

Owns: the plan's document. Must not: import pydantic, which a run needs for its manifest only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Any, ClassVar, Literal

from metalake_sync.core.base_action import ActionDocument
from metalake_sync.core.notes import Note
from metalake_sync.core.plan import Plan
from metalake_sync.core.set_changes import SetChangesMaker
from metalake_sync.core.summary import Summary
from metalake_sync.documents.checks import FindingDocument, finding_documents
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class WarningDocument:
    """One note of a plan."""

    code: str
    message: str
    where: str
    """The file, the source or the manifest line that the note concerns; may be empty."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@plain_dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument:
    """What `plan --json` prints."""

    format_version: Literal["1.0"] = "1.0"
    manifest: str
    state_serial: int
    summary: Summary
    actions: Sequence[ActionDocument]
    warnings: Sequence[WarningDocument]
    sets_not_compared: int | None = None
    """How many changed annotation sets have no `shape_changes`, because the plan changes too many sets."""
    findings: Sequence[FindingDocument] | None = None
    """What the checks found, if anything. `warnings` groups the same findings."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


def plan_document(plan: Plan, *, full_names: bool = False, shapes: bool = True) -> PlanDocument:
    """Return the document of a plan. `full_names`: list every name that a note counts, not the first few. `shapes`:
    compare the shapes of changed annotation sets."""
    maker = SetChangesMaker(plan.shown_sets, everything=full_names) if shapes and plan.shown_sets is not None else None
    actions = [action.document() if maker is None else maker.document(action) for action in plan.actions()]
    return PlanDocument(
        manifest=plan.manifest,
        state_serial=plan.state_serial,
        summary=plan.summary(),
        actions=actions,
        sets_not_compared=(maker.not_compared or None) if maker is not None else None,
        warnings=warning_documents(plan.notes, full_names=full_names),
        findings=finding_documents(plan.findings) or None,
    )


def warning_documents(notes: Iterable[Note], *, full_names: bool = False) -> list[WarningDocument]:
    """Return notes as documents. `full_names`: list every name that a note counts, not the first few."""
    return [
        WarningDocument(note.code.value, note.in_full if full_names else note.message, note.where) for note in notes
    ]
