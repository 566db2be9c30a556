"""How a run is to be done: what the command line's flags come to."""

from __future__ import annotations

import os
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from metalake_sync.core.guards import MaxDelete
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.planning.annotation_cache import KeptAnnotations
    from metalake_sync.planning.march import Hold
    from metalake_sync.planning.scope import Scope
    from metalake_sync.planning.skipped_parts import SetApart

Refresh = Literal["none", "list", "full"]

AT_START_S = 60.0
"""A lake that can't be reached at the start is given up after this many seconds."""

IN_THE_MIDDLE_S = 900.0
"""A lake that goes away in the middle of a run is given up after this many seconds."""


CALLS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class RunOptions:
    """`refresh`: `list` asks the lake what it has, `full` also compares each file's size, metadata and annotation sets,
    `none` trusts the records. `checksum`: hash every file, trust no fingerprint. `parallelism`: the most files on the
    wire at once; None lets uploads find it. `bytes_per_second`: None is as fast as it goes.
    `targets`: `COLLECTION` or `COLLECTION/GLOB`; empty is everything. `retry_for_s`: patience with a lake that is away,
    at the start; None is the default. `max_delete`: how many files a plan may trash or replace. `scope`: the only part
    of the disk to look at, None is all of it. `hold`: files to leave alone for now. `keep_failures`: names whose past
    failures stay, because this run does not try them; None is all of them. `set_apart`: told of what is broken and left
    out; None lets it stop the run. `targets_may_miss`: a target that matches no file is not an error. `kept`: where
    annotation indexes stay between runs; a run over a scope takes them from there."""

    refresh: Refresh = "list"
    checksum: bool = False
    parallelism: int | None = None
    bytes_per_second: float | None = None
    retry_for_s: float | None = None
    hash_threads: int = os.cpu_count() or 2
    batch_files: int = 2000
    batch_bytes: int = 4 << 30
    targets: tuple[str, ...] = ()
    targets_may_miss: bool = False
    max_delete: MaxDelete = field(default_factory=MaxDelete)
    scope: Scope | None = None
    hold: Hold | None = None
    keep_failures: frozenset[str] | None = frozenset()
    set_apart: SetApart | None = None
    kept: KeptAnnotations | None = None
    ignore_compatibility: bool = False
    """Go on where the lake says that it is not compatible with our version of the protocol."""

    @property
    def partial(self) -> bool:
        """Whether a run means only a part of the manifest."""
        return bool(self.targets) or self.scope is not None

    @property
    def calls_at_once(self) -> int:
        """How many calls, and downloads, go out side by side."""
        return self.parallelism or CALLS_AT_ONCE
