"""What the lake has of one collection, as cheaply as it can be known.

Owns: when a listing is needed. A collection that has as many files as when it last agreed with the records, and the
same newest one, is not listed: that costs two calls, whatever its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalake_sync.core.snapshots import CollectionKey, RecordedCollection, RecordedFile, RemoteFile
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.remote.listings import RemoteListing


@dataclass(slots=True)
class LakeView:
    """`lake_id`: None where the lake has no such collection. `listing`: None where the records are believed. `count`:
    how many files the collection has, None where the lake was not asked."""

    key: CollectionKey
    client: LakeClient | None
    lake_id: str | None
    count: int | None = None
    listing: RemoteListing | None = None

    def listed(self) -> RemoteListing | None:
        """The listing, made now if it was not needed so far; None where the lake is not asked."""
        if self.listing is None and self.client is not None and self.lake_id is not None:
            from metalake_sync.remote.listings import list_remote

            self.listing = list_remote(self.client, self.lake_id, self.key.type, self.count or 0)
        return self.listing

    def of_recorded(self, known: RecordedFile) -> RemoteFile | None:
        """What the lake has of a recorded file; where it is not listed, what was recorded is believed."""
        if self.listing is None:
            return RemoteFile(known.name, known.lake_id, known.unique_name)
        return self.listing.get(known.name)


def view_lake(client: LakeClient | None, key: CollectionKey, known: RecordedCollection | None, full: bool) -> LakeView:
    """Look at a collection. `client`: None where the lake is not to be asked. `full`: list it in any case."""
    if client is None:
        return LakeView(key, None, known.lake_id if known else None)
    # What speaks to a lake is loaded by who asks it: that is a tenth of a second.
    from metalake_sync.remote.listings import RemoteListing, count_remote, newest_remote
    from metalake_sync.remote.media_kinds import media_kind

    lake_id = client.find_collection(key.name, media_kind(key.type))
    if lake_id is None:
        return LakeView(key, client, None, 0, RemoteListing.empty())
    view = LakeView(key, client, lake_id, count_remote(client, lake_id, key.type))
    same = known is not None and known.lake_id == lake_id and known.listed_count == view.count
    if full or not same or known is None or newest_remote(client, lake_id, key.type) != known.listed_newest:
        view.listed()
    return view
