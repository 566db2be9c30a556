"""Finds unmanaged files in the lake: which of them it has, and in a full refresh the collections that list them.

Owns: these calls, as far as the protocol tells for each kind of address, and the marker that avoids them while the lake
has not changed. Must not: decide what is sent.

A collection's listing has the unique name and the id of each file. The lake does not say which collection a unique name
or a storage path belongs to. So the collections whose name fits are listed, and a storage path is compared with the one
in the file's details. Files of a job cannot be located, because no call lists what a job uploaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from metalake_sync.core.addresses import DEFAULT_BUCKET, Address, By, FileAt
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.snapshots import CollectionKey, MediaType
from metalake_sync.errors import LakeRejected, ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.lake_listing import LakeCollections, LakeView
from metalake_sync.planning.unmanaged_sources import UnmanagedSources
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_fields
from metalake_sync.remote.listings import count_and_newest_in_lake, which_exist
from metalake_sync.state.store import StateStore


@dataclass(frozen=True, slots=True)
class LocatedFile:
    """A file, and the collection that lists it."""

    at: FileAt
    view: LakeView


class UnmanagedLookup:
    """Looks up files in one lake.

    `client`: None does not ask the lake. `lake`: the identity of the lake in the state. `full`: whether the run also
    compares metadata and annotation sets with the lake.
    """

    def __init__(
        self,
        sources: UnmanagedSources,
        state: StateStore,
        lake: str,
        client: LakeClient | None,
        threads: int,
        *,
        full: bool,
    ) -> None:
        self._sources = sources
        self._state = state
        self._marker_key = f"unique names: {lake}"
        self._threads = threads
        self._full = full
        self._collections = LakeCollections(client) if client is not None else None
        self._paths: dict[str, str] = {}
        self.client = client
        self.notes: list[Note] = []

    # Which files the lake has.

    def looks_up_all(self, address: Address) -> bool:
        """Whether every entry of an address is looked up, not only those that changed."""
        return address.by is By.COLLECTION or (address.by is By.UNIQUE_NAME and (self._full or self._lake_changed))

    @cached_property
    def _lake_changed(self) -> bool:
        """Whether files were added or removed since the last run that found every unique name as recorded."""
        return self.client is not None and self._state.learned(self._marker_key) != self._marker

    @cached_property
    def _marker(self) -> str:
        """The number of files and the newest file of each type that unique names may refer to."""
        assert self.client is not None
        types = {MediaType.IMAGE for address, _ in self._sources.annotations if address.by is By.UNIQUE_NAME}
        for address in self._sources.metadata:
            if address.by is By.UNIQUE_NAME:
                types.update([address.type] if address.type else MediaType)
        return json.dumps(
            {str(media_type): count_and_newest_in_lake(self.client, media_type) for media_type in sorted(types)}
        )

    def record_marker(self) -> None:
        """Record that the lake has every unique name as recorded, so that the next run need not look them up."""
        if self.client is not None and (self._full or self._lake_changed):
            with self._state.write():
                self._state.learn(self._marker_key, self._marker)

    def find(
        self, address: Address, entries: Sequence[str], media_type: MediaType | None
    ) -> Mapping[str, FileAt] | None:
        """The files that the lake has, by entry. None if the protocol cannot tell for this kind of address.

        A collection is listed. Unique names are looked up if there are any.
        """
        if self.client is None:
            return None
        match address.by:
            case By.COLLECTION:
                return self._in_collection(address, entries)
            case By.UNIQUE_NAME:
                types = [media_type] if media_type else list(MediaType)
                existing = which_exist(self.client, entries, types, self._threads) if entries else {}
                return {name: FileAt(address, name, name, lake_id) for name, lake_id in existing.items()}
            case By.JOB:
                if entries:
                    self._check_job(self.client, address)
                return None
            case By.STORAGE_PATH:
                return None

    def _in_collection(self, address: Address, entries: Iterable[str]) -> Mapping[str, FileAt]:
        views = self._views(address)
        if len(views) > 1:
            raise ManifestError(
                f"the lake has several collections '{address.within}',"
                f" of the types {', '.join(view.key.type for view in views)}",
                where=self._sources.declared_at.get(address),
                remedy="Add 'type' to the block.",
            )
        if not views:
            note = Note(
                NoteCode.ADDRESS_UNKNOWN, "the lake does not have this collection, so nothing is sent", address.within
            )
            self.notes += [note] if note not in self.notes else []
            return {}
        return {entry: one.at for entry, one in _listed(address, {entry: entry for entry in entries}, views[0])}

    def _views(self, address: Address) -> list[LakeView]:
        """The collections that an address names, which does not have to name the type."""
        assert self._collections is not None
        types = [address.type] if address.type else list(MediaType)
        views = (self._collections.named(CollectionKey(media_type, address.within)) for media_type in types)
        return [view for view in views if view is not None]

    @staticmethod
    def _check_job(client: LakeClient, address: Address) -> None:
        try:
            client.job_status(address.within)
        except LakeRejected as rejection:
            raise ManifestError(
                f"the lake does not have the job '{address.within}' ({rejection.message})",
                remedy="Correct 'job', or remove the block.",
            ) from None

    # Where the lake has them.

    def locate(self, address: Address, entries: Iterable[str], types: Iterable[MediaType]) -> dict[str, LocatedFile]:
        """The files that the entries of an address refer to, by entry, without those that cannot be found."""
        match address.by:
            case By.COLLECTION:
                names = {entry: entry for entry in entries}
                return {entry: one for view in self._views(address) for entry, one in _listed(address, names, view)}
            case By.UNIQUE_NAME:
                return self._by_unique_name(address, entries, types)
            case By.STORAGE_PATH:
                return self._by_path(address, entries, types)
            case By.JOB:
                return {}

    def _by_unique_name(
        self, address: Address, entries: Iterable[str], types: Iterable[MediaType]
    ) -> dict[str, LocatedFile]:
        assert self._collections is not None
        located: dict[str, LocatedFile] = {}
        left = list(entries)
        for view in (view for media_type in types for view in self._collections.of_type(media_type)):
            starts = (f"{view.key.name}_", f"{_as_path(view.key.name)}_")
            listing = view.listed() if any(entry.startswith(starts) for entry in left) else None
            if listing is not None:
                names = {entry: listing.name_of(entry) for entry in left if entry.startswith(starts)}
                located.update(_listed(address, {entry: name for entry, name in names.items() if name}, view))
                left = [entry for entry in left if entry not in located]
        return located

    def _by_path(self, address: Address, entries: Iterable[str], types: Iterable[MediaType]) -> dict[str, LocatedFile]:
        assert self._collections is not None
        candidates: dict[str, LocatedFile] = {}
        paths = {entry: entry.lstrip("/") for entry in entries}
        folders = {folder for path in paths.values() for folder in _folders(path)}
        for view in (view for media_type in types for view in self._collections.of_type(media_type)):
            last = _as_path(view.key.name)
            if not any(folder.rpartition("/")[2] in (view.key.name, last) for folder in folders):
                continue
            of_collection = self._path_of(view)
            if of_collection in folders:
                inside = f"{of_collection}/"
                names = {entry: path.removeprefix(inside) for entry, path in paths.items() if path.startswith(inside)}
                candidates = {**dict(_listed(address, names, view)), **candidates}
        return self._confirmed(address, paths, candidates)

    def _confirmed(
        self, address: Address, paths: Mapping[str, str], candidates: Mapping[str, LocatedFile]
    ) -> dict[str, LocatedFile]:
        """The candidates that have the storage path of their entry."""
        assert self.client is not None
        names = {entry: one.at.unique_name or "" for entry, one in candidates.items()}
        details = remote_fields(self.client, list(names.values()), ["storagePath", "bucketName"], self._threads)
        wanted_bucket = address.within or DEFAULT_BUCKET

        def is_right(entry: str) -> bool:
            answered = details.get(names[entry], {})
            bucket = str(answered.get("bucketName") or DEFAULT_BUCKET)
            return str(answered.get("storagePath", "")).lstrip("/") == paths[entry] and bucket == wanted_bucket

        return {entry: one for entry, one in candidates.items() if is_right(entry)}

    def _path_of(self, view: LakeView) -> str:
        assert self.client is not None
        lake_id = view.lake_id or ""
        if lake_id not in self._paths:
            details = self.client.collection_details(lake_id, {"storagePath": True})
            self._paths[lake_id] = str(details.get("storagePath") or "").strip("/")
        return self._paths[lake_id]


def _listed(address: Address, names: Mapping[str, str], view: LakeView) -> Iterator[tuple[str, LocatedFile]]:
    """The files that a collection lists, by entry. `names`: their names in the collection."""
    listing = view.listed()
    for entry, name in names.items():
        file = listing.get(name) if listing is not None else None
        if file is not None:
            yield entry, LocatedFile(FileAt(address, entry, file.unique_name, file.lake_id), view)


def _folders(path: str) -> Iterator[str]:
    """Every folder that contains a path, the nearest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _as_path(name: str) -> str:
    """The name of a collection as the lake writes it in a storage path, as far as is known."""
    return "".join(char if (char.isascii() and char.isalnum()) or char in "-_ " else "_" for char in name)
