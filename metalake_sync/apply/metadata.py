"""The metadata stage: writes the changed fields of files, in pages of a thousand files.

Owns: the pages, and the three-way merge of Tags. A page that the lake rejects is bisected until the bad entry is
isolated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metalake_sync.apply.bisect import send_in_halves
from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import UpdateFileMetadata
from metalake_sync.core.metadata import (
    TAGS,
    MetadataSet,
    MetadataValues,
    merge_tags,
    metadata_set,
    update_to_mend,
    update_to_send,
)
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.errors import LakeRefused
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.items import FileMetadata
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_tags


@dataclass(frozen=True, slots=True)
class MetadataUpdate:
    """A change of one file's metadata."""

    name: str
    after: MetadataSet
    """The metadata after the change."""
    update: dict[str, Any]
    """The fields to write."""
    action: UpdateFileMetadata | None = None
    """None for a file that was just uploaded."""


def updates_after_upload(
    common: MetadataSet, files: Sequence[tuple[str, MetadataSet]], tags_of_others: Mapping[str, Sequence[str]]
) -> list[MetadataUpdate]:
    """The metadata of new files beyond that of their upload session.

    `tags_of_others`: tags of other clients on the replaced files, by name.
    """
    updates: list[MetadataUpdate] = []
    for name, after in files:
        update = update_to_send(common.values, after.values)
        if name in tags_of_others:
            update[TAGS] = [*tags_of_others[name], *after.values.get(TAGS, ())]
        if update:
            updates.append(MetadataUpdate(name, after, update))
    return updates


class MetadataStage:
    def __init__(self, client: LakeClient, recorder: Recorder, threads: int) -> None:
        self._client = client
        self._recorder = recorder
        self._threads = threads

    async def update(self, collection: CollectionPlan, collection_id: str) -> None:
        """Write the changed metadata of files that are already in the lake."""
        written = self._recorder.state.metadata_sets.values
        for start in range(0, len(collection.metadata), PAGE_SIZE_LIMIT):
            page = collection.metadata[start : start + PAGE_SIZE_LIMIT]
            befores = [(written(action.before) if action.before else None) or {} for action in page]
            updates = [
                MetadataUpdate(
                    action.file.name, action.file.metadata, self._fields_to_write(collection, action, before), action
                )
                for action, before in zip(page, befores, strict=True)
            ]
            if collection.policy.tags == "own":
                await self._keep_tags_of_others(page, befores, updates)
            await self.write(collection, collection_id, updates)

    @staticmethod
    def _fields_to_write(
        collection: CollectionPlan, action: UpdateFileMetadata, before: MetadataValues
    ) -> dict[str, Any]:
        after = action.file.metadata.values
        if action.lake is None:
            return update_to_send(before, after)
        return update_to_mend(before, after, action.lake, collection.policy.tags)

    async def _keep_tags_of_others(
        self,
        page: Sequence[UpdateFileMetadata],
        befores: Sequence[MetadataValues],
        updates: Sequence[MetadataUpdate],
    ) -> None:
        """Merge changed Tags with those of other clients, because the lake replaces Tags as a whole."""
        changing = [index for index, update in enumerate(updates) if TAGS in update.update]
        names = [page[index].unique_name for index in changing]
        theirs = await asyncio.to_thread(remote_tags, self._client, names, self._threads)
        for index in changing:
            updates[index].update[TAGS] = merge_tags(
                before=befores[index].get(TAGS, []),
                ours=page[index].file.metadata.values.get(TAGS, []),
                theirs=theirs.get(page[index].unique_name, []),
            )

    # Tags that other clients had set on a file that was replaced.

    def tags_of_others(self, collection: CollectionPlan) -> Mapping[str, Sequence[str]]:
        """Tags of other clients by file name, for files trashed by a replacement of this run or an earlier one."""
        handle = self._recorder.handles.get(collection.key)
        return self._recorder.state.pending_replacements.tags(handle) if handle is not None else {}

    def tags_restored(self, collection: CollectionPlan, names: Sequence[str]) -> None:
        """Record that these files have the tags that they had before they were replaced."""
        with self._recorder.state.write():
            self._recorder.state.pending_replacements.forget(self._recorder.handle(collection.key), names)

    async def restore_tags(self, collection: CollectionPlan, collection_id: str) -> None:
        """Write tags of other clients to replaced files, where an interrupted run did not."""
        handle = self._recorder.handles.get(collection.key)
        owed = self._recorder.state.pending_replacements.owed(handle) if handle is not None else []
        if not owed:
            return
        tags = await asyncio.to_thread(remote_tags, self._client, [one.unique_name for one in owed], self._threads)
        state = self._recorder.state
        updates = [
            MetadataUpdate(
                one.name,
                metadata_set(state.metadata_sets.values(one.written) or {}),
                {TAGS: list(dict.fromkeys((*tags[one.unique_name], *one.tags)))},
            )
            for one in owed
        ]
        failed = await self.write(collection, collection_id, updates)
        self.tags_restored(collection, [one.name for one in owed if one.name not in failed])

    async def write(
        self, collection: CollectionPlan, collection_id: str, updates: Sequence[MetadataUpdate]
    ) -> list[str]:
        """Write updates page by page, and record each page when the lake confirms it. Returns the names that failed."""
        failed: list[str] = []
        for start in range(0, len(updates), PAGE_SIZE_LIMIT):
            page = updates[start : start + PAGE_SIZE_LIMIT]
            refused = await send_in_halves(page, lambda part: self._send(collection, collection_id, part))
            for update, refusal in refused:
                failed.append(update.name)
                self._fail(collection, update, refusal)
        return failed

    async def _send(self, collection: CollectionPlan, collection_id: str, page: Sequence[MetadataUpdate]) -> None:
        entries = [FileMetadata(file=update.name, metadata=update.update) for update in page]
        await asyncio.to_thread(self._client.metadata_by_json, entries, collection_id=collection_id)
        handle = self._recorder.handle(collection.key)
        record: Callable[[], None] = lambda: self._recorder.state.files.record_metadata(  # noqa: E731
            handle, [(update.name, update.after) for update in page]
        )
        self._recorder.confirm([update.action for update in page if update.action], record)

    def _fail(self, collection: CollectionPlan, update: MetadataUpdate, refusal: LakeRefused) -> None:
        action = update.action
        if action is None:
            action = self._metadata_of_upload(collection, update)
        self._recorder.fail([action], refusal, retryable=False)

    @staticmethod
    def _metadata_of_upload(collection: CollectionPlan, update: MetadataUpdate) -> UpdateFileMetadata:
        """The action to report if the lake has a new file but rejects its metadata."""
        file = next(upload.file for upload in collection.uploads if upload.file.name == update.name)
        return UpdateFileMetadata(collection.key, file, "", collection.common_metadata.digest)
