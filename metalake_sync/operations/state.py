"""`status` and `state show|backup|forget|unlock`: read and edit the state, without asking the lake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from metalake_sync.core.snapshots import CollectionKey, Origin, RecordedFile
from metalake_sync.core.targets import Target, check_matched, parse_targets
from metalake_sync.engine import Engine
from metalake_sync.errors import UsageError
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.interrupted_runs import UNKNOWN, answer_key
from metalake_sync.planning.run_options import SkippedPart, recorded_names
from metalake_sync.state.backends.base import StateBackend
from metalake_sync.state.backends.shared import SharedBackend
from metalake_sync.state.database import size_on_disk
from metalake_sync.state.failures import FailureRow
from metalake_sync.state.runs import RunRow
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
    """The last runs, newest first. One without an outcome is running, or was killed."""
    recorded: dict[str, dict[str, int]]
    """What the runs without an outcome did as far as it is recorded: id → action → count."""
    lock: str | None
    """The holder of the lock. None: it is free."""


def read_status(engine: Engine) -> Status:
    """Compare the disk with the records, and read the results of past runs."""
    lake = lake_identity(engine.manifest)
    broken: list[SkippedPart] = []
    engine = replace(engine, options=replace(engine.options, on_skipped=broken.append))
    with engine.plan() as planned, StateStore(engine.state_backend) as state:
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
                    state.failures.of_collection(handle) if handle is not None else [],
                )
            )
        sessions = state.journal.sessions([handle for handle, _ in recorded.values()])
        runs = state.runs.last()
        return Status(
            engine.manifest.source,
            lake,
            rows,
            [
                BrokenSource(part.collection.name if part.collection else None, part.operation, str(part.error))
                for part in broken
            ],
            len(sessions),
            runs,
            {run.id: state.runs.action_counts(run.id) for run in runs if run.outcome is None},
            engine.state_backend.lock_holder(),
        )


def describe_state(engine: Engine) -> dict[str, Any]:
    """The counts of the records, as JSON values."""
    require_state(engine)
    with StateStore(engine.state_backend) as state:
        rows = []
        uploads = 0
        for lake in state.collections.lakes():
            for key, (handle, _) in state.collections.of_lake(lake).items():
                origins = state.files.origin_counts(handle)
                uploads += len(state.journal.sessions([handle]))
                rows.append(
                    {
                        "lake": lake,
                        "type": key.type.value,
                        "name": key.name,
                        "files": sum(origins.values()),
                        "adopted": origins.get(Origin.ADOPTED.value, 0),
                        "sets": sum(state.annotation_sets.counts(handle).values()),
                    }
                )
        return {
            "location": engine.state_backend.location,
            "path": str(engine.state_path),
            "bytes": size_on_disk(engine.state_path),
            "lineage": state.version.lineage,
            "serial": state.serial,
            "shared": _described_log(engine.state_backend),
            "collections": rows,
            "open_uploads": uploads,
            "lock": engine.state_backend.lock_holder(),
        }


def _described_log(backend: StateBackend) -> dict[str, Any] | None:
    """Return what the log of a shared state consists of. None for a file."""
    if not isinstance(backend, SharedBackend):
        return None
    contents = backend.contents()
    if contents is None:
        return None
    return {"sequence": contents.head, "snapshot": contents.snapshot, "segments": len(contents.segments)}


def listed_records(engine: Engine, targets: Sequence[str]) -> list[tuple[CollectionKey, RecordedFile]]:
    """The records that the targets match. Raises UsageError for a collection without records."""
    require_state(engine)
    with StateStore(engine.state_backend) as state:
        return [(key, file) for key, _, file in _matching(engine, state, _parsed(engine, state, targets))]


def back_up(engine: Engine, to: Path | None) -> Path:
    """Copy the state. Returns the path of the copy."""
    require_state(engine)
    with StateStore(engine.state_backend) as state:
        return state.back_up(to)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `state forget` removes."""

    files: int
    uploaded: int
    """How many of them this manifest uploaded: no later run prunes these."""


def forget(
    engine: Engine, targets: Sequence[str], approve: Callable[[Forgotten], None], *, trashed_names: bool = False
) -> tuple[Forgotten, Path]:
    """Remove records. The lake keeps its files. Returns what was removed, and the path of a backup of the state.

    A target that is a whole collection removes everything about the collection, including its markers. `approve`:
    called if this manifest uploaded some of the files. It raises GuardStopped without an approval. `trashed_names`:
    also forget whether the lake accepts the name of a trashed file again.
    """
    require_state(engine)
    with engine.state_backend.lock(command="state forget"), StateStore(engine.state_backend) as state:
        parsed = _parsed(engine, state, targets)
        matching = list(_matching(engine, state, parsed))
        forgotten = Forgotten(len(matching), sum(file.origin is Origin.UPLOADED for _, _, file in matching))
        if forgotten.uploaded:
            approve(forgotten)
        copy = state.back_up()
        with state.write():
            for key, (handle, _) in state.collections.of_lake(lake_identity(engine.manifest)).items():
                if Target(key.name) in parsed:
                    state.collections.forget(handle)
                else:
                    state.files.forget(handle, [file.name for _, where, file in matching if where == handle])
            if trashed_names:
                state.learn(answer_key(lake_identity(engine.manifest)), UNKNOWN)
            state.advance_serial()
        return forgotten, copy


def unlock(engine: Engine, *, force: bool) -> str | None:
    """Remove the lock. Returns its holder, or None without a lock. Raises StateLocked without `force`."""
    return engine.state_backend.break_lock(force=force)


def _parsed(engine: Engine, state: StateStore, targets: Sequence[str]) -> list[Target]:
    """Parse targets. Raises UsageError for a collection without records."""
    recorded = state.collections.of_lake(lake_identity(engine.manifest))
    names = [key.name for key in recorded]
    parsed = parse_targets(targets, names, "the state does not have a collection for '--target {}'")
    check_matched(parsed, recorded_names(state, recorded), "in the state")
    return parsed


def _matching(
    engine: Engine, state: StateStore, targets: Sequence[Target]
) -> Iterator[tuple[CollectionKey, int, RecordedFile]]:
    for key, (handle, _) in state.collections.of_lake(lake_identity(engine.manifest)).items():
        for file in state.files.all(handle):
            if any(target.takes(key.name, file.name) for target in targets):
                yield key, handle, file


def require_state(engine: Engine) -> None:
    """Raise UsageError if the manifest has no state yet."""
    backend = engine.state_backend
    if not backend.exists():
        raise UsageError(
            "there is no state yet",
            where=backend.location,
            remedy="The first apply or import creates it.",
        )
