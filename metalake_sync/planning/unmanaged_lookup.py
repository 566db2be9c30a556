"""Asks the lake which unmanaged files it has, as far as the protocol tells for each kind of address.

Owns: these calls, and the marker that avoids them while the lake has not changed. Must not: decide what is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.snapshots import MediaType
from metalake_sync.core.unmanaged_files import Address, By, Found
from metalake_sync.errors import LakeRefused, ManifestError
from metalake_sync.planning.unmanaged_sources import UnmanagedSources
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.planning.unmanaged_refresh import UnmanagedReader
    from metalake_sync.remote.client import LakeClient


class UnmanagedLookup:
    """Looks up files in one lake. What was listed once is kept for the run.

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
        self._lake = lake
        self._client = client
        self._threads = threads
        self._full = full
        self._listings: dict[Address, Mapping[str, Found]] = {}
        self._reader: UnmanagedReader | None = None
        self.notes: list[Note] = []

    @property
    def asks_lake(self) -> bool:
        return self._client is not None

    def reader(self) -> UnmanagedReader | None:
        """Reads metadata and sets back from the lake. None without a full refresh."""
        if self._reader is None and self._full and self._client is not None:
            from metalake_sync.planning.unmanaged_refresh import UnmanagedReader

            self._reader = UnmanagedReader(self._client, self._threads)
        return self._reader

    def looks_up_all(self, address: Address) -> bool:
        """Whether every entry of an address is looked up, not only those that changed."""
        return address.by is By.COLLECTION or (address.by is By.UNIQUE_NAME and (self._full or self._lake_changed))

    @cached_property
    def _lake_changed(self) -> bool:
        """Whether files were added or removed since the last run that found every unique name as recorded."""
        return self._client is not None and self._state.learned(self._marker_key) != self._marker

    @property
    def _marker_key(self) -> str:
        return f"unique names: {self._lake}"

    @cached_property
    def _marker(self) -> str:
        """The number of files and the newest file of each type that unique names may refer to."""
        assert self._client is not None
        from metalake_sync.remote.listings import count_and_newest_in_lake

        types = {MediaType.IMAGE for address, _ in self._sources.annotations if address.by is By.UNIQUE_NAME}
        for address in self._sources.metadata:
            if address.by is By.UNIQUE_NAME:
                types.update([address.type] if address.type else MediaType)
        return json.dumps(
            {str(media_type): count_and_newest_in_lake(self._client, media_type) for media_type in sorted(types)}
        )

    def record_marker(self) -> None:
        """Record that the lake has every unique name as recorded, so that the next run need not look them up."""
        if self._client is not None and (self._full or self._lake_changed):
            with self._state.write():
                self._state.learn(self._marker_key, self._marker)

    def find(
        self, address: Address, entries: Sequence[str], media_type: MediaType | None
    ) -> Mapping[str, Found] | None:
        """The files that the lake has, by entry. None if the protocol cannot tell for this kind of address.

        A collection is listed. Unique names are looked up if there are any.
        """
        if self._client is None:
            return None
        match address.by:
            case By.COLLECTION:
                if address not in self._listings:
                    self._listings[address] = self._list(self._client, address)
                return self._listings[address]
            case By.UNIQUE_NAME:
                if not entries:
                    return {}
                types = [media_type] if media_type else list(MediaType)
                from metalake_sync.remote.listings import which_exist

                existing = which_exist(self._client, entries, types, self._threads)
                return {name: Found(name, lake_id) for name, lake_id in existing.items()}
            case By.JOB:
                if entries:
                    self._check_job(self._client, address)
                return None
            case By.STORAGE_PATH:
                return None

    def _list(self, client: LakeClient, address: Address) -> Mapping[str, Found]:
        from metalake_sync.remote.listings import count_remote, list_remote
        from metalake_sync.remote.selections import media_kind

        ids: dict[MediaType, str] = {}
        for media_type in [address.type] if address.type else list(MediaType):
            lake_id = client.find_collection(address.within, media_kind(media_type))
            if lake_id is not None:
                ids[media_type] = lake_id
        if len(ids) > 1:
            raise ManifestError(
                f"the lake has several collections '{address.within}', of the types {', '.join(ids)}",
                where=self._sources.declared_at.get(address),
                remedy="Add 'type' to the block.",
            )
        if not ids:
            message = "the lake does not have this collection, so nothing is sent"
            self.notes.append(Note(NoteCode.ADDRESS_UNKNOWN, message, address.within))
            return {}
        ((media_type, lake_id),) = ids.items()
        listing = list_remote(client, lake_id, media_type, count_remote(client, lake_id, media_type))
        files = ((name, listing.get(name)) for name in listing.names())
        return {name: Found(file.unique_name, file.lake_id) for name, file in files if file is not None}

    @staticmethod
    def _check_job(client: LakeClient, address: Address) -> None:
        try:
            client.job_status(address.within)
        except LakeRefused as refusal:
            raise ManifestError(
                f"the lake does not have the job '{address.within}' ({refusal.message})",
                remedy="Correct 'job', or remove the block.",
            ) from None
