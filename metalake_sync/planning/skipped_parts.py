"""What a run can do without: a source that is broken, or a collection that a guard stopped. It stays in the lake as it
is, and the rest goes on.

Owns: the words for it. Must not: decide whether a run may leave something out; who starts it does (`RunOptions`).
"""

from __future__ import annotations

from collections.abc import Callable

from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Broken:
    """A part of the manifest that was left out. `collection`: None stands for the sources of files that the manifest
    does not upload. `operation`: only these annotations; None is the whole part."""

    collection: CollectionKey | None
    operation: str | None
    error: SyncError

    def __str__(self) -> str:
        part = str(self.collection) if self.collection is not None else "'annotations' and 'metadata' of the manifest"
        return f"'{self.operation}' of {part}" if self.operation is not None else part


SetApart = Callable[[Broken], None]
"""Told of each part that is left out."""
