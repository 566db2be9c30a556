"""Putting things into the lake's trash. There is no call that takes them out again."""

from __future__ import annotations

from metalake_sync.api.connected import ContentType
from metalake_sync.api.items import Items
from metalake_sync.api.results import TrashResult
from metalake_sync.core.facts import MediaType
from metalake_sync.core.selection import ItemFilter, ItemSelection
from metalake_sync.errors import UsageError
from metalake_sync.protocol.trash import SelectItems
from metalake_sync.protocol.wire import ObjectKind
from metalake_sync.remote.observe import media_kind, object_kind
from metalake_sync.remote.select import Place, count_selection, filter_data, trash_selection

NOTHING = TrashResult(0, 0, "nothing matches")


class Trash(Items):
    """What goes away."""

    def trash_objects_from_collection(
        self,
        collection_id: str,
        *,
        query: str = "",
        filter: ItemFilter = ItemFilter(),  # noqa: B008 - frozen
    ) -> TrashResult:
        """Trash the items of a collection that match; without query and filter, the collection with all that is in it.
        Vendor's page: 2.10. What matches nothing is no error: `trashed` is 0 then."""
        media_type = self.get_collection_details(collection_id).type
        selection = ItemSelection(media_type, "", query, filter)
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
            SelectItems(is_all_selected=True, query=query, filter_data=filter_data(filter), collection_id=collection_id)
        )

    def trash_objects_from_datalake(
        self,
        *,
        query: str = "",
        filter: ItemFilter = ItemFilter(),  # noqa: B008 - frozen
        content_type: ContentType = "image",
    ) -> TrashResult:
        """Trash the items of the whole lake that match. Vendor's page: 2.11. What matches nothing is no error.

        Raises UsageError without query and filter: that would mean everything.
        """
        media_type = MediaType(content_type)
        selection = ItemSelection(media_type, None, query, filter)
        if not selection.narrowed:
            raise UsageError("that means everything in the lake", remedy="Give a query or a filter.")
        if not count_selection(self._client, selection, Place(media_type, None)):
            return NOTHING
        return self._trash(
            SelectItems(
                is_all_selected=True,
                content_type=object_kind(media_type),
                query=query,
                filter_data=filter_data(filter),
            )
        )

    def _trash(self, request: SelectItems) -> TrashResult:
        counts = trash_selection(self._client, request)
        return TrashResult(counts.trashed, counts.failed, counts.message)
