"""The document of a saved plan. Reading and writing its file is in `saved_plan_files`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from metalake_sync.core.approved_plan import ApprovedPlan
from metalake_sync.core.base_action import ActionKey
from metalake_sync.core.diff_sets import ConflictDecision, OnDrift, SetKey
from metalake_sync.documents.base import Document
from metalake_sync.documents.plan import PlanDocument
from metalake_sync.planning.run_options import RunOptions


class BasisDocument(Document):
    """An action and the facts that must still hold when it is carried out: fingerprints, digests, ids."""

    action: str
    type: str
    collection: str
    file: str | None
    operation: str | None
    facts: dict[str, Any]


class DecisionDocument(Document):
    """The decision about one conflict. `collection`: the collection's name, or the address of an unmanaged file.
    `theirs`, `ours`: the digests of the lake's and of the source's set for which it holds; None: for all."""

    collection: str
    file: str
    operation: str
    on_drift: OnDrift
    theirs: str | None = None
    ours: str | None = None


class SavedPlan(Document):
    """A plan that `plan --out` or `revert --out` saved. `refresh`, `checksum`, `targets` and
    `excludes` are the options of that command."""

    kind: Literal["metalake-sync plan"] = "metalake-sync plan"
    format_version: Literal["2.0"] = "2.0"
    manifest: str
    """The path of the manifest, relative to the folder in which the plan was made. Absolute if it is outside of it."""
    manifest_from_plan: str | None
    """The path of the manifest, relative to the folder of the saved plan. None if it is outside of it."""
    manifest_digest: str
    state_lineage: str | None
    state_serial: int
    refresh: Literal["none", "list", "full"]
    checksum: bool
    targets: list[str]
    excludes: list[str] = Field(default_factory=list)
    decisions: list[DecisionDocument] = Field(default_factory=list)
    """The conflicts that the user decided, in place of `on_drift`."""
    revert: str | None = None
    """The run that the plan reverts. None: the plan makes the lake match the manifest."""
    destructive: bool
    """Whether the plan needs approval. If False, applying the file approves no destructive action."""
    plan: PlanDocument
    basis: list[BasisDocument]

    def with_options(self, options: RunOptions) -> RunOptions:
        """Return options with those of the command that saved the plan."""
        return replace(
            options,
            refresh=self.refresh,
            checksum=self.checksum,
            targets=tuple(self.targets),
            excludes=tuple(self.excludes),
            decisions={
                SetKey(one.collection, one.file, one.operation): ConflictDecision(one.on_drift, one.theirs, one.ours)
                for one in self.decisions
            },
            targets_may_miss=True,
        )

    def approved(self) -> ApprovedPlan:
        """Return what carrying out the plan may do."""
        actions = {
            ActionKey(one.action, one.type, one.collection, one.file, one.operation): one.facts for one in self.basis
        }
        return ApprovedPlan(self.manifest_digest, self.state_lineage, self.state_serial, actions)
