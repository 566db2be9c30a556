"""The options of one run, as the command line's flags or a caller of the API set them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from metalake_sync.core.guards import MaxDelete
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.planning.annotation_cache import AnnotationCache
    from metalake_sync.planning.scan_join import IsHeld
    from metalake_sync.planning.scope import Scope

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
    retry_for_s: float | None = None
    """The retry timeout for an unreachable lake at startup, in seconds. None means the default."""
    hash_threads: int = os.cpu_count() or 2
    batch_files: int = 2000
    batch_bytes: int = 4 << 30
    targets: tuple[str, ...] = ()
    """`COLLECTION` or `COLLECTION/GLOB`. Empty means everything."""
    targets_may_miss: bool = False
    """Whether a target that matches no file is allowed."""
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

    @property
    def partial(self) -> bool:
        """Whether the run covers only a part of the manifest."""
        return bool(self.targets) or self.scope is not None

    @property
    def calls_at_once(self) -> int:
        """The maximum number of concurrent calls and downloads."""
        return self.parallelism or CALLS_AT_ONCE
