"""What a user does with the state itself: look at it, copy it, drop records, free its lock. The lake is not asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from metalake_sync.core.snapshots import CollectionKey, Origin, RecordedFile
from metalake_sync.core.targets import Target, check_matched, parse_target
from metalake_sync.errors import UsageError
from metalake_sync.lake_access import lake_identity
from metalake_sync.planning.replacements import UNKNOWN, answer_key
from metalake_sync.planning.targets import recorded_names
from metalake_sync.project import Project
from metalake_sync.state.store import StateStore


def describe_state(project: Project) -> dict[str, Any]:
    """Counts of what is recorded, as JSON values."""
    _must_exist(project)
    with StateStore(project.state_backend) as state:
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
            "path": str(project.state_path),
            "bytes": project.state_path.stat().st_size,
            "serial": state.serial,
            "collections": rows,
            "open_uploads": uploads,
            "lock": project.state_backend.lock_holder(),
        }


def listed_records(project: Project, targets: Sequence[str]) -> list[tuple[CollectionKey, RecordedFile]]:
    """The records that are meant. Raises UsageError for a collection that is not recorded."""
    _must_exist(project)
    with StateStore(project.state_backend) as state:
        return [(key, file) for key, _, file in _meant(project, state, _parsed(project, state, targets))]


def back_up(project: Project, to: Path | None) -> Path:
    """Copy the state, and return where the copy is."""
    _must_exist(project)
    with StateStore(project.state_backend) as state:
        return state.back_up(to)


def forget(project: Project, targets: Sequence[str], *, trashed_names: bool = False) -> tuple[int, Path]:
    """Drop records; the lake keeps its files. Returns how many, and where the state as it was is.

    A collection that is meant as a whole is dropped with all that is known of it, its markers too. `trashed_names`:
    forget whether the lake takes the name of a trashed file again.
    """
    _must_exist(project)
    with project.state_backend.lock(command="state forget"), StateStore(project.state_backend) as state:
        parsed = _parsed(project, state, targets)
        meant = list(_meant(project, state, parsed))
        copy = state.back_up()
        with state.write():
            for key, (handle, _) in state.collections.of_lake(lake_identity(project.manifest)).items():
                if Target(key.name) in parsed:
                    state.collections.forget(handle)
                else:
                    state.files.forget(handle, [file.name for _, where, file in meant if where == handle])
            if trashed_names:
                state.learn(answer_key(lake_identity(project.manifest)), UNKNOWN)
            state.advance_serial()
        return len(meant), copy


def unlock(project: Project, *, force: bool) -> str | None:
    """Free the lock and return who held it, None if nobody did. Raises StateLocked without `force`."""
    return project.state_backend.break_lock(force=force)


def _parsed(project: Project, state: StateStore, targets: Sequence[str]) -> list[Target]:
    """Raises UsageError for a collection that is not recorded."""
    recorded = state.collections.of_lake(lake_identity(project.manifest))
    names = [key.name for key in recorded]
    parsed: list[Target] = []
    for text in targets:
        target = parse_target(text, names)
        if target is None:
            raise UsageError(
                f"the state knows no collection for '--target {text}'",
                remedy=f"It knows {', '.join(names) or 'none'}.",
            )
        parsed.append(target)
    check_matched(parsed, recorded_names(state, recorded), "in the state")
    return parsed


def _meant(
    project: Project, state: StateStore, targets: Sequence[Target]
) -> Iterator[tuple[CollectionKey, int, RecordedFile]]:
    for key, (handle, _) in state.collections.of_lake(lake_identity(project.manifest)).items():
        for file in state.files.all(handle):
            if any(target.takes(key.name, file.name) for target in targets):
                yield key, handle, file


def _must_exist(project: Project) -> None:
    if not project.state_path.exists():
        raise UsageError(
            "there is no state yet", where=str(project.state_path), remedy="The first apply or import makes one."
        )
