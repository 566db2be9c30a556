"""Collections and items: create, find, list, count and trash them; jobs, labels, and counts of the lake.

Owns: the arguments of these calls, and their results as values. Must not: use a state; each call acts on what the lake
has now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metalake_sync.api.arguments import EVERYTHING, FilterLike, SortLike, filter_of, several, sort_of, type_of
from metalake_sync.api.connected import Connected, ContentType, must_be_there
from metalake_sync.api.results import (
    CollectionInfo,
    ItemInfo,
    JobInfo,
    LabelGroupInfo,
    LabelInfo,
    SystemCounts,
    TrashResult,
    UploadStatus,
    label_groups,
    system_counts,
    upload_status,
)
from metalake_sync.apply.jobs import wait_for_job
from metalake_sync.core.selection import OLDEST_FIRST, ItemSelection
from metalake_sync.core.snapshots import MediaType
from metalake_sync.errors import LakeAnswerInvalid, UsageError
from metalake_sync.protocol.items import ListedItem, SelectItems
from metalake_sync.protocol.wire import JobStatus, MediaKind, ObjectKind
from metalake_sync.remote.item_details import remote_fields
from metalake_sync.remote.listings import which_exist
from metalake_sync.remote.selections import (
    Place,
    collection_kind,
    count_selection,
    filter_data,
    list_selection,
    media_kind,
    object_kind,
    trash_selection,
)

_MEDIA_TYPES = {MediaKind.IMAGE: MediaType.IMAGE, MediaKind.VIDEO: MediaType.VIDEO, MediaKind.OTHER: MediaType.OTHER}

_JOB_STATES: dict[JobStatus, Any] = {
    JobStatus.IN_PROGRESS: "in_progress",
    JobStatus.COMPLETED: "completed",
    JobStatus.QUEUED: "queued",
    JobStatus.FAILED: "failed",
}

NOTHING = TrashResult(0, 0, "nothing matches")


class Items(Connected):
    """Methods for what is in the lake."""

    # Collections.

    def create_or_update_collection(
        self, collection_name: str, content_type: ContentType, metadata: Mapping[str, Any] | None = None
    ) -> CollectionInfo:
        """Create an empty collection, or write the metadata of an existing one. Its files do not change."""
        media_type = type_of(content_type)
        lake_id = self._client.create_collection(collection_name, media_kind(media_type), dict(metadata or {}))
        return CollectionInfo(lake_id, collection_name, media_type)

    def get_collection_details(self, collection_id: str, fields: Iterable[str] = ()) -> CollectionInfo:
        """Return a collection by its id. `fields`: what to return besides, such as `fileSize`, `frameCount`, `Tags`,
        `storagePath`, or any of its metadata. Raises UsageError if it does not exist."""
        wanted = dict.fromkeys(several("fields", fields), True)
        with must_be_there(
            f"collection of the id '{collection_id}'", "'find_collection' returns the id of a collection."
        ):
            details = self._client.collection_details(collection_id, wanted)
        try:
            name, media_type = str(details["name"]), _MEDIA_TYPES[MediaKind(details["contentType"])]
        except (KeyError, ValueError):
            raise LakeAnswerInvalid("the answer has no name and type of the collection", where=collection_id) from None
        return CollectionInfo(collection_id, name, media_type, details)

    def list_collections(self, content_type: ContentType = "image", query: str = "") -> Iterator[CollectionInfo]:
        """Yield every collection of a type, page by page."""
        media_type = type_of(content_type)
        selection = ItemSelection(media_type, query=query)
        for page in list_selection(self._client, selection, Place(media_type, None), kind=collection_kind(media_type)):
            for item in page:
                yield CollectionInfo(item.id, item.name, media_type)

    # Items.

    def get_file_details(self, unique_name: str, fields: Iterable[str] = ()) -> dict[str, Any]:
        """Return id, name, unique name and url of an item. `fields`: what to return besides, such as `fileSize`,
        `resolution`, `Tags`, `createdAt`, or any of its metadata. Raises UsageError if it does not exist."""
        details = self._client.item_details(unique_name, dict.fromkeys(several("fields", fields), True))
        if details is None:
            raise UsageError(f"the lake has no item '{unique_name}'", remedy="Pass its unique name.")
        return details

    def get_item_list_from_collection(
        self,
        collection_id: str,
        *,
        query: str = "",
        filter: FilterLike = EVERYTHING,
        sort: SortLike = OLDEST_FIRST,
        fields: Iterable[str] = (),
    ) -> Iterator[ItemInfo]:
        """Yield all matching items of a collection, page by page. `fields`: what to return besides the names, as in
        `get_file_details`; that costs one call for each item."""
        media_type = self.get_collection_details(collection_id).type
        selection = ItemSelection(media_type, "", query, filter_of(filter), sort_of(sort))
        return self._listed(selection, Place(media_type, collection_id), several("fields", fields))

    def get_item_list_from_datalake(
        self,
        content_type: ContentType = "image",
        *,
        query: str = "",
        filter: FilterLike = EVERYTHING,
        sort: SortLike = OLDEST_FIRST,
        fields: Iterable[str] = (),
    ) -> Iterator[ItemInfo]:
        """Yield all matching items of the whole lake, page by page. `fields`: what to return besides the names, as in
        `get_file_details`; that costs one call for each item."""
        media_type = type_of(content_type)
        selection = ItemSelection(media_type, None, query, filter_of(filter), sort_of(sort))
        return self._listed(selection, Place(media_type, None), several("fields", fields))

    def _listed(self, selection: ItemSelection, place: Place, fields: Sequence[str]) -> Iterator[ItemInfo]:
        for page in list_selection(self._client, selection, place):
            items = [_item(item) for item in page]
            if not fields:
                yield from items
                continue
            # Not a whole page at once: a caller who needs only the first items does not pay for a thousand calls.
            for start in range(0, len(items), self._options.calls_at_once):
                part = items[start : start + self._options.calls_at_once]
                names = [item.unique_name for item in part]
                details = remote_fields(self._client, names, fields, self._options.calls_at_once)
                yield from (replace(item, details=details[item.unique_name]) for item in part)

    def get_item_count_from_collection(
        self,
        collection_id: str,
        *,
        query: str = "",
        filter: FilterLike = EVERYTHING,
    ) -> int:
        """Return how many items of a collection match."""
        media_type = self.get_collection_details(collection_id).type
        return count_selection(
            self._client, ItemSelection(media_type, "", query, filter_of(filter)), Place(media_type, collection_id)
        )

    def get_item_count_from_metalake(
        self,
        content_type: ContentType = "image",
        *,
        query: str = "",
        filter: FilterLike = EVERYTHING,
    ) -> int:
        """Return how many items of the whole lake match."""
        media_type = type_of(content_type)
        return count_selection(
            self._client, ItemSelection(media_type, None, query, filter_of(filter)), Place(media_type, None)
        )

    def _there(self, unique_names: Sequence[str], media_types: Sequence[MediaType]) -> set[str]:
        return set(which_exist(self._client, unique_names, media_types, self._options.calls_at_once))

    def get_downloadable_url(self, unique_name: str) -> str:
        """Return a signed URL that reads a file, valid for a short time. It is a credential: do not log or store it.
        Vendor's page: 2.9. Raises UsageError if the file does not exist."""
        with must_be_there(f"item '{unique_name}'", "Pass its unique name."):
            return self._client.download_url(unique_name)

    # Jobs.

    def get_job_status(self, job_id: str) -> JobInfo:
        """Return the state of a job."""
        with must_be_there(f"job '{job_id}'", "The result of an upload has the ids of its jobs."):
            answer = self._client.job_status(job_id)
        return JobInfo(job_id, _JOB_STATES[answer.status], answer.progress)

    def wait_for_job_complete(self, job_id: str) -> JobInfo:
        """Wait until a job is completed. Uploads of this class wait automatically.

        Raises LakeRejected if the job failed, JobStandsStill if it makes no progress for half an hour.
        """
        with must_be_there(f"job '{job_id}'", "The result of an upload has the ids of its jobs."):
            asyncio.run(wait_for_job(self._client, job_id))
        return JobInfo(job_id, "completed", 100.0)

    def get_upload_status(self, collection_name: str) -> UploadStatus:
        """Return the progress of a collection's upload; without a `progress` if the lake knows no upload."""
        with must_be_there(f"collection '{collection_name}'", "Check the name."):
            return upload_status(self._client.upload_progress(collection_name))

    # The lake.

    def get_all_labels(self, group_id: str | None = None) -> list[LabelInfo]:
        """Return the labels of the lake, or of a group."""
        return [LabelInfo(label.label_text, label.label or "") for label in self._client.list_labels(group_id)]

    def get_all_label_groups(self) -> list[LabelGroupInfo]:
        """Return the label groups of the lake."""
        return label_groups(self._client.list_label_groups())

    def get_system_stat_count(self) -> SystemCounts:
        """Return how many images, videos and other files the lake has."""
        return system_counts(self._client.system_details())

    # Trash. The protocol has no call that restores items.

    def trash_objects_from_collection(
        self,
        collection_id: str,
        *,
        query: str = "",
        filter: FilterLike = EVERYTHING,
    ) -> TrashResult:
        """Trash the items of a collection that match; without query and filter, the collection with all its items.
        Vendor's page: 2.10. If nothing matches, `trashed` is 0."""
        wanted = filter_of(filter)
        media_type = self.get_collection_details(collection_id).type
        selection = ItemSelection(media_type, "", query, wanted)
        if not selection.narrowed:
            request = SelectItems(
                is_all_selected=False,
                content_type=ObjectKind(media_kind(media_type).value),
                object_id_list=[collection_id],
            )
            return self._trash(request)
        if not count_selection(self._client, selection, Place(media_type, collection_id)):
            return NOTHING
        return self._trash(
            SelectItems(is_all_selected=True, query=query, filter_data=filter_data(wanted), collection_id=collection_id)
        )

    def trash_objects_from_datalake(
        self,
        *,
        query: str = "",
        filter: FilterLike = EVERYTHING,
        content_type: ContentType = "image",
    ) -> TrashResult:
        """Trash the items of the whole lake that match. Vendor's page: 2.11. If nothing matches, `trashed` is 0.

        Raises UsageError without query and filter, which would match everything.
        """
        wanted = filter_of(filter)
        media_type = type_of(content_type)
        selection = ItemSelection(media_type, None, query, wanted)
        if not selection.narrowed:
            raise UsageError(
                "without query and filter, everything in the lake matches", remedy="Pass a query or a filter."
            )
        if not count_selection(self._client, selection, Place(media_type, None)):
            return NOTHING
        return self._trash(
            SelectItems(
                is_all_selected=True,
                content_type=object_kind(media_type),
                query=query,
                filter_data=filter_data(wanted),
            )
        )

    def _trash(self, request: SelectItems) -> TrashResult:
        counts = trash_selection(self._client, request)
        return TrashResult(counts.trashed, counts.failed, counts.message)


def _item(item: ListedItem) -> ItemInfo:
    return ItemInfo(item.id, item.name, item.unique_name or item.name)
