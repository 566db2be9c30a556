"""What the lake has, as rows to compare with: listings and what details tell of single files.

Owns: paging and memory. A list tells presence and identity; sizes and metadata cost one call for each file, so they are
asked for only where a decision rests on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from metalake_sync.core.metadata import TAGS, in_our_spelling
from metalake_sync.core.snapshots import MediaType, RemoteFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import CountItems, ListedItem, ListItems, SortBy
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT, MediaKind, ObjectKind, SortField, number_in
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.dates import sortable_date
from metalake_sync.remote.repeated_pages import RepeatGuard

KeyT = TypeVar("KeyT")

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
    """How upload, create and metadata calls name a collection's type."""
    return _MEDIA_KINDS[media_type]


def object_kind(media_type: MediaType) -> ObjectKind:
    """How list, count and selection calls name the items of a collection."""
    return _OBJECT_KINDS[media_type]


def collection_kind(media_type: MediaType) -> ObjectKind:
    """How list, count and selection calls name collections themselves."""
    return _COLLECTION_KINDS[media_type]


class RemoteListing:
    """What one collection has, by file name. A unique name that is the usual prefix and the name is not kept twice."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._prefix = ""
        self._unusual: dict[str, str] = {}
        self._names_of_unusual: dict[str, str] | None = None
        self.duplicates = 0
        self.newest: str | None = None

    @classmethod
    def empty(cls) -> RemoteListing:
        return cls()

    def add(self, item: ListedItem) -> None:
        """Take in the next item, oldest first."""
        self.newest = item.id
        if item.name in self._ids:
            self.duplicates += 1
            return
        unique_name = item.unique_name or item.name
        if not self._ids and unique_name.endswith(item.name):
            self._prefix = unique_name.removesuffix(item.name)
        self._ids[item.name] = item.id
        if unique_name != self._prefix + item.name:
            self._unusual[item.name] = unique_name

    def id_of(self, name: str) -> str | None:
        return self._ids.get(name)

    def get(self, name: str) -> RemoteFile | None:
        lake_id = self._ids.get(name)
        return RemoteFile(name, lake_id, self.unique_name_of(name)) if lake_id is not None else None

    def unique_name_of(self, name: str) -> str:
        """The unique name of a file that is listed; of any other, what it would usually be."""
        return self._unusual.get(name, self._prefix + name)

    def name_of(self, unique_name: str) -> str | None:
        """The name of the listed file that has a unique name, None if no file has it."""
        name = unique_name.removeprefix(self._prefix)
        if name in self._ids and self.unique_name_of(name) == unique_name:
            return name
        if self._names_of_unusual is None:
            self._names_of_unusual = {unique: name for name, unique in self._unusual.items()}
        return self._names_of_unusual.get(unique_name)

    def names(self) -> Iterable[str]:
        return self._ids.keys()

    def __len__(self) -> int:
        return len(self._ids)


PAGES_AT_ONCE = 8
LISTED_AGAIN = 1
"""How often a collection that changes while it is listed is listed anew."""

OLDEST_FIRST = SortBy(sort_by_field=SortField.DATE_CREATED, sort_order="ASC")
NEWEST_FIRST = SortBy(sort_by_field=SortField.DATE_CREATED, sort_order="DESC")


def count_remote(client: LakeClient, collection_id: str, media_type: MediaType) -> int:
    """How many files a collection has."""
    return client.count_collection(collection_id, CountItems(content_type=object_kind(media_type)))


def newest_remote(client: LakeClient, collection_id: str, media_type: MediaType) -> str | None:
    """The id of a collection's newest file, None where it has none."""
    request = ListItems(content_type=object_kind(media_type), sort_by=NEWEST_FIRST, page_size=1)
    page = client.list_page(request, collection_id)
    return page[0].id if page else None


def lake_stands(client: LakeClient, media_type: MediaType) -> tuple[int, str | None]:
    """How many files of a type the whole lake has, and the id of the newest, None where it has none."""
    kind = object_kind(media_type)
    request = ListItems(content_type=kind, sort_by=NEWEST_FIRST, page_size=1)
    page = next(iter(client.list_items(request)), None)
    return client.count_items(CountItems(content_type=kind)), page[0].id if page else None


