"""Collections before and after their files are sent: created, recorded, and their heads updated.

Owns: these calls. A collection is recorded before its files are. Must not: send files, their metadata or annotations.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import CreateCollection
from metalake_sync.core.addresses import FileAt
from metalake_sync.core.metadata import (
    TAGS,
    MetadataValues,
    merge_tags,
    metadata_set,
    update_to_mend,
    update_to_send,
)
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.planning.lake_metadata import changed_fields, lake_values
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import fields_in
from metalake_sync.remote.selections import media_kind
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.pending_writes import HEAD, PendingMetadata


class CollectionStage:
    """Creates, records and updates collections. `lake`: the identity of the lake in the state."""

    def __init__(self, client: LakeClient, recorder: Recorder, lake: str) -> None:
        self._client = client
        self._recorder = recorder
        self._lake = lake
        self._created: set[object] = set()

    async def prepare(self, collection: CollectionPlan) -> None:
        """Create a collection without uploads, or record one that the lake has, and update its head.

        A collection with uploads is created by its first upload session, because only that call has the storage prefix.
        """
        if collection.create and not collection.uploads:
            lake_id = await asyncio.to_thread(
                self._client.create_collection,
                collection.key.name,
                media_kind(collection.key.type),
                dict(collection.head.values),
            )
            await self._record_created(collection, collection.create, lake_id)
        elif collection.lake_id is not None:
            await self._record_row(collection, collection.lake_id)
        if collection.update_head:
            await self._update_head(collection)
        elif collection.rerecord_head:
            with self._recorder.state.write():
                self._recorder.state.collections.record_head(
                    self._recorder.handle(collection.key), collection.rerecord_head.head
                )

    async def opened(self, collection: CollectionPlan, lake_id: str) -> CollectionHandle:
        """Record the collection that an upload session was opened in, and return its handle."""
        if collection.create and collection.key not in self._created:
            self._created.add(collection.key)
            if collection.head:
                await asyncio.to_thread(
                    self._client.metadata_by_object,
                    collection.key.name,
                    media_kind(collection.key.type),
                    dict(collection.head.values),
                    False,
                )
            await self._record_created(collection, collection.create, lake_id)
        return self._recorder.handle(collection.key)

    async def _record_created(self, collection: CollectionPlan, action: CreateCollection, lake_id: str) -> None:
        await self._record_row(collection, lake_id)
        handle = self._recorder.handle(collection.key)
        self._recorder.confirm([action], lambda: self._recorder.state.collections.record_head(handle, collection.head))

    async def _record_row(self, collection: CollectionPlan, lake_id: str) -> None:
        storage_path = collection.storage_path
        if storage_path is None:
            details = await asyncio.to_thread(self._client.collection_details, lake_id, {"storagePath": True})
            path = details.get("storagePath")
            # Used only to guess the unique names of files that the lake does not list.
            storage_path = path if isinstance(path, str) else ""
        with self._recorder.state.write():
            self._recorder.handles[collection.key] = self._recorder.state.collections.record(
                self._lake, collection.key, lake_id, storage_path
            )

    async def _update_head(self, collection: CollectionPlan) -> None:
        """Write the changed fields of the head only. The metadata of files stays as it is."""
        action = collection.update_head
        assert action is not None
        handle = self._recorder.handle(collection.key)
        before: MetadataValues = {}
        if action.before is not None:
            before = self._recorder.state.metadata_sets.values(action.before) or {}
        if action.lake is None:
            update = update_to_send(before, action.head.values)
        else:
            update = update_to_mend(before, action.head.values, action.lake, collection.policy.tags)
        if TAGS in update and collection.lake_id is not None:
            fields = changed_fields(before, action.head.values)
            asked = dict.fromkeys((*fields, TAGS), True)
            details = await asyncio.to_thread(self._client.collection_details, collection.lake_id, asked)
            there = fields_in(details, asked)
            theirs = there.get(TAGS, [])
            if collection.policy.tags == "own":
                ours = action.head.values.get(TAGS, [])
                update[TAGS] = merge_tags(before=before.get(TAGS, []), ours=ours, theirs=theirs)
            # The history needs what the lake had: another client may have written some of it.
            lake = action.lake if action.lake is not None else lake_values(before, fields, there)
            action = replace(action, lake={**lake, TAGS: theirs}, tags=tuple(update[TAGS]))
        recorded = action.metadata_recorded
        state, at = self._recorder.state, FileAt(collection.key, HEAD)
        with state.write():
            # A run after a kill knows from this that the lake may have these values from us.
            pending = PendingMetadata(at, metadata_set(update), recorded)
            state.pending_writes.put_metadata(self._recorder.lake, collection.key, [pending])
        await asyncio.to_thread(state.sync)

        def record() -> None:
            state.collections.record_head(handle, recorded)
            state.pending_writes.drop_metadata(self._recorder.lake, collection.key, [HEAD])

        await asyncio.to_thread(
            self._client.metadata_by_object, collection.key.name, media_kind(collection.key.type), update, False
        )
        self._recorder.confirm([action], record)
