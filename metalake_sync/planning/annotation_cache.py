"""Annotation indexes that outlive the run that read them.

A daemon's run over a few hinted folders must not read every source, and match it with every picture, again. What the
last run over the whole disk read is as good, unless one of the pictures at hand is new or changed and may be meant by
an entry: then the sources are read anew. A source that changes asks for a run over the whole disk by itself.

Owns: these indexes; who holds this closes it. Must not: tell whether a source changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.annotations.source import AnnotationIndex


class StaleAnnotations(Exception):
    """A picture may be meant by an entry that was read before it was there."""


@dataclass(slots=True)
class KeptAnnotations:
    _kept: dict[CollectionKey, dict[str, AnnotationIndex]] = field(default_factory=dict)

    def of(self, key: CollectionKey) -> dict[str, AnnotationIndex] | None:
        """A collection's indexes by operation; None where there are none that are whole."""
        kept = self._kept.get(key)
        return dict(kept) if kept is not None else None

    def keep(self, key: CollectionKey, indexes: Mapping[str, AnnotationIndex]) -> None:
        self.forget(key)
        self._kept[key] = dict(indexes)

    def release(self, key: CollectionKey) -> None:
        """Keep a collection's indexes no more; whoever took them closes them."""
        self._kept.pop(key, None)

    def forget(self, key: CollectionKey) -> None:
        for index in self._kept.pop(key, {}).values():
            index.close()

    def close(self) -> None:
        """Forget all. It may be filled again."""
        for key in list(self._kept):
            self.forget(key)
