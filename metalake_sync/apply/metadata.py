"""The metadata stage: writes the changed fields of files, in pages of a thousand files.

Owns: the pages, and the three-way merge of Tags. Managed and unmanaged files take the same way; only the address
differs. A page that the lake rejects is bisected until the bad entry is isolated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from metalake_sync.apply.pages import AddressLookup, PageSender, metadata_name
from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import UpdateFileMetadata
from metalake_sync.core.addresses import Address, FileAt, Place
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
from metalake_sync.core.snapshots import CollectionKey, DesiredFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.lake_metadata import changed_fields, lake_values
from metalake_sync.protocol.items import FileMetadata
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_details, remote_tags
from metalake_sync.state.pending_writes import PendingMetadata


@dataclass(frozen=True, slots=True)
class MetadataUpdate:
    """A change of one file's metadata."""

    action: UpdateFileMetadata
    update: dict[str, Any]
    """The fields to write."""
    planned: bool = True
    """Whether the plan has the action. Otherwise it is reported only if it fails."""


def updates_after_upload(
    key: CollectionKey, common: MetadataSet, files: Sequence[DesiredFile], tags_of_others: Mapping[str, Sequence[str]]
) -> list[MetadataUpdate]:
    """The metadata of new files beyond that of their upload session.

    `common`: the metadata of the session. `tags_of_others`: tags of other clients on the replaced files, by name.
    """
    updates: list[MetadataUpdate] = []
    for file in files:
        update = update_to_send(common.values, file.metadata.values)
        if file.name in tags_of_others:
            update[TAGS] = [*tags_of_others[file.name], *file.metadata.values.get(TAGS, ())]
        if update:
            action = UpdateFileMetadata(FileAt(key, file.name), file.metadata, common.digest, local=file)
            updates.append(MetadataUpdate(action, update, planned=False))
    return updates


class MetadataStage:
    def __init__(self, client: LakeClient, recorder: Recorder, threads: int, addresses: AddressLookup) -> None:
        self._client = client
        self._recorder = recorder
        self._threads = threads
        self._addresses = addresses

    async def update(
        self,
        place: Place,
        actions: Sequence[UpdateFileMetadata],
        tags: Literal["own", "exact"] = "own",
        collection_id: str | None = None,
    ) -> None:
        """Write the changed metadata of files that are already in the lake.

        `collection_id`: of a collection of the manifest.
        """
        written = self._recorder.state.metadata_sets.values
        sender = PageSender(self._recorder, place)
        for start in range(0, len(actions), PAGE_SIZE_LIMIT):
            page = actions[start : start + PAGE_SIZE_LIMIT]
            befores = [(written(action.before) if action.before else None) or {} for action in page]
            updates = [
                MetadataUpdate(action, _fields_to_write(action, before, tags))
                for action, before in zip(page, befores, strict=True)
            ]
            await self._read_tags(befores, updates, tags)
            await self._write_page(place, updates, sender, collection_id)

    async def _read_tags(
        self, befores: Sequence[MetadataValues], updates: list[MetadataUpdate], tags: Literal["own", "exact"]
    ) -> None:
        """Read the lake's Tags of files whose Tags change, and with `own` merge them with ours, because the lake
        replaces Tags as a whole.

        Tags of other clients on a file without a known unique name are not known.
        """
        changing = {
            name: number
            for number, one in enumerate(updates)
            if TAGS in one.update and (name := one.action.at.unique_name)
        }
        fields = {
            name: changed_fields(befores[number], updates[number].action.metadata.values)
            for name, number in changing.items()
        }
        found = await asyncio.to_thread(remote_details, self._client, list(fields.items()), self._threads)
        for name, number in changing.items():
            one, before = updates[number], befores[number]
            there = found[name].metadata if name in found else {}
            theirs = there.get(TAGS, [])
            if tags == "own":
                ours = one.action.metadata.values.get(TAGS, [])
                one.update[TAGS] = merge_tags(before=before.get(TAGS, []), ours=ours, theirs=theirs)
            # The history needs what the lake had: another client may have written some of it.
            lake = one.action.lake if one.action.lake is not None else lake_values(before, fields[name], there)
            action = replace(one.action, lake={**lake, TAGS: theirs}, tags=tuple(one.update[TAGS]))
            updates[number] = replace(one, action=action)

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
        written = self._recorder.state.metadata_sets.values
        updates: list[MetadataUpdate] = []
        for one in owed:
            at = FileAt(collection.key, one.name, one.unique_name)
            action = UpdateFileMetadata(at, metadata_set(written(one.written) or {}), one.written)
            theirs = list(dict.fromkeys((*tags[one.unique_name], *one.tags)))
            updates.append(MetadataUpdate(action, {TAGS: theirs}, planned=False))
        failed = await self.write(collection.key, updates, collection_id)
        self.tags_restored(collection, [one.name for one in owed if one.name not in failed])

    async def write(
        self, place: Place, updates: Sequence[MetadataUpdate], collection_id: str | None = None
    ) -> list[str]:
        """Write updates page by page, and record each page when the lake confirms it. Returns the names that failed."""
        failed: list[str] = []
        sender = PageSender(self._recorder, place)
        for start in range(0, len(updates), PAGE_SIZE_LIMIT):
            failed += await self._write_page(place, updates[start : start + PAGE_SIZE_LIMIT], sender, collection_id)
        return failed

    async def _write_page(
        self, place: Place, page: Sequence[MetadataUpdate], sender: PageSender, collection_id: str | None
    ) -> list[str]:
        where = {"collection_id": collection_id}
        if isinstance(place, Address):
            where = {**await self._addresses.metadata_place(place)}
        await self._record_pending(place, page)
        rejected = await sender.send(page, lambda part: self._send(place, where, part), lambda one: one.action)
        names = [one.action.at.name for one in rejected]
        if names:
            with self._recorder.state.write():
                self._recorder.state.pending_writes.drop_metadata(self._recorder.lake, place, names)
        return names

    async def _record_pending(self, place: Place, page: Sequence[MetadataUpdate]) -> None:
        """Record what is about to be sent, so that a run after a kill knows that the lake may have it from us."""
        state = self._recorder.state
        files = [PendingMetadata(one.action.at, metadata_set(one.update), one.action.metadata_recorded) for one in page]
        with state.write():
            state.pending_writes.put_metadata(self._recorder.lake, place, files)
        await asyncio.to_thread(state.sync)

    async def _send(self, place: Place, where: Mapping[str, str | None], page: Sequence[MetadataUpdate]) -> None:
        """Write a page of updates, and record them when the lake confirms them."""
        entries = [FileMetadata(file=metadata_name(one.action.at), metadata=one.update) for one in page]
        await asyncio.to_thread(self._client.metadata_by_json, entries, **where)
        self._recorder.confirm([one.action for one in page if one.planned], lambda: self._record(place, page))

    def _record(self, place: Place, page: Sequence[MetadataUpdate]) -> None:
        self._recorder.records_at(place).record_metadata(
            [(one.action.at, one.action.metadata_recorded) for one in page]
        )
        self._recorder.state.pending_writes.drop_metadata(
            self._recorder.lake, place, [one.action.at.name for one in page]
        )


def _fields_to_write(
    action: UpdateFileMetadata, before: MetadataValues, tags: Literal["own", "exact"]
) -> dict[str, Any]:
    if action.lake is None:
        return update_to_send(before, action.metadata.values)
    return update_to_mend(before, action.metadata.values, action.lake, tags)