def list_remote(client: LakeClient, collection_id: str, media_type: MediaType, count: int) -> RemoteListing:
    """List a whole collection, several pages at once, oldest first: what comes in meanwhile is appended.

    `count`: how many files it should have. A file that leaves meanwhile shifts the pages behind it, and could hide
    another one at their border: so a listing that is short of the count is made anew.
    """
    for _ in range(LISTED_AGAIN):
        listing = _list_once(client, collection_id, media_type, count)
        if len(listing) + listing.duplicates >= count:
            return listing
        count = count_remote(client, collection_id, media_type)
    return _list_once(client, collection_id, media_type, count)


def _list_once(client: LakeClient, collection_id: str, media_type: MediaType, count: int) -> RemoteListing:
    def page(index: int) -> Sequence[ListedItem]:
        request = ListItems(
            content_type=object_kind(media_type), sort_by=OLDEST_FIRST, page_size=PAGE_SIZE_LIMIT, page_index=index
        )
        return client.list_page(request, collection_id)

    listing = RemoteListing()
    repeats = RepeatGuard(routes.LIST_COLLECTION_ITEMS.path)
    for found in side_by_side(page, -(-count // PAGE_SIZE_LIMIT)):
        if found:
            repeats.check(item.id for item in found)
        for item in found:
            listing.add(item)
        if len(found) < PAGE_SIZE_LIMIT:
            break
    return listing


PageT = TypeVar("PageT")


def side_by_side(page: Callable[[int], PageT], expected: int) -> Iterator[PageT]:
    """Pages 0, 1, … in their order, some of them fetched at once, without an end: whoever asks knows the last one.

    `expected`: how many pages there should be. Beyond them, one at a time is fetched.
    """
    index = 0
    if expected > 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(PAGES_AT_ONCE, expected), thread_name_prefix="pages") as pool:
            while index < expected:
                wave = range(index, min(expected, index + PAGES_AT_ONCE))
                yield from pool.map(page, wave)
                index = wave.stop
    while True:
        yield page(index)
        index += 1


def find_newest(
    client: LakeClient, collection_id: str, media_type: MediaType, names: set[str]
) -> dict[str, RemoteFile]:
    """Find items that were just uploaded, newest first; pages end as soon as every name is found."""
    found: dict[str, RemoteFile] = {}
    for page in client.list_collection(collection_id, object_kind(media_type), sort_by=NEWEST_FIRST):
        for item in page:
            if item.name in names and item.name not in found:
                found[item.name] = RemoteFile(item.name, item.id, item.unique_name or item.name)
        if len(found) == len(names):
            break
    return found


@dataclass(frozen=True, slots=True)
class RemoteDetails:
    """What details tell of a file. `updated_at`: as `sortable_date` gives it. `metadata`: the fields that were asked
    for and that the file has."""

    lake_id: str
    size_bytes: int | None
    updated_at: str
    metadata: Mapping[str, Any]


SIZE = "fileSize"


def size_in(details: Mapping[str, Any]) -> int | None:
    """The size in bytes that an item's details give: a number, or a text of digits; None for anything else."""
    return number_in(details.get(SIZE))


def fields_in(details: Mapping[str, Any], asked: Iterable[str]) -> dict[str, Any]:
    """The fields that were asked for. Tags are a list of texts, whatever else stands among them."""
    found = in_our_spelling(details, asked)
    if TAGS in found:
        found[TAGS] = tags_in(found[TAGS])
    return found


def tags_in(value: object) -> list[str]:
    """The texts and numbers of a list of Tags, once each. A text alone is one Tag."""
    entries = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    tags = (entry for entry in entries if isinstance(entry, str | int | float) and not isinstance(entry, bool))
    return list(dict.fromkeys(map(str, tags)))


def remote_details(
    client: LakeClient, files: Sequence[tuple[str, Iterable[str]]], threads: int
) -> dict[str, RemoteDetails]:
    """Details by unique name, one call for each file, many at once. `files`: unique name and metadata fields to ask
    for; Tags are asked for always. A file that is not there is left out."""

    def details_of(asked: tuple[str, Iterable[str]]) -> RemoteDetails | None:
        unique_name, fields = asked
        wanted = dict.fromkeys((*fields, TAGS, SIZE, "updatedAt"), True)
        details = client.item_details(unique_name, {**wanted, "url": False})
        if details is None:
            return None
        size = size_in(details)
        details.pop(SIZE, None)
        return RemoteDetails(
            str(details.get("id", "")),
            size,
            sortable_date(details.pop("updatedAt", None)),
            fields_in(details, wanted),
        )

    found = ((asked[0], details) for asked, details in _ask_each(files, details_of, threads))
    return {unique_name: details for unique_name, details in found if details is not None}


def remote_sizes(client: LakeClient, files: Sequence[RemoteFile], threads: int) -> dict[str, int]:
    """Sizes in bytes by file name, one call for each file, many at once. A file without one is left out."""
    details = remote_details(client, [(file.unique_name, ()) for file in files], threads)
    found = ((file.name, details.get(file.unique_name)) for file in files)
    return {name: one.size_bytes for name, one in found if one is not None and one.size_bytes is not None}


def remote_fields(
    client: LakeClient, unique_names: Sequence[str], fields: Sequence[str], threads: int
) -> dict[str, dict[str, Any]]:
    """The fields that were asked for and that a file has, by unique name; one call for each file, many at once."""
    wanted = {**dict.fromkeys(fields, True), "url": False}

    def fields_of(unique_name: str) -> dict[str, Any]:
        details = client.item_details(unique_name, wanted) or {}
        return fields_in(details, fields)

    return dict(_ask_each(unique_names, fields_of, threads))


def remote_tags(client: LakeClient, unique_names: Sequence[str], threads: int) -> dict[str, list[str]]:
    """Tags by unique name, one call for each file, many at once."""

    def tags_of(unique_name: str) -> list[str]:
        details: dict[str, Any] = client.item_details(unique_name, {TAGS: True}) or {}
        return tags_in(details.get(TAGS))

    return dict(_ask_each(unique_names, tags_of, threads))


def remote_resolutions(client: LakeClient, unique_names: Sequence[str], threads: int) -> dict[str, tuple[int, int]]:
    """Width and height in pixels by unique name, one call for each file, many at once. A file without is left out."""

    def resolution_of(unique_name: str) -> tuple[int, int] | None:
        details = client.item_details(unique_name, {"resolution": True, "url": False}) or {}
        match details.get("resolution"):
            case {"width": int(width), "height": int(height)} if width > 0 and height > 0:
                return width, height
        return None

    return {name: size for name, size in _ask_each(unique_names, resolution_of, threads) if size is not None}


ValueT = TypeVar("ValueT")


def _ask_each(keys: Sequence[KeyT], ask: Callable[[KeyT], ValueT], threads: int) -> Iterator[tuple[KeyT, ValueT]]:
    if not keys:
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads, len(keys)), thread_name_prefix="details") as pool:
        yield from zip(keys, pool.map(ask, keys), strict=True)


