"""Calls about collections and items: find, describe, list, count, download, trash."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from metalake_sync import protocol
from metalake_sync.errors import LakeAnswerInvalid
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import (
    CollectionByName,
    CollectionDetails,
    CountItems,
    CreateCollection,
    FilterData,
    ItemDetails,
    ListedItem,
    ListItems,
    SortBy,
)
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT, MediaKind, ObjectKind, SortField
from metalake_sync.remote.calls.base import Calls
from metalake_sync.remote.repeated_pages import RepeatGuard

if TYPE_CHECKING:
    from metalake_sync.protocol.items import ItemPage, SelectItems


class ItemCalls(Calls):
    """Collections and items."""

    def create_collection(self, name: str, kind: MediaKind, metadata: Mapping[str, Any]) -> str:
        """Create a collection, or update its metadata. Returns its id."""
        request = CreateCollection(collection_name=name, object_type=kind, custom_meta_object=dict(metadata))
        answer = self._connection.call(routes.CREATE_COLLECTION, body=request.to_wire())
        # The published clients do not read this answer, so it may not have the id.
        collection_id = (answer.collection_id if answer else None) or self.find_collection(name, kind)
        if collection_id is None:
            raise LakeAnswerInvalid(
                f"the lake does not have the collection '{name}' after it was created",
                where=f"{routes.CREATE_COLLECTION.method} {routes.CREATE_COLLECTION.path}",
                remedy="Run the command again.",
            )
        return collection_id

    def find_collection(self, name: str, kind: MediaKind) -> str | None:
        """Return the id of the collection with a name and media type, or None."""
        request = CollectionByName(collection_name=name, object_type=kind)
        answer = self._find(routes.COLLECTION_BY_NAME, body=request.to_wire())
        return (answer.collection_id or None) if answer else None

    def object_type(self, object_id: str) -> ObjectKind:
        return self._require(routes.OBJECT_TYPE, parts={"object_id": object_id}).object_type

    def collection_details(self, collection_id: str, fields: Mapping[str, bool]) -> dict[str, Any]:
        request = CollectionDetails(collection_id=collection_id, required_meta_obj=dict(fields))
        return self._require(routes.COLLECTION_DETAILS, body=request.to_wire()).item_details

    def item_details(self, unique_name: str, fields: Mapping[str, bool]) -> dict[str, Any] | None:
        """Return the requested fields that an item has, or None if the item does not exist."""
        request = ItemDetails(unique_file_name=unique_name, required_meta_obj=dict(fields))
        answer = self._find(routes.ITEM_DETAILS, body=request.to_wire())
        return answer.item_details if answer else None

    def list_items(self, request: ListItems) -> Iterator[list[ListedItem]]:
        """Yield the pages of all items in the lake, from the request's page to the end."""
        return self._pages(routes.LIST_ITEMS, {}, request)

    def list_page(self, request: ListItems, collection_id: str) -> list[ListedItem]:
        """Return one page of a collection's items. Beyond the end, it is empty."""
        page = self._connection.call(
            routes.LIST_COLLECTION_ITEMS, parts={"collection_id": collection_id}, body=self._selection_body(request)
        )
        return page.root if page is not None else []

    def list_collection(
        self,
        collection_id: str,
        kind: ObjectKind,
        *,
        sort_by: SortBy | None = None,
        query: str = "",
        filter_data: FilterData | None = None,
        page_size: int = PAGE_SIZE_LIMIT,
    ) -> Iterator[list[ListedItem]]:
        """Yield all pages of a collection's items."""
        request = ListItems(
            content_type=kind,
            query=query,
            filter_data=filter_data or FilterData(),
            sort_by=sort_by or SortBy(),
            page_size=page_size,
        )
        return self.list_collection_items(collection_id, request)

    def list_collection_items(self, collection_id: str, request: ListItems) -> Iterator[list[ListedItem]]:
        """Yield the pages of a collection's items, from the request's page to the end."""
        return self._pages(routes.LIST_COLLECTION_ITEMS, {"collection_id": collection_id}, request)

    def count_items(self, request: CountItems) -> int:
        answer = self._connection.call(routes.COUNT_ITEMS, body=self._count_body(request))
        if answer is None:
            return 0
        return answer.count if answer.count is not None else self._counted(self.list_items, request)

    def count_collection(self, collection_id: str, request: CountItems) -> int:
        answer = self._connection.call(
            routes.COUNT_COLLECTION_ITEMS, parts={"collection_id": collection_id}, body=self._count_body(request)
        )
        if answer is None:
            return 0
        if answer.count is not None:
            return answer.count
        return self._counted(lambda listed: self.list_collection_items(collection_id, listed), request)

    def download_url(self, unique_name: str) -> str:
        """Return a signed URL to read a file. It is a credential and must not be logged or recorded."""
        return self._require(routes.DOWNLOAD_URL, query={"file_key": unique_name}).url

    def select_items(self, request: SelectItems) -> str:
        """Select items, and return the selection's tag. A rejection raises LakeRefused with the lake's warning."""
        tag = self._require(routes.SELECT_ITEMS, body=self._selection_body(request)).selection_tag
        if not tag:
            raise LakeAnswerInvalid("the lake's answer has no selection", where=routes.SELECT_ITEMS.path)
        return tag

    def trash_items(self, selection_tag: str) -> str:
        """Move a selection to the trash. Returns the lake's message, which contains counts."""
        answer = self._connection.call(
            routes.TRASH_ITEMS, body=protocol.items.TrashItems(selection_id=selection_tag).to_wire()
        )
        return answer.message if answer else ""

    def _pages(
        self, route: routes.Route[ItemPage], parts: Mapping[str, str], request: ListItems
    ) -> Iterator[list[ListedItem]]:
        index = request.page_index
        repeats = RepeatGuard(route.path)
        while True:
            body = self._selection_body(request.model_copy(update={"page_index": index}))
            page = self._connection.call(route, parts=parts, body=body)
            if page is None or not page.root:
                return
            repeats.check(item.id for item in page.root)
            yield page.root
            if len(page.root) < request.page_size:
                return
            index += 1

    def _counted(self, pages: Callable[[ListItems], Iterator[list[ListedItem]]], request: CountItems) -> int:
        """Count by listing, for a lake whose answer contains no usable number."""
        listed = ListItems(
            query=request.query,
            filter_data=request.filter_data,
            content_type=request.content_type,
            sort_by=SortBy(sort_by_field=SortField.DATE_CREATED, sort_order="ASC"),
            page_size=PAGE_SIZE_LIMIT,
        )
        return sum(map(len, pages(listed)))

    def _count_body(self, request: CountItems) -> dict[str, Any]:
        return {**self._selection_body(request), "sortBy": {}}
