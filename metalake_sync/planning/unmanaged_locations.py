"""Where in the lake the files are that top-level `annotations` and `metadata` name: their unique names, ids and
collections, as far as a full refresh can find them.

Owns: the search. Must not: decide what follows (`core.unmanaged_files`).

A collection's listing tells the unique name and the id of each of its files. The lake does not say in which collection
a unique name or a storage path is, so the collections that fit the name are listed, and a storage path is compared with
the one that the file's details give. Files of a job can't be found: no call tells what a job uploaded.
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
from metalake_sync.remote.media_kinds import collection_kind, media_kind


@dataclass(frozen=True, slots=True)
class Home:
    """A collection of the lake."""

    lake_id: str
    type: MediaType
    name: str


@dataclass(frozen=True, slots=True)
class Whereabout:
    """A file that was found, and the collection that lists it."""

    found: Found
    home: Home


@dataclass(slots=True)
class FileLocations:
    """Searches a lake; what was listed once is kept for the run."""

    client: LakeClient
    threads: int
    _homes: dict[MediaType, list[Home]] = field(default_factory=dict)
    _listings: dict[str, RemoteListing] = field(default_factory=dict)
    _paths: dict[str, str] = field(default_factory=dict)

    def find(self, address: Address, entries: Iterable[str], types: Iterable[MediaType]) -> dict[str, Whereabout]:
        """The files that entries of an address mean, by entry. Those that can't be found are left out."""
        match address.by:
            case By.COLLECTION:
                return self._in_collection(address, entries, types)
            case By.UNIQUE_NAME:
                return self._by_unique_name(entries, types)
            case By.STORAGE_PATH:
                return self._by_path(address, entries, types)
            case By.JOB:
                return {}

    def count(self, home: Home) -> int:
        """How many files a collection lists."""
        return len(self._listing(home))

    def _in_collection(
        self, address: Address, entries: Iterable[str], types: Iterable[MediaType]
    ) -> dict[str, Whereabout]:
        there: dict[str, Whereabout] = {}
        for media_type in [address.type] if address.type else types:
            lake_id = self.client.find_collection(address.within, media_kind(media_type))
            if lake_id is not None:
                home = Home(lake_id, media_type, address.within)
                for entry in entries:
                    _note(there, entry, home, self._listing(home), entry)
        return there

    def _by_unique_name(self, entries: Iterable[str], types: Iterable[MediaType]) -> dict[str, Whereabout]:
        there: dict[str, Whereabout] = {}
        homes = [home for media_type in types for home in self._all_homes(media_type)]
        left = list(entries)
        for home in homes:
            starts = (f"{home.name}_", f"{_as_path(home.name)}_")
            if any(entry.startswith(starts) for entry in left):
                listing = self._listing(home)
                for entry in left:
                    name = listing.name_of(entry) if entry.startswith(starts) else None
                    if name is not None:
                        _note(there, entry, home, listing, name)
                left = [entry for entry in left if entry not in there]
        return there

    def _by_path(self, address: Address, entries: Iterable[str], types: Iterable[MediaType]) -> dict[str, Whereabout]:
        candidates: dict[str, Whereabout] = {}
        paths = {entry: entry.lstrip("/") for entry in entries}
        folders = {folder for path in paths.values() for folder in _folders(path)}
        for media_type in types:
            for home in self._all_homes(media_type):
                last = _as_path(home.name)
                if not any(folder.rpartition("/")[2] in (home.name, last) for folder in folders):
                    continue
                place = self._path_of(home)
                if place not in folders:
                    continue
                listing = self._listing(home)
                for entry, path in paths.items():
                    if path.startswith(f"{place}/"):
                        _note(candidates, entry, home, listing, path.removeprefix(f"{place}/"))
        return self._confirmed(address, paths, candidates)

    def _confirmed(
        self, address: Address, paths: Mapping[str, str], candidates: Mapping[str, Whereabout]
    ) -> dict[str, Whereabout]:
        """Those of the candidates that have the storage path of their entry."""
        names = [one.found.unique_name for one in candidates.values()]
        details = remote_fields(self.client, names, ["storagePath", "bucketName"], self.threads)
        wanted_bucket = address.within or DEFAULT_BUCKET

        def is_right(entry: str, one: Whereabout) -> bool:
            told = details.get(one.found.unique_name, {})
            bucket = str(told.get("bucketName") or DEFAULT_BUCKET)
            return str(told.get("storagePath", "")).lstrip("/") == paths[entry] and bucket == wanted_bucket

        return {entry: one for entry, one in candidates.items() if is_right(entry, one)}

    # Collections.

    def _all_homes(self, media_type: MediaType) -> list[Home]:
        if media_type not in self._homes:
            request = ListItems(content_type=collection_kind(media_type), page_size=PAGE_SIZE_LIMIT)
            self._homes[media_type] = [
                Home(item.id, media_type, item.name) for page in self.client.list_items(request) for item in page
            ]
        return self._homes[media_type]

    def _path_of(self, home: Home) -> str:
        if home.lake_id not in self._paths:
            details = self.client.collection_details(home.lake_id, {"storagePath": True})
            self._paths[home.lake_id] = str(details.get("storagePath") or "").strip("/")
        return self._paths[home.lake_id]

    def _listing(self, home: Home) -> RemoteListing:
        if home.lake_id not in self._listings:
            count = count_remote(self.client, home.lake_id, home.type)
            self._listings[home.lake_id] = list_remote(self.client, home.lake_id, home.type, count)
        return self._listings[home.lake_id]


def _note(there: dict[str, Whereabout], entry: str, home: Home, listing: RemoteListing, name: str) -> None:
    file = listing.get(name)
    if file is not None and entry not in there:
        there[entry] = Whereabout(Found(file.unique_name, file.lake_id), home)


def _folders(path: str) -> Iterator[str]:
    """Every folder that a path lies in, the nearest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _as_path(name: str) -> str:
    """How a lake writes a collection's name in a storage path, as far as is known."""
    return "".join(char if (char.isascii() and char.isalnum()) or char in "-_ " else "_" for char in name)
