"""Locates unmanaged files in the lake for a full refresh: their unique names, ids and collections.

Owns: the search. Must not: decide what becomes of them (`core.unmanaged_files`).

A collection's listing has the unique name and the id of each file. The lake does not say which collection a unique name
or a storage path belongs to. So the collections whose name fits are listed, and a storage path is compared with the one
in the file's details. Files of a job cannot be located, because no call lists what a job uploaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from metalake_sync.core.snapshots import MediaType
from metalake_sync.core.unmanaged_files import DEFAULT_BUCKET, Address, By, Found
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.items import ListItems
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_fields
from metalake_sync.remote.listings import RemoteListing, count_remote, list_remote
from metalake_sync.remote.selections import collection_kind, media_kind


@dataclass(frozen=True, slots=True)
class LakeCollection:
    """A collection of the lake."""

    lake_id: str
    type: MediaType
    name: str


@dataclass(frozen=True, slots=True)
class LocatedFile:
    """A file, and the collection that lists it."""

    found: Found
    collection: LakeCollection


@dataclass(slots=True)
class FileLocations:
    """Searches one lake. Listings are kept for the run."""

    client: LakeClient
    threads: int
    _collections: dict[MediaType, list[LakeCollection]] = field(default_factory=dict)
    _listings: dict[str, RemoteListing] = field(default_factory=dict)
    _paths: dict[str, str] = field(default_factory=dict)

    def find(self, address: Address, entries: Iterable[str], types: Iterable[MediaType]) -> dict[str, LocatedFile]:
        """The files that the entries of an address refer to, by entry, without those that cannot be found."""
        match address.by:
            case By.COLLECTION:
                return self._in_collection(address, entries, types)
            case By.UNIQUE_NAME:
                return self._by_unique_name(entries, types)
            case By.STORAGE_PATH:
                return self._by_path(address, entries, types)
            case By.JOB:
                return {}

    def count(self, collection: LakeCollection) -> int:
        """The number of files that a collection lists."""
        return len(self._listing(collection))

    def _in_collection(
        self, address: Address, entries: Iterable[str], types: Iterable[MediaType]
    ) -> dict[str, LocatedFile]:
        located: dict[str, LocatedFile] = {}
        for media_type in [address.type] if address.type else types:
            lake_id = self.client.find_collection(address.within, media_kind(media_type))
            if lake_id is not None:
                collection = LakeCollection(lake_id, media_type, address.within)
                for entry in entries:
                    _locate(located, entry, collection, self._listing(collection), entry)
        return located

    def _by_unique_name(self, entries: Iterable[str], types: Iterable[MediaType]) -> dict[str, LocatedFile]:
        located: dict[str, LocatedFile] = {}
        collections = [collection for media_type in types for collection in self._all_collections(media_type)]
        left = list(entries)
        for collection in collections:
            starts = (f"{collection.name}_", f"{_as_path(collection.name)}_")
            if any(entry.startswith(starts) for entry in left):
                listing = self._listing(collection)
                for entry in left:
                    name = listing.name_of(entry) if entry.startswith(starts) else None
                    if name is not None:
                        _locate(located, entry, collection, listing, name)
                left = [entry for entry in left if entry not in located]
        return located

    def _by_path(self, address: Address, entries: Iterable[str], types: Iterable[MediaType]) -> dict[str, LocatedFile]:
        candidates: dict[str, LocatedFile] = {}
        paths = {entry: entry.lstrip("/") for entry in entries}
        folders = {folder for path in paths.values() for folder in _folders(path)}
        for media_type in types:
            for collection in self._all_collections(media_type):
                last = _as_path(collection.name)
                if not any(folder.rpartition("/")[2] in (collection.name, last) for folder in folders):
                    continue
                path_of_collection = self._path_of(collection)
                if path_of_collection not in folders:
                    continue
                listing = self._listing(collection)
                for entry, path in paths.items():
                    if path.startswith(f"{path_of_collection}/"):
                        _locate(candidates, entry, collection, listing, path.removeprefix(f"{path_of_collection}/"))
        return self._confirmed(address, paths, candidates)

    def _confirmed(
        self, address: Address, paths: Mapping[str, str], candidates: Mapping[str, LocatedFile]
    ) -> dict[str, LocatedFile]:
        """The candidates that have the storage path of their entry."""
        names = [one.found.unique_name for one in candidates.values()]
        details = remote_fields(self.client, names, ["storagePath", "bucketName"], self.threads)
        wanted_bucket = address.within or DEFAULT_BUCKET

        def is_right(entry: str, one: LocatedFile) -> bool:
            answered = details.get(one.found.unique_name, {})
            bucket = str(answered.get("bucketName") or DEFAULT_BUCKET)
            return str(answered.get("storagePath", "")).lstrip("/") == paths[entry] and bucket == wanted_bucket

        return {entry: one for entry, one in candidates.items() if is_right(entry, one)}

    # Collections.

    def _all_collections(self, media_type: MediaType) -> list[LakeCollection]:
        if media_type not in self._collections:
            request = ListItems(content_type=collection_kind(media_type), page_size=PAGE_SIZE_LIMIT)
            self._collections[media_type] = [
                LakeCollection(item.id, media_type, item.name)
                for page in self.client.list_items(request)
                for item in page
            ]
        return self._collections[media_type]

    def _path_of(self, collection: LakeCollection) -> str:
        if collection.lake_id not in self._paths:
            details = self.client.collection_details(collection.lake_id, {"storagePath": True})
            self._paths[collection.lake_id] = str(details.get("storagePath") or "").strip("/")
        return self._paths[collection.lake_id]

    def _listing(self, collection: LakeCollection) -> RemoteListing:
        if collection.lake_id not in self._listings:
            count = count_remote(self.client, collection.lake_id, collection.type)
            self._listings[collection.lake_id] = list_remote(self.client, collection.lake_id, collection.type, count)
        return self._listings[collection.lake_id]


def _locate(
    located: dict[str, LocatedFile], entry: str, collection: LakeCollection, listing: RemoteListing, name: str
) -> None:
    file = listing.get(name)
    if file is not None and entry not in located:
        located[entry] = LocatedFile(Found(file.unique_name, file.lake_id), collection)


def _folders(path: str) -> Iterator[str]:
    """Every folder that contains a path, the nearest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _as_path(name: str) -> str:
    """The name of a collection as the lake writes it in a storage path, as far as is known."""
    return "".join(char if (char.isascii() and char.isalnum()) or char in "-_ " else "_" for char in name)
