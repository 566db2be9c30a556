"""Plans the attachments of model runs to projects of the annotation studio.

They are compared with the state only, because no call of the lake lists them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from metalake_sync.core.actions import AttachModelRun
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.manifest import LoadedManifest
from metalake_sync.planning.desired import DesiredCollection, key_of
from metalake_sync.planning.unmanaged_sources import UnmanagedSources, address_of

if TYPE_CHECKING:
    pass


def wanted_attachments(manifest: LoadedManifest) -> Iterator[AttachModelRun]:
    """Yield one action for each operation and project that the manifest names, in its order."""
    seen: set[tuple[str, str]] = set()
    in_collections = [
        (key_of(collection), block) for collection in manifest.collections for block in collection.annotations
    ]
    at_top_level = [(address_of(block).collection, block) for block in manifest.model.annotations]
    for key, block in [*in_collections, *at_top_level]:
        project = block.destination_project_id
        if project is not None and (block.operation, project) not in seen:
            seen.add((block.operation, project))
            yield AttachModelRun(key, block.operation, project)


def plan_attachments(
    manifest: LoadedManifest,
    attached: Collection[tuple[str, str]],
    desired: Mapping[CollectionKey, DesiredCollection],
    addressed: UnmanagedSources | None,
) -> tuple[AttachModelRun, ...]:
    """Return the model runs to attach: not in `attached` yet (operation and project), and with at least one shape.

    The lake does not know a model run without shapes. `desired`: the collections of this run. Others wait.
    """
    has_shapes = {
        operation
        for collection in desired.values()
        for operation, index in collection.annotations.items()
        if index.has_shapes
    }
    if addressed is not None:
        has_shapes |= {operation for (_, operation), index in addressed.annotations.items() if index.has_shapes}
    return tuple(
        action
        for action in wanted_attachments(manifest)
        if (action.operation, action.project) not in attached and action.operation in has_shapes
    )
