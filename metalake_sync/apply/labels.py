"""The lake's references of labels, requested once per run for all labels that the manifest's sources use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from metalake_sync.errors import LakeRefused
from metalake_sync.remote.annotation_objects import merge_label_trees
from metalake_sync.remote.client import LakeClient

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.protocol.annotation_sets import LabelReference


class LabelBook:
    """`indexes`: of every operation of the manifest. The lake creates the labels that it does not have yet."""

    def __init__(self, client: LakeClient, indexes: Iterable[AnnotationIndex]) -> None:
        self._client = client
        self._indexes = indexes
        self._references: Mapping[str, LabelReference] | None = None
        self._asking = asyncio.Lock()

    async def references(self) -> Mapping[str, LabelReference]:
        async with self._asking:
            if self._references is None:
                tree = merge_label_trees(index.labels() for index in self._indexes)
                self._references = await asyncio.to_thread(self._client.label_references, tree)
                missing = sorted(tree.keys() - self._references.keys())
                if missing:
                    raise LakeRefused(
                        f"the lake did not return a reference for the labels {', '.join(missing)}", status=200
                    )
            return self._references
