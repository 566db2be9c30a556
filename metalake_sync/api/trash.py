"""Moves items into the lake's trash. The protocol has no call that restores them."""

from __future__ import annotations

from metalake_sync.api.arguments import EVERYTHING, FilterLike, filter_of, type_of
from metalake_sync.api.connected import ContentType
from metalake_sync.api.items import Items
from metalake_sync.api.results import TrashResult
from metalake_sync.core.selection import ItemSelection
from metalake_sync.errors import UsageError
from metalake_sync.protocol.items import SelectItems
from metalake_sync.protocol.wire import ObjectKind
from metalake_sync.remote.selections import (
    Place,
    count_selection,
    filter_data,
    media_kind,
    object_kind,
    trash_selection,
)

NOTHING = TrashResult(0, 0, "nothing matches")


class Trash(Items):
    """Methods that trash items."""

    def trash_objects_from_collection(
        self,
        collection_id: str,
        *,
        query: str = "",
        filter: FilterLike = EVERYTHING,
    ) -> TrashResult:
        """Trash the items of a collection that match; without query and filter, the collection with all its items.
        Vendor's page: 2.10. If nothing matches, `trashed` is 0."""
        wanted = filter_of(filter)
        media_type = self.get_collection_details(collection_id).type
        selection = ItemSelection(media_type, "", query, wanted)
        if not selection.narrowed:
            request = SelectItems(
                is_all_selected=False,
                content_type=ObjectKind(media_kind(media_type).value),
                object_id_list=[collection_id],
            )
            return self._trash(request)
        if not count_selection(self._client, selection, Place(media_type, collection_id)):
            return NOTHING
        return self._trash(
            SelectItems(is_all_selected=True, query=query, filter_data=filter_data(wanted), collection_id=collection_id)
        )

    def trash_objects_from_datalake(
        self,
        *,
        query: str = "",
        filter: FilterLike = EVERYTHING,
        content_type: ContentType = "image",
    ) -> TrashResult:
        """Trash the items of the whole lake that match. Vendor's page: 2.11. If nothing matches, `trashed` is 0.

        Raises UsageError without query and filter, which would match everything.
        """
        wanted = filter_of(filter)
        media_type = type_of(content_type)
        selection = ItemSelection(media_type, None, query, wanted)
        if not selection.narrowed:
            raise UsageError(
                "without query and filter, everything in the lake matches", remedy="Pass a query or a filter."
            )
        if not count_selection(self._client, selection, Place(media_type, None)):
            return NOTHING
        return self._trash(
            SelectItems(
                is_all_selected=True,
                content_type=object_kind(media_type),
                query=query,
                filter_data=filter_data(wanted),
            )
        )

    def _trash(self, request: SelectItems) -> TrashResult:
        counts = trash_selection(self._client, request)
        return TrashResult(counts.trashed, counts.failed, counts.message)
