"""Annotation sets in the lake that no record speaks of: ours of a lost state, and those of others.

Owns: which of them matter to a plan. Must not: decide what follows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.core.actions import ReplaceFile
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import RemoteFile, RemoteSet
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.lake_listing import LakeView
from metalake_sync.planning.march import Candidate
from metalake_sync.state.handles import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient


def recognise_sets(
    client: LakeClient,
    desired: DesiredCollection,
    view: LakeView,
    remotes: Mapping[str, RemoteFile],
    candidates: Sequence[Candidate],
    base_dir: Path,
) -> dict[str, RemoteFile]:
    """Say of files that the lake has and nobody recorded which annotation sets are as the manifest wants them, so that
    a lost state sends none of them again."""
    from metalake_sync.annotations.readback import is_as_sent, read_back
    from metalake_sync.remote.readback import annotations_of

    found: dict[str, dict[str, RemoteSet]] = {name: {} for name in remotes}
    by_unique_name = {remote.unique_name: name for name, remote in remotes.items()}
    wanted = {candidate.name: candidate for candidate in candidates if candidate.name in remotes}
    for operation, index in desired.annotations.items():
        if view.lake_id is None or not any(operation in candidate.annotations for candidate in wanted.values()):
            continue
        there = annotations_of(client, view.lake_id, file_count=view.count or 0, operations=[operation])
        for unique_name, shapes in there:
            name = by_unique_name.get(unique_name)
            if name is None or operation not in wanted[name].annotations:
                continue
            digest, back = read_back(shapes)
            image = os.path.join(base_dir, wanted[name].path)
            as_desired = is_as_sent(desired.record(operation, name), index.kind, back, image)
            found[name][operation] = RemoteSet(digest, len(shapes), as_desired)
    return {name: replace(remote, sets=found[name]) for name, remote in remotes.items()}


def shapes_of_others(
    client: LakeClient, plan: CollectionPlan, state: StateStore, handle: CollectionHandle | None
) -> dict[str, int]:
    """How many shapes a file loses that are not ours, by name, for each file that a plan replaces or trashes.

    Costs a call for each page of the collection, and none where nothing is replaced or trashed.
    """
    leaving = {
        action.replaced.unique_name: action.file.name for action in plan.uploads if isinstance(action, ReplaceFile)
    }
    leaving |= {action.recorded.unique_name: action.recorded.name for action in plan.trash}
    if not leaving or plan.lake_id is None:
        return {}
    from metalake_sync.remote.readback import annotations_of

    recorded = state.files.named(handle, leaving.values()) if handle is not None else {}
    counts: Counter[str] = Counter()
    for unique_name, shapes in annotations_of(client, plan.lake_id, file_count=plan.recorded):
        name = leaving.get(unique_name)
        if name is not None:
            known = recorded.get(name)
            ours = sum(known_set.shape_count for known_set in known.annotations.values()) if known else 0
            counts[name] = len(shapes) - ours
    return {name: count for name, count in counts.items() if count > 0}
