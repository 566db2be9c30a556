"""Which model runs are due to be attached to projects of the annotation studio.

Owns: what the manifest wants, beside what the state knows. Must not: ask the lake: no call tells what is attached.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from metalake_sync.core.actions import AttachModelRun
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.manifest import LoadedManifest
from metalake_sync.planning.desired import DesiredCollection, key_of
from metalake_sync.planning.unmanaged_files import AddressedSources, address_of


def wanted_attachments(manifest: LoadedManifest) -> Iterator[AttachModelRun]:
    """Yield one action for each operation and project that the manifest names, in its order."""
    seen: set[tuple[str, str]] = set()
    at_home = [(key_of(collection), block) for collection in manifest.collections for block in collection.annotations]
    elsewhere = [(address_of(block).collection, block) for block in manifest.model.annotations]
    for key, block in [*at_home, *elsewhere]:
        project = block.destination_project_id
        if project is not None and (block.operation, project) not in seen:
            seen.add((block.operation, project))
            yield AttachModelRun(key, block.operation, project)


def plan_attachments(
    manifest: LoadedManifest,
    attached: Collection[tuple[str, str]],
    desired: Mapping[CollectionKey, DesiredCollection],
    addressed: AddressedSources | None,
) -> tuple[AttachModelRun, ...]:
    """Return what is due: runs that are not in `attached` (operation and project), and whose sources have a shape. A
    lake knows no model run without one. `desired`: the collections of this run; others wait."""
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
