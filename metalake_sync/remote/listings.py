"""Lists and counts the files of collections, reads their annotation sets, and looks up names in the lake.

Owns: paging, and the memory that a listing takes. A listing gives presence and identity only; sizes and metadata take
one call per file (`item_details`). The lake merges the sets of all requested operations, so callers request one
operation at a time to separate them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from metalake_sync.core.snapshots import MediaType, RemoteFile
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import CountItems, ListedItem, ListItems, SortBy
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT, SortField
from metalake_sync.remote.answers import RepeatGuard
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import ask_each
from metalake_sync.remote.selections import object_kind

if TYPE_CHECKING:
    from metalake_sync.protocol.annotation_sets import DownloadPage

PageT = TypeVar("PageT")

PAGES_AT_ONCE = 8
"""Pages of one listing that are requested at the same time."""

LISTING_RETRIES = 1
"""How often a collection that changes during its listing is listed again."""

OLDEST_FIRST = SortBy(sort_by_field=SortField.DATE_CREATED, sort_order="ASC")
NEWEST_FIRST = SortBy(sort_by_field=SortField.DATE_CREATED, sort_order="DESC")


class RemoteListing:
    """The files of one collection by name.

    Most unique names are a common prefix plus the name. Only the others are stored.
    """

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._prefix = ""
        self._unusual: dict[str, str] = {}
        self._names_of_unusual: dict[str, str] | None = None
        self.duplicates = 0
        """Items whose name an older item has."""
        self.newest: str | None = None
        """The id of the newest item."""

    @classmethod
    def empty(cls) -> RemoteListing:
        return cls()

    def add(self, item: ListedItem) -> None:
        """Add the next item, oldest first."""
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
        """Return the unique name of a listed file, or the usual unique name for a file that is not listed."""
        return self._unusual.get(name, self._prefix + name)

    def name_of(self, unique_name: str) -> str | None:
        """Return the name of the listed file with a unique name, or None."""
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


def count_remote(client: LakeClient, collection_id: str, media_type: MediaType) -> int:
    """Return the number of files in a collection."""
    return client.count_collection(collection_id, CountItems(content_type=object_kind(media_type)))


def newest_remote(client: LakeClient, collection_id: str, media_type: MediaType) -> str | None:
    """Return the id of a collection's newest file, or None if the collection is empty."""
    request = ListItems(content_type=object_kind(media_type), sort_by=NEWEST_FIRST, page_size=1)
    page = client.list_page(request, collection_id)
    return page[0].id if page else None


def count_and_newest_in_lake(client: LakeClient, media_type: MediaType) -> tuple[int, str | None]:
    """Return the number of files of a type in the whole lake, and the id of the newest file, if any."""
    kind = object_kind(media_type)
    request = ListItems(content_type=kind, sort_by=NEWEST_FIRST, page_size=1)
    page = next(iter(client.list_items(request)), None)
    return client.count_items(CountItems(content_type=kind)), page[0].id if page else None


def list_remote(client: LakeClient, collection_id: str, media_type: MediaType, count: int) -> RemoteListing:
    """List a whole collection, several pages at once, oldest first, so that new files are appended at the end.

    `count`: the expected number of files. A file that is removed during the listing shifts the following pages and may
    hide another file. A listing with fewer files than expected is therefore repeated.
    """
    for _ in range(LISTING_RETRIES):
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
    for found in pages_in_parallel(page, -(-count // PAGE_SIZE_LIMIT)):
        if found:
            repeats.check(item.id for item in found)
        for item in found:
            listing.add(item)
        if len(found) < PAGE_SIZE_LIMIT:
            break
    return listing


def pages_in_parallel(page: Callable[[int], PageT], expected: int) -> Iterator[PageT]:
    """Yield pages 0, 1, … in order and without end: the caller recognizes the last page.

    `expected`: the number of pages to request in parallel. Later pages are requested one at a time.
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
    """Find files that were just uploaded, newest first. Stops as soon as every name is found."""
    found: dict[str, RemoteFile] = {}
    for page in client.list_collection(collection_id, object_kind(media_type), sort_by=NEWEST_FIRST):
        for item in page:
            if item.name in names and item.name not in found:
                found[item.name] = RemoteFile(item.name, item.id, item.unique_name or item.name)
        if len(found) == len(names):
            break
    return found


def which_exist(
    client: LakeClient, unique_names: Sequence[str], media_types: Sequence[MediaType], threads: int
) -> dict[str, str]:
    """Return the ids of the unique names that exist in the lake.

    Lists the whole lake if that takes fewer calls than one per name.
    """
    if len(unique_names) > len(media_types):
        counts = {one: client.count_items(CountItems(content_type=object_kind(one))) for one in media_types}
        pages = sum(-(-count // PAGE_SIZE_LIMIT) for count in counts.values())
        if pages < len(unique_names):
            return _find_in_lake(client, set(unique_names), [one for one in media_types if counts[one]])

    def id_of(unique_name: str) -> str | None:
        details = client.item_details(unique_name, {"id": True})
        return str(details["id"]) if details and "id" in details else None

    return {name: lake_id for name, lake_id in ask_each(unique_names, id_of, threads) if lake_id is not None}


def _find_in_lake(client: LakeClient, wanted: set[str], media_types: Sequence[MediaType]) -> dict[str, str]:
    found: dict[str, str] = {}
    for media_type in media_types:
        request = ListItems(content_type=object_kind(media_type), sort_by=OLDEST_FIRST, page_size=PAGE_SIZE_LIMIT)
        for page in client.list_items(request):
            found |= {item.unique_name: item.id for item in page if item.unique_name in wanted}
            if len(found) == len(wanted):
                return found
    return found


PAGE_SIZE = 250
"""The page size of the published client."""


def annotations_of(
    client: LakeClient, collection_id: str, *, file_count: int, operations: Sequence[str] = ()
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the unique name of each image that has shapes, with its shapes in the upload format.

    `file_count`: the expected number of files in the collection. No `operations` means all operations.
    """

    def page(index: int) -> DownloadPage | None:
        return client.download_annotations(collection_id, page=index, page_size=PAGE_SIZE, operations=operations)

    repeats = RepeatGuard(routes.DOWNLOAD_ANNOTATIONS.path)
    for found in pages_in_parallel(page, -(-file_count // PAGE_SIZE)):
        if found is None:
            return
        if found.resource_array:
            repeats.check(image.file_name for image in found.resource_array)
        for image in found.resource_array:
            if image.raw_annotations is not None and image.raw_annotations.annotations:
                yield image.file_name, image.raw_annotations.annotations
        if found.is_last(PAGE_SIZE):
            return


def sets_of_images(
    client: LakeClient, collection_id: str, names: Mapping[str, str], *, file_count: int, operation: str
) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the set of each of these images in one operation, and stop reading when all were found. Images without
    shapes come last, with none.

    `names`: unique name → the name to yield. `file_count`: the expected number of files in the collection.
    """
    left = dict(names)
    there = annotations_of(client, collection_id, file_count=file_count, operations=[operation])
    for unique_name, shapes in there if left else ():
        name = left.pop(unique_name, None)
        if name is not None:
            yield name, shapes
        if not left:
            return
    for name in left.values():
        yield name, ()