def which_exist(
    client: LakeClient, unique_names: Sequence[str], media_types: Sequence[MediaType], threads: int
) -> dict[str, str]:
    """The ids of those unique names that the lake has. Many are found by listing the lake, where that takes fewer calls
    than asking for each."""
    if len(unique_names) > len(media_types):
        counts = {one: client.count_items(CountItems(content_type=object_kind(one))) for one in media_types}
        pages = sum(-(-count // PAGE_SIZE_LIMIT) for count in counts.values())
        if pages < len(unique_names):
            return _listed_in_lake(client, set(unique_names), [one for one in media_types if counts[one]])

    def id_of(unique_name: str) -> str | None:
        details = client.item_details(unique_name, {"id": True})
        return str(details["id"]) if details and "id" in details else None

    return {name: lake_id for name, lake_id in _ask_each(unique_names, id_of, threads) if lake_id is not None}


def _listed_in_lake(client: LakeClient, wanted: set[str], media_types: Sequence[MediaType]) -> dict[str, str]:
    found: dict[str, str] = {}
    oldest_first = SortBy(sort_by_field=SortField.DATE_CREATED, sort_order="ASC")
    for media_type in media_types:
        request = ListItems(content_type=object_kind(media_type), sort_by=oldest_first, page_size=PAGE_SIZE_LIMIT)
        for page in client.list_items(request):
            found |= {item.unique_name: item.id for item in page if item.unique_name in wanted}
            if len(found) == len(wanted):
                return found
    return found
