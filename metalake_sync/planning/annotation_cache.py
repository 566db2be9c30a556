"""A cache of annotation indexes that outlives the run that read them.

A daemon's run over a few folders must not read every source again and match it with every image. The indexes that the
last run over the whole disk read stay valid, unless an image of the new run is new or changed and an entry may match
it: then the sources are read again. A source that changes makes the daemon run over the whole disk.

Owns: these indexes; close the cache to close them. Must not: find out whether a source changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex


class StaleAnnotations(Exception):
    """An entry that was read before may match an image that is new or changed since."""


@dataclass(slots=True)
class AnnotationCache:
    _kept: dict[CollectionKey, dict[str, AnnotationIndex]] = field(default_factory=dict)

    def of(self, key: CollectionKey) -> dict[str, AnnotationIndex] | None:
        """A collection's indexes by operation. None if the cache does not have them all."""
        kept = self._kept.get(key)
        return dict(kept) if kept is not None else None

    def keep(self, key: CollectionKey, indexes: Mapping[str, AnnotationIndex]) -> None:
        self.forget(key)
        self._kept[key] = dict(indexes)

    def release(self, key: CollectionKey) -> None:
        """Remove a collection's indexes without closing them. The caller closes them."""
        self._kept.pop(key, None)

    def forget(self, key: CollectionKey) -> None:
        """Remove a collection's indexes and close them."""
        for index in self._kept.pop(key, {}).values():
            index.close()

    def close(self) -> None:
        """Close and remove all indexes. The cache can be filled again."""
        for key in list(self._kept):
            self.forget(key)
