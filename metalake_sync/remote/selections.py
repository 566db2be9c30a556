"""Lists, counts and trashes selections of items.

Owns: how a selection is sent, and the protocol's numbers for the media types of the manifest. Must not: decide what
happens to the items.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from metalake_sync.core.selection import AnnotationType, ItemFilter, ItemSelection, ItemSort, SortName
from metalake_sync.core.snapshots import CollectionKey, MediaType, RemoteFile
from metalake_sync.errors import LakeRejected, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.items import CountItems, DateRange, FilterData, ListedItem, ListItems, SelectItems, SortBy
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT, AnnotationKind, MediaKind, ObjectKind, SortField
from metalake_sync.remote.client import LakeClient

_MEDIA_KINDS = {MediaType.IMAGE: MediaKind.IMAGE, MediaType.VIDEO: MediaKind.VIDEO, MediaType.OTHER: MediaKind.OTHER}

_OBJECT_KINDS = {
    MediaType.IMAGE: ObjectKind.IMAGE,
    MediaType.VIDEO: ObjectKind.VIDEO,
    MediaType.OTHER: ObjectKind.OTHER,
}

_COLLECTION_KINDS = {
    MediaType.IMAGE: ObjectKind.IMAGE_COLLECTION,
    MediaType.VIDEO: ObjectKind.VIDEO_COLLECTION,
    MediaType.OTHER: ObjectKind.OTHER_COLLECTION,
}


def media_kind(media_type: MediaType) -> MediaKind:
    """Return the type of a collection in upload, create and metadata calls."""
    return _MEDIA_KINDS[media_type]


def object_kind(media_type: MediaType) -> ObjectKind:
    """Return the type of a collection's items in list, count and selection calls."""
    return _OBJECT_KINDS[media_type]


def collection_kind(media_type: MediaType) -> ObjectKind:
    """Return the type of collections themselves in list, count and selection calls."""
    return _COLLECTION_KINDS[media_type]


_ANNOTATION_TYPES: dict[AnnotationType, AnnotationKind] = {
    "raw": AnnotationKind.RAW,
    "human": AnnotationKind.HUMAN,
    "machine": AnnotationKind.MACHINE,
}
_SORT_FIELDS: dict[SortName, SortField] = {
    "date_modified": SortField.DATE_MODIFIED,
    "date_created": SortField.DATE_CREATED,
    "name": SortField.NAME,
    "size": SortField.SIZE,
    "video_index": SortField.VIDEO_INDEX,
}
QUERY_REJECTED_STATUSES = frozenset({400, 406, 422})
_TRASHED = re.compile(r"(\d+) objects? successfully trashed, (\d+) objects? failed")


@dataclass(frozen=True, slots=True)
class Place:
    """The scope of a selection."""

    type: MediaType
    collection_id: str | None
    """None is the whole lake."""


def find_place(client: LakeClient, name: str, media_type: MediaType | None) -> Place | None:
    """Find a collection by name, and by type if one is given. Returns None if it does not exist.

    Raises UsageError if collections of several types have the name.
    """
    types = list(MediaType) if media_type is None else [media_type]
    found = [
        Place(kind, lake_id)
        for kind in types
        if (lake_id := client.find_collection(name, media_kind(kind))) is not None
    ]
    if len(found) > 1:
        kinds = " and ".join(place.type.value for place in found)
        raise UsageError(f"the lake has collections '{name}' of type {kinds}", remedy="Add 'type'.")
    return found[0] if found else None


