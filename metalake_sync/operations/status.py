"""`status`: shows from the state and the disk what is synced, pending or failed, and the last runs.

Must not: ask the lake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from metalake_sync.core.snapshots import Origin
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.run_options import SkippedPart
from metalake_sync.project import Project
from metalake_sync.state.runs import FailureRow, RunRow
from metalake_sync.state.store import StateStore


@dataclass(frozen=True, slots=True)
class CollectionStatus:
    type: str
    name: str
    synced: int
    adopted: int
    annotation_sets: int
    pending: int
    """How many files the next apply will change, judged by the records and the disk."""
    failures: list[FailureRow]


@dataclass(frozen=True, slots=True)
class BrokenSource:
    """A part of the manifest that cannot be read now. Its files stay in the lake as they are."""

    collection: str | None
    operation: str | None
    """The operation, if only its annotations cannot be read."""
    error: str


@dataclass(frozen=True, slots=True)
class Status:
    manifest: str
    lake: str
    collections: list[CollectionStatus]
    broken: list[BrokenSource]
    open_sessions: int
    runs: list[RunRow]


def read_status(project: Project) -> Status:
    """Compare the disk with the records, and read the results of past runs."""
    lake = lake_identity(project.manifest)
    broken: list[SkippedPart] = []
    project = replace(project, options=replace(project.options, on_skipped=broken.append))
    with project.plan() as planned, StateStore(project.state_backend) as state:
        recorded = state.collections.of_lake(lake)
        rows: list[CollectionStatus] = []
        for collection in planned.plan.collections:
            handle = recorded[collection.key][0] if collection.key in recorded else None
            pending = {action.file_name for action in collection.actions()} - {None}
            origins: Mapping[str, int] = state.files.origin_counts(handle) if handle is not None else {}
            rows.append(
                CollectionStatus(
                    collection.key.type.value,
                    collection.key.name,
                    sum(origins.values()),
                    origins.get(Origin.ADOPTED.value, 0),
                    sum(state.annotation_sets.counts(handle).values()) if handle is not None else 0,
                    len(pending),
                    state.runs.failures(handle) if handle is not None else [],
                )
            )
        sessions = state.journal.sessions([handle for handle, _ in recorded.values()])
        return Status(
            project.manifest.source,
            lake,
            rows,
            [
                BrokenSource(part.collection.name if part.collection else None, part.operation, str(part.error))
                for part in broken
            ],
            len(sessions),
            state.runs.last(),
        )
