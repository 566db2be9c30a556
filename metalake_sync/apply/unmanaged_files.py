"""The stage for unmanaged files: sends their annotation sets and metadata, in pages, by the address in the manifest.

Owns: how an address is written in a call. A page that the lake rejects is bisected until the bad entry is isolated. If
the lake rejects everything, the address itself is wrong, and the stage stops calling.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from metalake_sync.apply.annotations import MODES
from metalake_sync.apply.bisect import PageSender
from metalake_sync.apply.labels import LabelBook
from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.metadata import TAGS, MetadataValues, merge_tags, update_to_mend, update_to_send
from metalake_sync.core.shapes import EMPTY_SET_DIGEST, ImageRecord
from metalake_sync.core.snapshots import MediaType
from metalake_sync.core.unmanaged_files import (
    DEFAULT_BUCKET,
    Address,
    AddressedPlan,
    AnnotateEntry,
    By,
    ClearEntry,
    DescribeEntry,
)
from metalake_sync.errors import LakeRefused
from metalake_sync.planning.unmanaged_sources import UnmanagedSources
from metalake_sync.protocol.items import FileMetadata
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
from metalake_sync.remote.annotation_objects import ImageAddress, pages, set_for_image
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_tags
from metalake_sync.remote.listings import count_remote, list_remote
from metalake_sync.remote.selections import media_kind

if TYPE_CHECKING:
    from metalake_sync.protocol.annotation_sets import LabelReference

SetAction = AnnotateEntry | ClearEntry


class UnmanagedStage:
    """`lake`: the identity of the lake in the state."""

    def __init__(
        self,
        client: LakeClient,
        recorder: Recorder,
        sources: UnmanagedSources,
        labels: LabelBook,
        lake: str,
        threads: int,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._sources = sources
        self._labels = labels
        self._lake = lake
        self._threads = threads
        self._collections: dict[Address, tuple[MediaType, str]] = {}

    async def clear(self, plans: Iterable[AddressedPlan]) -> None:
        """Clear the sets of entries that the manifest no longer has."""
        for plan in plans:
            clears = [action for action in plan.actions if isinstance(action, ClearEntry)]
            if clears:
                await asyncio.to_thread(self._recorder.state.sync)
            await self._send_sets(plan, clears)

    async def send(self, plan: AddressedPlan) -> None:
        """Send what changed, and update the records of entries that need no call."""
        await self._send_sets(plan, [action for action in plan.actions if isinstance(action, AnnotateEntry)])
        await self._describe(plan, [action for action in plan.actions if isinstance(action, DescribeEntry)])
        self._bookkeeping(plan)

    # Annotations.

    async def _send_sets(self, plan: AddressedPlan, actions: Sequence[SetAction]) -> None:
        if not actions:
            return
        unique_names = await self._unique_names(plan.address, actions)
        gone = [action for action in actions if _needs_name(action) and action.name not in unique_names]
        for action in gone:
            self._recorder.fail([action], _missing(action), retryable=True)
        ready = [action for action in actions if action not in gone] if gone else actions
        references = await self._labels.references() if any(_has_shapes(action) for action in ready) else {}
        index = self._sources.annotations.get((plan.address, plan.operation or ""))
        normalized = index.normalized if index is not None else False
        session_id, sent = str(uuid.uuid4()), 0
        sender = PageSender(self._recorder)
        records: dict[str, ImageRecord] = {}

        async def send(page: Sequence[tuple[SetAction, dict[str, Any]]]) -> None:
            await asyncio.to_thread(
                self._client.update_annotations,
                page[0][0].annotations.operation,
                [wire for _, wire in page],
                mode=MODES[page[0][0].annotations.kind],
                normalized=normalized,
                session_id=session_id,
                total=len(ready),
                uploaded=sent,
            )
            done = [action for action, _ in page]
            self._recorder.confirm(done, lambda: self._record_sets(plan.address, done, records))

        for kind in {action.annotations.kind for action in ready}:
            group = [action for action in ready if action.annotations.kind is kind]
            wires = (self._wire(action, unique_names, references, records) for action in group)
            start = 0
            for page in pages(wires):
                paired = list(zip(group[start : start + len(page)], page, strict=True))
                start += len(page)
                sent += len(page)
                await sender.send(paired, send, lambda pair: pair[0])
                for action, _ in paired:
                    records.pop(action.name, None)

    def _wire(
        self,
        action: SetAction,
        unique_names: Mapping[str, str],
        references: Mapping[str, LabelReference],
        records: dict[str, ImageRecord],
    ) -> dict[str, Any]:
        """The set as it is sent. Adds its shapes to `records`, from which the state keeps those that are confirmed."""
        record = ImageRecord(action.name, ())
        if _has_shapes(action):
            record = self._sources.annotations[action.address, action.annotations.operation].record(action.name)
            records[action.name] = record
        return set_for_image(
            _image_address(action.address, action.name, unique_names),
            action.annotations.operation,
            record,
            references,
            kind=action.annotations.kind,
            created_at=datetime.now(UTC),
        )

    def _record_sets(self, address: Address, actions: Sequence[SetAction], shapes: Mapping[str, ImageRecord]) -> None:
        records, key = self._recorder.state.addressed, address.key
        kept = [action for action in actions if isinstance(action, AnnotateEntry) and _has_shapes(action)]
        records.record_sets(
            self._lake,
            key,
            [(one.name, one.annotations, one.lake_id) for one in kept],
            lambda entry, _: shapes.get(entry),
        )
        for action in actions:
            if not _has_shapes(action):
                records.forget_sets(self._lake, key, action.annotations.operation, [action.name])

    async def _unique_names(self, address: Address, actions: Sequence[SetAction]) -> dict[str, str]:
        """Unique names by entry. Lists the collection now if the planner did not."""
        known = {action.name: action.unique_name for action in actions if action.unique_name is not None}
        if address.by is By.UNIQUE_NAME:
            return {action.name: action.name for action in actions}
        if address.by is By.COLLECTION and len(known) < len(actions):
            media_type, lake_id = await self._collection(address)
            count = await asyncio.to_thread(count_remote, self._client, lake_id, media_type)
            listing = await asyncio.to_thread(list_remote, self._client, lake_id, media_type, count)
            for action in actions:
                file = listing.get(action.name)
                if file is not None:
                    known[action.name] = file.unique_name
        return known

    # Metadata.

    async def _describe(self, plan: AddressedPlan, actions: Sequence[DescribeEntry]) -> None:
        sender = PageSender(self._recorder)
        for start in range(0, len(actions), PAGE_SIZE_LIMIT):
            page = actions[start : start + PAGE_SIZE_LIMIT]
            updates = await self._updates(page)
            where = await self._where(plan.address)

            async def send(
                part: Sequence[tuple[DescribeEntry, dict[str, Any]]], where: Mapping[str, str] = where
            ) -> None:
                entries = [FileMetadata(file=_file(action), metadata=update) for action, update in part]
                await asyncio.to_thread(self._client.metadata_by_json, entries, **where)
                done = [action for action, _ in part]
                self._recorder.confirm(done, lambda: self._record_metadata(plan.address, done))

            await sender.send(list(zip(page, updates, strict=True)), send, lambda pair: pair[0])

    async def _updates(self, page: Sequence[DescribeEntry]) -> list[dict[str, Any]]:
        """The fields to write. Tags of other clients stay if the lake returns them for this kind of address."""
        written = self._recorder.state.metadata_sets.values
        befores: list[MetadataValues] = [(written(one.before) if one.before else None) or {} for one in page]
        updates = [
            update_to_send(before, one.metadata.values)
            if one.lake is None
            else update_to_mend(before, one.metadata.values, one.lake, "own")
            for one, before in zip(page, befores, strict=True)
        ]
        tagged = {
            one.unique_name: number for number, one in enumerate(page) if one.unique_name and TAGS in updates[number]
        }
        theirs = await asyncio.to_thread(remote_tags, self._client, list(tagged), self._threads)
        for unique_name, number in tagged.items():
            updates[number][TAGS] = merge_tags(
                before=befores[number].get(TAGS, []),
                ours=page[number].metadata.values.get(TAGS, []),
                theirs=theirs.get(unique_name, []),
            )
        return updates

    async def _where(self, address: Address) -> dict[str, str]:
        match address.by:
            case By.COLLECTION:
                return {"collection_id": (await self._collection(address))[1]}
            case By.JOB:
                return {"job_id": address.within}
            case By.STORAGE_PATH:
                return {"bucket_name": address.within or DEFAULT_BUCKET}
            case By.UNIQUE_NAME:
                return {}

    def _record_metadata(self, address: Address, actions: Sequence[DescribeEntry]) -> None:
        records, key = self._recorder.state.addressed, address.key
        kept = [action for action in actions if action.metadata]
        self._recorder.state.metadata_sets.remember(action.metadata for action in kept)
        records.record_metadata(self._lake, key, [(one.name, one.metadata.digest, one.lake_id) for one in kept])
        records.forget_metadata(self._lake, key, [one.name for one in actions if not one.metadata])

    def _bookkeeping(self, plan: AddressedPlan) -> None:
        if not plan.settled and not plan.forgotten:
            return
        records, key = self._recorder.state.addressed, plan.address.key
        kept = {name: metadata for name, metadata in plan.settled.items() if metadata}
        with self._recorder.state.write():
            self._recorder.state.metadata_sets.remember(kept.values())
            records.record_metadata(
                self._lake, key, [(name, one.digest, plan.ids.get(name)) for name, one in kept.items()]
            )
            gone = [*plan.forgotten, *(name for name in plan.settled if name not in kept)]
            if plan.operation is None:
                records.forget_metadata(self._lake, key, gone)
            else:
                records.forget_sets(self._lake, key, plan.operation, gone)

    async def _collection(self, address: Address) -> tuple[MediaType, str]:
        """The collection's type and id, requested once."""
        if address not in self._collections:
            for media_type in [address.type] if address.type else list(MediaType):
                found = await asyncio.to_thread(self._client.find_collection, address.within, media_kind(media_type))
                if found is not None:
                    self._collections[address] = (media_type, found)
                    break
            else:
                raise LakeRefused(f"the lake does not have the collection '{address.within}'", status=200)
        return self._collections[address]


def _image_address(address: Address, name: str, unique_names: Mapping[str, str]) -> ImageAddress:
    match address.by:
        case By.STORAGE_PATH:
            return ImageAddress.at_path(name, address.within)
        case By.JOB:
            return ImageAddress(job_id=address.within, file_name=name)
        case By.UNIQUE_NAME | By.COLLECTION:
            return ImageAddress(unique_name=unique_names[name])


def _file(action: DescribeEntry) -> str:
    return action.name.lstrip("/") if action.address.by is By.STORAGE_PATH else action.name


def _needs_name(action: SetAction) -> bool:
    return action.address.by is By.COLLECTION


def _has_shapes(action: SetAction) -> bool:
    return isinstance(action, AnnotateEntry) and action.annotations.digest != EMPTY_SET_DIGEST


def _missing(action: SetAction) -> LakeRefused:
    return LakeRefused(f"the lake does not have this file in '{action.address.within}'", status=200)
