"""What the lake has, as rows to compare with: listings, sizes, Tags.

Owns: paging and memory. A list tells presence and identity; sizes and metadata cost one call for each file, so they are
asked for only where a decision rests on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from metalake_sync.core.facts import MediaType, RemoteFile
from metalake_sync.core.metadata import TAGS
from metalake_sync.protocol.items import ListedItem, SortBy
from metalake_sync.protocol.wire import MediaKind, ObjectKind, SortField
from metalake_sync.remote.client import LakeClient

KeyT = TypeVar("KeyT")

_MEDIA_KINDS = {MediaType.IMAGE: MediaKind.IMAGE, MediaType.VIDEO: MediaKind.VIDEO, MediaType.OTHER: MediaKind.OTHER}
_OBJECT_KINDS = {
    MediaType.IMAGE: ObjectKind.IMAGE,
    MediaType.VIDEO: ObjectKind.VIDEO,
    MediaType.OTHER: ObjectKind.OTHER,
}


def media_kind(media_type: MediaType) -> MediaKind:
    """How upload, create and metadata calls name a collection's type."""
    return _MEDIA_KINDS[media_type]


def object_kind(media_type: MediaType) -> ObjectKind:
    """How list, count and selection calls name the items of a collection."""
    return _OBJECT_KINDS[media_type]


class RemoteListing:
    """What one collection has, by file name. A unique name that is the usual prefix and the name is not kept twice."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._prefix = ""
        self._unusual: dict[str, str] = {}
        self.duplicates = 0

    @classmethod
    def empty(cls) -> RemoteListing:
        return cls()

    def add(self, item: ListedItem) -> None:
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
        if lake_id is None:
            return None
        return RemoteFile(name, lake_id, self._unusual.get(name, self._prefix + name))

    def names(self) -> Iterable[str]:
        return self._ids.keys()

    def __len__(self) -> int:
        return len(self._ids)


def list_remote(client: LakeClient, collection_id: str, media_type: MediaType) -> RemoteListing:
    """List a whole collection, oldest first: what comes in meanwhile is appended, and no page shifts."""
    listing = RemoteListing()
    oldest_first = SortBy(sort_by_field=SortField.DATE_CREATED, sort_order="ASC")
    for page in client.list_collection(collection_id, object_kind(media_type), sort_by=oldest_first):
        for item in page:
            listing.add(item)
    return listing


def find_newest(
    client: LakeClient, collection_id: str, media_type: MediaType, names: set[str]
) -> dict[str, RemoteFile]:
    """Find items that were just uploaded, newest first; pages end as soon as every name is found."""
    found: dict[str, RemoteFile] = {}
    newest_first = SortBy(sort_by_field=SortField.DATE_CREATED, sort_order="DESC")
    for page in client.list_collection(collection_id, object_kind(media_type), sort_by=newest_first):
        for item in page:
            if item.name in names and item.name not in found:
                found[item.name] = RemoteFile(item.name, item.id, item.unique_name or item.name)
        if len(found) == len(names):
            break
    return found


def remote_sizes(client: LakeClient, files: Sequence[RemoteFile], threads: int) -> dict[str, int]:
    """Sizes in bytes by file name, one call for each file, many at once. A file without one is left out."""

    def size_of(file: RemoteFile) -> int | None:
        details = client.item_details(file.unique_name, {"fileSize": True})
        size = details.get("fileSize") if details else None
        return size if isinstance(size, int) else None

    return {file.name: size for file, size in _ask_each(files, size_of, threads) if size is not None}


def remote_tags(client: LakeClient, unique_names: Sequence[str], threads: int) -> dict[str, list[str]]:
    """Tags by unique name, one call for each file, many at once."""

    def tags_of(unique_name: str) -> list[str]:
        details: dict[str, Any] = client.item_details(unique_name, {TAGS: True}) or {}
        tags = details.get(TAGS)
        return [str(tag) for tag in tags] if isinstance(tags, list) else []

    return dict(_ask_each(unique_names, tags_of, threads))


ValueT = TypeVar("ValueT")


def _ask_each(keys: Sequence[KeyT], ask: Callable[[KeyT], ValueT], threads: int) -> Iterator[tuple[KeyT, ValueT]]:
    if not keys:
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads, len(keys)), thread_name_prefix="details") as pool:
        yield from zip(keys, pool.map(ask, keys), strict=True)