def check_dates(wanted: ItemFilter) -> ItemFilter:
    """Return the filter. Raises UsageError for an invalid date, and if the first date is after the second."""
    begins, ends = _moment("from_date", wanted.from_date), _moment("to_date", wanted.to_date)
    if begins is not None and ends is not None and begins > ends:
        raise UsageError(f"the dates are reversed: from {wanted.from_date} to {wanted.to_date}", remedy="Swap them.")
    return wanted


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        raise UsageError(
            f"'{name}' is {text!r}", remedy="Write a date such as 2026-01-31, or a date with a time."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def filter_data(wanted: ItemFilter) -> FilterData:
    """Return a filter in the form of the protocol."""
    dates = None
    if wanted.from_date or wanted.to_date:
        dates = DateRange(from_date=wanted.from_date, to_date=wanted.to_date)
    return FilterData(annotation_types=[_ANNOTATION_TYPES[kind] for kind in wanted.annotation_types], date=dates)


def sort_by(sort: ItemSort) -> SortBy:
    return SortBy(sort_by_field=_SORT_FIELDS[sort.by], sort_order=sort.order.upper())


def list_selection(
    client: LakeClient, selection: ItemSelection, place: Place, *, kind: ObjectKind | None = None, first_page: int = 0,
    page_size: int = PAGE_SIZE_LIMIT,
) -> Iterator[list[ListedItem]]:  # fmt: skip
    """Yield all pages of a selection's items. `kind`: of the items; None means that of the place.

    Raises UsageError for a query that the lake rejects.
    """
    request = ListItems(
        content_type=object_kind(place.type) if kind is None else kind,
        query=selection.query,
        filter_data=filter_data(selection.filter),
        sort_by=sort_by(selection.sort),
        page_index=first_page,
        page_size=page_size,
    )
    with _query_errors(selection):
        if place.collection_id is None:
            yield from client.list_items(request)
        else:
            yield from client.list_collection_items(place.collection_id, request)


def count_selection(client: LakeClient, selection: ItemSelection, place: Place, kind: ObjectKind | None = None) -> int:
    """Return the number of items of a selection, with one call. Raises UsageError for a query that the lake rejects."""
    request = CountItems(
        content_type=object_kind(place.type) if kind is None else kind,
        query=selection.query,
        filter_data=filter_data(selection.filter),
    )
    with _query_errors(selection):
        if place.collection_id is None:
            return client.count_items(request)
        return client.count_collection(place.collection_id, request)


@contextlib.contextmanager
def _query_errors(selection: ItemSelection) -> Iterator[None]:
    try:
        yield
    except LakeRejected as rejection:
        if rejection.status not in QUERY_REJECTED_STATUSES or not selection.query.strip():
            raise
        raise UsageError(
            f"the lake rejected the query {selection.query!r} ({rejection.message})",
            remedy="Write annotation.label=X, metadata.Tags=X or metadata.FIELD=X, joined by 'and'. There is no 'or'.",
        ) from None


@dataclass(frozen=True, slots=True)
class TrashCounts:
    """The result of trashing a selection."""

    trashed: int
    """0 if the lake's message has no counts, as is `failed`."""
    failed: int
    message: str
    """The lake's own message."""


def trash_selection(client: LakeClient, request: SelectItems) -> TrashCounts:
    """Select items, and move them to the trash. Raises LakeRejected, also for an empty selection."""
    return trash_counts(client.trash_items(client.select_items(request)))


def trash_counts(message: str) -> TrashCounts:
    counts = _TRASHED.search(message)
    return TrashCounts(int(counts[1]), int(counts[2]), message) if counts else TrashCounts(0, 0, message)


def trash_collection(client: LakeClient, key: CollectionKey, collection_id: str) -> bool:
    """Move a collection with its items to the trash. Returns whether it is gone. Raises LakeRejected."""
    kind = media_kind(key.type)
    selection = SelectItems(is_all_selected=False, content_type=ObjectKind(kind.value), object_id_list=[collection_id])
    counts = trash_selection(client, selection)
    if counts.trashed and not counts.failed:
        return True
    return client.find_collection(key.name, kind) != collection_id


def trash_files(client: LakeClient, kind: ObjectKind, files: Sequence[RemoteFile]) -> set[str]:
    """Move files to the trash by id. Returns the ids of those that are still in the lake."""
    selection = SelectItems(is_all_selected=False, content_type=kind, object_id_list=[file.lake_id for file in files])
    try:
        counts = trash_selection(client, selection)
    except LakeRejected:
        left = _still_there(client, files)
        if len(left) == len(files):
            raise
        return left
    if counts.trashed == len(files) and counts.failed == 0:
        return set()
    # The answer says how many failed, but not which. A repeated call also counts files that are already trashed.
    return _still_there(client, files)


def _still_there(client: LakeClient, files: Sequence[RemoteFile]) -> set[str]:
    left: set[str] = set()
    for file in files:
        details = client.item_details(file.unique_name, {"id": True})
        if details is not None and details.get("id") == file.lake_id:
            left.add(file.lake_id)
    return left
