"""The options of one run, and what they limit it to: folders that changed (scope), and targets.

Owns: the translation of changed folders into parts of a source, and reading `--target` and `--exclude`. Must not: read
the disk, or filter a plan (`core.targets`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from metalake_sync.core.diff_sets import Decisions
from metalake_sync.core.guards import MaxDelete
from metalake_sync.core.snapshots import CollectionKey, RecordedCollection
from metalake_sync.core.targets import Chosen, Target, parse_targets
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.manifest import LoadedManifest
    from metalake_sync.planning.change_detection import IsHeld
    from metalake_sync.planning.desired import AnnotationCache
    from metalake_sync.state.names import CollectionHandle
    from metalake_sync.state.store import StateStore


Refresh = Literal["none", "list", "full"]

START_RETRY_TIMEOUT_S = 60.0
"""Seconds to keep retrying an unreachable lake at startup."""

RUN_RETRY_TIMEOUT_S = 900.0
"""Seconds to keep retrying a lake that becomes unreachable during a run."""

CALLS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class SkippedPart:
    """A part of the manifest that a run left out: a broken source, or a collection that a guard stopped."""

    collection: CollectionKey | None
    """None means the sources of unmanaged files."""
    operation: str | None
    """The operation whose annotations were left out. None means the whole part."""
    error: SyncError

    def __str__(self) -> str:
        part = str(self.collection) if self.collection is not None else "'annotations' and 'metadata' of the manifest"
        return f"'{self.operation}' of {part}" if self.operation is not None else part


OnSkipped = Callable[[SkippedPart], None]
"""Receives each part that a run leaves out."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    refresh: Refresh = "list"
    """`list` asks the lake which files it has. `full` also compares size, metadata and annotation sets of each file.
    `none` trusts the records."""
    checksum: bool = False
    """Hash every file instead of trusting fingerprints."""
    parallelism: int | None = None
    """The maximum number of files in transfer at once. None lets uploads find the best number."""
    bytes_per_second: float | None = None
    """None means no limit."""
    workers: str | None = None
    """The processes that send small files, as `run.workers` of the manifest has them. None: as the manifest says."""
    retry_for_s: float | None = None
    """The retry timeout for an unreachable lake at startup, in seconds. None means the default."""
    hash_threads: int = os.cpu_count() or 2
    batch_files: int = 2000
    batch_bytes: int = 4 << 30
    targets: tuple[str, ...] = ()
    """`COLLECTION` or `COLLECTION/GLOB`. Empty means everything."""
    excludes: tuple[str, ...] = ()
    """`COLLECTION` or `COLLECTION/GLOB`: what the run leaves out."""
    targets_may_miss: bool = False
    """Whether a target, or an exclusion, that matches no file is allowed."""
    max_delete: MaxDelete = field(default_factory=MaxDelete)
    """How many files a plan may trash or replace."""
    scope: Scope | None = None
    """The only part of the disk to scan. None means all of it."""
    is_held: IsHeld | None = None
    """Which files to leave alone for now."""
    keep_failures: frozenset[str] | None = frozenset()
    """Names whose recorded failures stay, because this run does not retry them. None means all names."""
    on_skipped: OnSkipped | None = None
    """Receives the broken parts that the run leaves out. None makes a broken part stop the run."""
    annotation_cache: AnnotationCache | None = None
    """Keeps annotation indexes between runs. A run with a scope uses those that are in it."""
    ignore_compatibility: bool = False
    """Continue if the lake reports that it is not compatible with our version of the protocol."""
    only_part: bool = False
    """Whether the run covers only a part of the manifest, also without targets, exclusions and scope."""

    decisions: Decisions = field(default_factory=dict)
    """The conflicts that a user decided, in place of `on_drift`."""

    is_cancelled: Callable[[], bool] | None = None
    """Asked a few times a second while the run transfers files. It ends the run with Interrupted. None: never."""

    @property
    def partial(self) -> bool:
        """Whether the run covers only a part of the manifest."""
        return self.only_part or bool(self.targets or self.excludes) or self.scope is not None

    @property
    def calls_at_once(self) -> int:
        """The maximum number of concurrent calls and downloads."""
        return self.parallelism or CALLS_AT_ONCE


@dataclass(frozen=True, slots=True)
class Part:
    """A folder at or below a source."""

    relative_dir: str
    """Relative to the source's folder, with `/`, and '' for the folder itself."""
    deep: bool
    """Whether everything beneath it is included."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The folders to scan, as absolute paths that `os.path.abspath` has normalized.

    Files outside of the scope are neither compared nor treated as gone.
    """

    base_dir: str
    """The folder that paths in the state are relative to."""
    folders: frozenset[str] = frozenset()
    """Folders to scan without their subfolders."""
    trees: frozenset[str] = frozenset()
    """Folders to scan with everything beneath them."""

    def parts_of(self, root: str) -> list[Part]:
        """The parts of the scope at or below a folder, sorted. A tree above the folder covers all of it."""
        root = os.path.abspath(root)
        if any(_at_or_below(root, tree) for tree in self.trees):
            return [Part("", deep=True)]
        trees = sorted(_relative(tree, root) for tree in self.trees if _at_or_below(tree, root))
        tops = [tree for tree in trees if not any(tree != other and _at_or_below(tree, other) for other in trees)]
        folders = sorted(_relative(folder, root) for folder in self.folders if _at_or_below(folder, root))
        alone = [folder for folder in folders if not any(_at_or_below(folder, top) for top in tops)]
        return sorted(
            [*(Part(top, deep=True) for top in tops), *(Part(folder, deep=False) for folder in alone)],
            key=lambda part: part.relative_dir,
        )

    def holds_file(self, path: str) -> bool:
        """Whether the scope includes a single file."""
        folder = os.path.dirname(os.path.abspath(path))
        return folder in self.folders or any(_at_or_below(folder, tree) for tree in self.trees)


def _at_or_below(path: str, top: str) -> bool:
    return path == top or not top or path.startswith(top.rstrip("/") + "/")


def _relative(path: str, root: str) -> str:
    return path[len(root.rstrip("/")) + 1 :]


def chosen_targets(manifest: LoadedManifest, options: RunOptions) -> list[Target]:
    """The targets of a run; empty means everything. Raises UsageError for a target outside of the manifest."""
    names = [collection.name for collection in manifest.collections]
    return parse_targets(options.targets, names, "'--target {}' does not name a collection of the manifest")


def chosen_parts(manifest: LoadedManifest, options: RunOptions) -> Chosen:
    """The part of the manifest that a run covers. Raises UsageError for a name outside of the manifest."""
    names = [collection.name for collection in manifest.collections]
    problem = "'--exclude {}' does not name a collection of the manifest"
    return Chosen(chosen_targets(manifest, options), parse_targets(options.excludes, names, problem))


def recorded_names(
    state: StateStore, recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]]
) -> dict[CollectionKey, Iterable[str]]:
    """The names of all recorded files, by collection."""
    return {key: state.files.names(row) for key, (row, _) in recorded.items()}
