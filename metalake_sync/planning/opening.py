"""What every look at a manifest's collections begins with: which parts are meant, their sources, and their rules.

Must not: ask the lake, or compare anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from metalake_sync.core.diff import CollectionRules
from metalake_sync.core.diff_sets import OperationPolicy
from metalake_sync.core.metadata import AS_WRITTEN, Spelling
from metalake_sync.core.snapshots import CollectionKey, RecordedCollection
from metalake_sync.core.targets import Target, parse_target
from metalake_sync.errors import ManifestError, ManifestErrors, UsageError
from metalake_sync.manifest import LoadedManifest
from metalake_sync.planning.desired import DesiredCollection, key_of, open_collection
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.planning.skipped_parts import Broken
from metalake_sync.state.handles import CollectionHandle
from metalake_sync.state.store import StateStore


def chosen_targets(manifest: LoadedManifest, options: RunOptions) -> list[Target]:
    """The parts that a run is limited to; none is everything. Raises UsageError for one that there is not."""
    names = [collection.name for collection in manifest.collections]
    targets = []
    for text in options.targets:
        target = parse_target(text, names)
        if target is None:
            raise UsageError(
                f"'--target {text}' names no collection of the manifest",
                remedy=f"Write COLLECTION or COLLECTION/GLOB; there are {', '.join(names) or 'none'}.",
            )
        targets.append(target)
    return targets


def recorded_names(
    state: StateStore, recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]]
) -> dict[CollectionKey, Iterable[str]]:
    """The names of all recorded files, by collection."""
    return {key: state.files.names(handle) for key, (handle, _) in recorded.items()}


def rules_of(desired: DesiredCollection, state: StateStore) -> CollectionRules:
    """What decisions in a collection rest on."""
    return CollectionRules(
        desired.key,
        desired.policy,
        state.metadata_sets.values,
        {operation: OperationPolicy(index.kind, index.mode) for operation, index in desired.annotations.items()}
        | desired.left_alone,
    )


def open_collections(
    manifest: LoadedManifest,
    options: RunOptions | None = None,
    state: StateStore | None = None,
    spelling: Spelling = AS_WRITTEN,
) -> Iterator[DesiredCollection]:
    """Open every collection of a manifest. The mistakes of all of them are raised together, before any is planned;
    where the options have `set_apart`, it is told of them, and the rest is opened. `state`: keeps what is read."""
    options = options or RunOptions()
    set_apart, kept, scoped = options.set_apart, options.kept, options.scope is not None
    readings, memo = (state.readings, state.set_memo) if state is not None else (None, None)
    opened: list[DesiredCollection] = []
    errors: list[ManifestError] = []
    for collection in manifest.collections:
        try:
            opened.append(
                open_collection(manifest, collection, readings, set_apart, kept, memo, scoped=scoped, spelling=spelling)
            )
        except ManifestError as error:
            if set_apart is not None:
                set_apart(Broken(key_of(collection), None, error))
            else:
                errors += error.errors if isinstance(error, ManifestErrors) else [error]
    if errors:
        for collection_opened in opened:
            collection_opened.close()
        raise ManifestErrors(errors)
    yield from opened
