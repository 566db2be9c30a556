"""The calls of the client about collections, items and metadata: find, describe, list, count, download, trash, write.

`client.LakeClient` combines them with the other calls. Must not: batch calls, make decisions, or remember anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, TypeVar

from metalake_sync.errors import LakeAnswerInvalid, LakeRejected
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import (
    CollectionByName,
    CollectionDetails,
    CountItems,
    CreateCollection,
    FileMetadata,
    FilterData,
    ItemDetails,
    ItemPage,
    ListedItem,
    ListItems,
    SelectItems,
    SortBy,
    TrashItems,
    UploadMetadataByJson,
    UploadMetadataByObject,
    ValidateAnswer,
    ValidateFields,
    ValidateTags,
)
from metalake_sync.protocol.routes import Generation, Route
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT, MediaKind, ObjectKind, SortField
from metalake_sync.remote.answers import RepeatGuard
from metalake_sync.remote.connection import Connection

if TYPE_CHECKING:
    from pydantic import BaseModel

AnswerT = TypeVar("AnswerT", bound="BaseModel")

NOT_FOUND_STATUSES = frozenset({404, 406})
"""Statuses for an unknown name, in addition to 204."""


class Calls:
    """Makes calls over one connection."""

    _connection: Connection

    def _require(self, route: Route[AnswerT], **call: Any) -> AnswerT:
        """Make a call whose answer must not be empty."""
        answer = self._connection.call(route, **call)
        if answer is None:
            raise LakeAnswerInvalid("the lake's answer is empty", where=f"{route.method} {route.path}")
        return answer

    def _find(self, route: Route[AnswerT], **call: Any) -> AnswerT | None:
        """Make a call about something that may not exist. Returns None if it does not."""
        try:
            return self._connection.call(route, **call)
        except LakeRejected as rejection:
            if rejection.status in NOT_FOUND_STATUSES:
                return None
            raise

    def _selection_body(self, request: CountItems | SelectItems) -> dict[str, Any]:
        """Return the request in the lake's generation. Generation 2 does not have keywords and categories."""
        body = request.to_wire()
        if self._connection.address.generation is Generation.TWO:
            for field in ("keywords", "categories"):
                del body["filterData"][field]
        return body


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
        """Select items, and return the selection's tag. A rejection raises LakeRejected with the lake's warning."""
        tag = self._require(routes.SELECT_ITEMS, body=self._selection_body(request)).selection_tag
        if not tag:
            raise LakeAnswerInvalid("the lake's answer has no selection", where=routes.SELECT_ITEMS.path)
        return tag

    def trash_items(self, selection_tag: str) -> str:
        """Move a selection to the trash. Returns the lake's message, which contains counts."""
        answer = self._connection.call(routes.TRASH_ITEMS, body=TrashItems(selection_id=selection_tag).to_wire())
        return answer.message if answer else ""

    def _pages(
        self, route: Route[ItemPage], parts: Mapping[str, str], request: ListItems
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


NO_CALL_STATUSES = frozenset({404, 405, 501})
"""Statuses of a server that does not have a call."""

OBJECTION_STATUSES = frozenset({200, 400, 406, 422})
"""Statuses that reject tags or fields: a lake uses 406, or 200 with `isSuccess: false`; other servers use the rest."""


@dataclass(frozen=True, slots=True)
class Validation:
    """The lake's opinion on tags or fields before they are written."""

    objection: str | None = None
    """Why the lake rejects them. None if it accepts them."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Requested spelling → the lake's spelling."""


class MetadataCalls(Calls):
    """Metadata of collections and files."""

    def validate_tags(self, tags: Sequence[str]) -> Validation:
        """Ask the lake whether it accepts tags."""
        return self._validate(routes.VALIDATE_TAGS, ValidateTags(tags=list(tags)))

    def validate_fields(self, fields: Sequence[str]) -> Validation:
        """Ask the lake whether it accepts metadata fields."""
        return self._validate(routes.VALIDATE_FIELDS, ValidateFields(fields=list(fields)))

    def metadata_by_json(
        self,
        entries: Sequence[FileMetadata],
        *,
        collection_id: str | None = None,
        job_id: str | None = None,
        bucket_name: str | None = None,
    ) -> int | None:
        """Write a page of file metadata, at most 1,000 entries.

        Without an address, entries contain unique names. Returns how many entries matched a file, if the lake says so.
        """
        request = UploadMetadataByJson(
            metadata=list(entries), collection_id=collection_id, job_id=job_id, bucket_name=bucket_name
        )
        answer = self._connection.call(routes.METADATA_BY_JSON, body=request.to_wire())
        return answer.updated(len(entries)) if answer else None

    def metadata_by_object(
        self, name: str, kind: MediaKind, metadata: Mapping[str, Any], apply_to_all_files: bool
    ) -> None:
        """Write the metadata of a collection and, if `apply_to_all_files`, of every file in it."""
        request = UploadMetadataByObject(
            collection_name=name, object_type=kind, metadata=dict(metadata), is_apply_to_all_files=apply_to_all_files
        )
        self._connection.call(routes.METADATA_BY_OBJECT, body=request.to_wire())

    def _validate(self, route: Route[ValidateAnswer], request: ValidateTags | ValidateFields) -> Validation:
        try:
            answer = self._connection.call(route, body=request.to_wire())
        except LakeRejected as rejection:
            if rejection.status in NO_CALL_STATUSES:
                # A lake without this call checks the metadata when it is written.
                return Validation()
            if rejection.status in OBJECTION_STATUSES:
                return Validation(rejection.message)
            raise
        return Validation(renames=answer.renames() if answer else {})
