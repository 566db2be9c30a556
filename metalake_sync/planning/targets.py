"""The `--target` options of a run: parsed, and checked against the names that they should match.

Must not: filter a plan (`core.targets`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from metalake_sync.core.snapshots import CollectionKey, RecordedCollection
from metalake_sync.core.targets import Target, parse_target
from metalake_sync.errors import UsageError
from metalake_sync.manifest import LoadedManifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore


def chosen_targets(manifest: LoadedManifest, options: RunOptions) -> list[Target]:
    """The targets of a run; empty means everything. Raises UsageError for a target outside of the manifest."""
    names = [collection.name for collection in manifest.collections]
    targets = []
    for text in options.targets:
        target = parse_target(text, names)
        if target is None:
            raise UsageError(
                f"'--target {text}' does not name a collection of the manifest",
                remedy=f"Use COLLECTION or COLLECTION/GLOB with one of: {', '.join(names) or '(no collections)'}.",
            )
        targets.append(target)
    return targets


def recorded_names(
    state: StateStore, recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]]
) -> dict[CollectionKey, Iterable[str]]:
    """The names of all recorded files, by collection."""
    return {key: state.files.names(row) for key, (row, _) in recorded.items()}
