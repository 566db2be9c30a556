"""The trash stage: runs last in a collection, and trashes files only by the ids in their records.

No call restores a file from the trash, so the history has the id of every trashed file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import TrashFile
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import RemoteFile
from metalake_sync.errors import LakeRejected
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.selections import object_kind, trash_files


class TrashStage:
    def __init__(self, client: LakeClient, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder

    async def trash_pruned(self, collection: CollectionPlan) -> None:
        """Trash files that the manifest no longer has, unless anything in the collection failed in this run."""
        if not collection.trash:
            return
        if collection.key in self._recorder.failed_collections:
            error = LakeRejected(
                "no file of the collection is trashed, because something in it failed",
                status=200,
                where=str(collection.key),
                remedy="Fix the failures first.",
            )
            self._recorder.fail(collection.trash, error, retryable=True)
            return
        for start in range(0, len(collection.trash), PAGE_SIZE_LIMIT):
            page = collection.trash[start : start + PAGE_SIZE_LIMIT]
            files = [
                RemoteFile(action.recorded.name, action.recorded.lake_id, action.recorded.unique_name)
                for action in page
            ]
            left, rejection = await self.trash(collection, files)
            gone = [action for action in page if action.recorded.lake_id not in left]
            self._recorder.confirm(gone, lambda gone=gone: self._forget(collection, gone))  # type: ignore[misc]
            stay = [action for action in page if action.recorded.lake_id in left]
            if stay:
                error = LakeRejected("the lake did not trash it", status=200, where=str(collection.key))
                self._recorder.fail(stay, rejection or error, retryable=True)

    async def trash(
        self, collection: CollectionPlan, files: Sequence[RemoteFile]
    ) -> tuple[set[str], LakeRejected | None]:
        """Trash files. Returns the ids of files that are still in the lake, and the error if it rejects the call."""
        await asyncio.to_thread(self._recorder.state.sync)
        try:
            left = await asyncio.to_thread(trash_files, self._client, object_kind(collection.key.type), files)
        except LakeRejected as rejection:
            return {file.lake_id for file in files}, rejection
        return left, None

    def _forget(self, collection: CollectionPlan, actions: Sequence[TrashFile]) -> None:
        handle = self._recorder.handle(collection.key)
        names = [action.recorded.name for action in actions]
        self._recorder.state.files.forget(handle, names)
        self._recorder.state.pending_replacements.forget(handle, names)
