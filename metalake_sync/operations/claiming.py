"""`import --claim`: records adopted files as uploaded by the manifest, so that `prune` covers them again.

After a lost state, files that the manifest uploaded are adopted, and adopted files are never pruned.

Owns: which records change. Must not: ask for approval, or change the lake.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from dataclasses import field
from itertools import islice
from pathlib import Path

from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.core.targets import Target, parse_targets
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import key_of
from metalake_sync.project import Project
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

NAMES_SHOWN = 10

ROWS_AT_ONCE = 10_000


@dataclass(slots=True)
class Claim:
    """The adopted files of one collection that would be recorded as uploaded."""

    collection: CollectionKey
    names: list[str] = field(default_factory=list)
    """The first NAMES_SHOWN names in the collection, or all."""
    without_source: int = 0
    """How many of them have no local file any more. `prune` would trash them."""
    prune: bool = False
    rows: array[int] = field(default_factory=lambda: array("q"))
    """Their ids in the state."""

    @property
    def files(self) -> int:
        return len(self.rows)


def claim(
    project: Project,
    targets: Sequence[str],
    approve: Callable[[Sequence[Claim]], None],
    *,
    lock_timeout_s: float = 0.0,
    all_names: bool = False,
) -> tuple[list[Claim], Path | None]:
    """Record the adopted files that the targets match as uploaded.

    `approve`: called with the claims before anything changes; raises to stop. `all_names`: collect every name. Returns
    the claims, and the path of a backup of the state if something changed. Raises UsageError for a target that matches
    no collection of the manifest or no recorded file.
    """
    with (
        project.state_backend.lock(command="import --claim", timeout_s=lock_timeout_s),
        StateStore(project.state_backend) as state,
    ):
        recorded = {key: row[0] for key, row in state.collections.of_lake(lake_identity(project.manifest)).items()}
        names = [key.name for one in project.manifest.collections if (key := key_of(one)) in recorded]
        parsed = parse_targets(targets, names, "the manifest has no collection with records for '--claim {}'")
        claims = []
        for collection in project.manifest.collections:
            key = key_of(collection)
            own = [target for target in parsed if target.collection == key.name]
            if own and key in recorded:
                found = Claim(key, prune=collection.prune)
                _find(state, recorded[key], own, found, str(project.manifest.base_dir), all_names=all_names)
                claims.append(found)
        claims = [one for one in claims if one.files]
        if not claims:
            return [], None
        approve(claims)
        copy = state.back_up()
        with state.write():
            for one in claims:
                rows = iter(one.rows)
                while page := list(islice(rows, ROWS_AT_ONCE)):
                    state.files.claim(page)
            state.advance_serial()
        return claims, copy


def _find(
    state: StateStore,
    handle: CollectionHandle,
    targets: Sequence[Target],
    found: Claim,
    base_dir: str,
    *,
    all_names: bool,
) -> None:
    for row in state.files.adopted(handle):
        if not any(target.takes(found.collection.name, row.name) for target in targets):
            continue
        found.rows.append(row.row_id)
        found.without_source += not os.path.exists(os.path.join(base_dir, row.path))
        if all_names or len(found.names) < NAMES_SHOWN:
            found.names.append(row.name)
