"""Finds out which files the lake has in one collection, as cheaply as possible, and whose shapes a plan would destroy.

Owns: when a listing is needed, and the listings of a run. A collection is not listed if it has the same number of files
and the same newest file as when it last matched the records. That costs two calls, regardless of its size. Must not:
decide what becomes of a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from metalake_sync.core.actions import ReplaceFile
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey, MediaType, RecordedCollection, RecordedFile, RemoteFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.remote.listings import RemoteListing


@dataclass(slots=True)
class LakeView:
    """One collection as the lake lists it."""

    key: CollectionKey
    client: LakeClient | None
    lake_id: str | None
    """None if the lake does not have the collection."""
    count: int | None = None
    """How many files the collection has. None if the lake was not asked."""
    listing: RemoteListing | None = None
    """None if the records are trusted."""

    def listed(self) -> RemoteListing | None:
        """The listing, requested now if it was not needed before. None without a client."""
        if self.listing is None and self.client is not None and self.lake_id is not None:
            from metalake_sync.remote.listings import count_remote, list_remote

            if self.count is None:
                self.count = count_remote(self.client, self.lake_id, self.key.type)
            self.listing = list_remote(self.client, self.lake_id, self.key.type, self.count)
        return self.listing

    def of_recorded(self, known: RecordedFile) -> RemoteFile | None:
        """The lake's file for a recorded one. Without a listing, the record is trusted."""
        if self.listing is None:
            return RemoteFile(known.name, known.lake_id, known.unique_name)
        return self.listing.get(known.name)


def view_lake(client: LakeClient | None, key: CollectionKey, known: RecordedCollection | None, full: bool) -> LakeView:
    """Ask the lake about a collection. `client`: None trusts the records. `full`: list the collection in any case."""
    if client is None:
        return LakeView(key, None, known.lake_id if known else None)
    # Imported here, because only runs that ask the lake pay its 100 ms.
    from metalake_sync.remote.listings import RemoteListing, count_remote, newest_remote
    from metalake_sync.remote.selections import media_kind

    lake_id = client.find_collection(key.name, media_kind(key.type))
    if lake_id is None:
        return LakeView(key, client, None, 0, RemoteListing.empty())
    view = LakeView(key, client, lake_id, count_remote(client, lake_id, key.type))
    same = known is not None and known.lake_id == lake_id and known.listed_count == view.count
    if full or not same or known is None or newest_remote(client, lake_id, key.type) != known.listed_newest:
        view.listed()
    return view


class LakeCollections:
    """The collections of one lake and their listings. Each is requested at most once in a run."""

    def __init__(self, client: LakeClient) -> None:
        self._client = client
        self._named: dict[CollectionKey, LakeView | None] = {}
        self._of_type: dict[MediaType, list[LakeView]] = {}

    def named(self, key: CollectionKey) -> LakeView | None:
        """A collection, or None if the lake does not have it."""
        if key not in self._named:
            from metalake_sync.remote.selections import media_kind

            lake_id = self._client.find_collection(key.name, media_kind(key.type))
            self._named[key] = LakeView(key, self._client, lake_id) if lake_id is not None else None
        return self._named[key]

    def of_type(self, media_type: MediaType) -> list[LakeView]:
        """All collections of a type."""
        if media_type not in self._of_type:
            from metalake_sync.protocol.items import ListItems
            from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
            from metalake_sync.remote.selections import collection_kind

            request = ListItems(content_type=collection_kind(media_type), page_size=PAGE_SIZE_LIMIT)
            items = (item for page in self._client.list_items(request) for item in page)
            self._of_type[media_type] = [self._view(CollectionKey(media_type, item.name), item.id) for item in items]
        return self._of_type[media_type]

    def _view(self, key: CollectionKey, lake_id: str) -> LakeView:
        known = self._named.get(key)
        return known if known is not None and known.lake_id == lake_id else LakeView(key, self._client, lake_id)


def notes_on_lost_shapes(
    client: LakeClient | None, plan: CollectionPlan, state: StateStore, handle: CollectionHandle | None
) -> Iterator[Note]:
    """A note for each file whose replacement or trashing destroys shapes of other clients."""
    if client is None or plan.lake_id is None or plan.key.type is not MediaType.IMAGE:
        return
    for name, shapes in _shapes_of_others(client, plan, state, handle).items():
        message = f"loses {shapes} shapes that were not drawn by this manifest"
        yield Note(NoteCode.SETS_LOST, message, f"{plan.key}/{name}")


def _shapes_of_others(
    client: LakeClient, plan: CollectionPlan, state: StateStore, handle: CollectionHandle | None
) -> dict[str, int]:
    """The number of shapes of other clients on each file that the plan replaces or trashes, by name.

    Costs one call per page of the collection, and none if the plan does not replace or trash a file.
    """
    leaving = {
        action.replaced.unique_name: action.file.name for action in plan.uploads if isinstance(action, ReplaceFile)
    }
    leaving |= {action.recorded.unique_name: action.recorded.name for action in plan.trash}
    if not leaving or plan.lake_id is None:
        return {}
    from metalake_sync.remote.listings import annotations_of

    recorded = state.files.named(handle, leaving.values()) if handle is not None else {}
    counts: Counter[str] = Counter()
    for unique_name, shapes in annotations_of(client, plan.lake_id, file_count=plan.recorded):
        name = leaving.get(unique_name)
        if name is not None:
            known = recorded.get(name)
            ours = sum(known_set.shape_count for known_set in known.annotations.values()) if known else 0
            counts[name] = len(shapes) - ours
    return {name: count for name, count in counts.items() if count > 0}
