"""Handlers of the calls about the lake itself, collections, items and metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import web

from metalake_sync.embedded_lake.collections import Collections
from metalake_sync.embedded_lake.items import Items, Metadata
from metalake_sync.embedded_lake.names import Spellings, check_fields, check_tags
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import not_acceptable
from metalake_sync.embedded_lake.web.messages import Call, answer, base_url, generation_of, read_message
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import (
    CollectionByName,
    CollectionDetails,
    CountItems,
    CreateCollection,
    ItemDetails,
    ListItems,
    UploadMetadataByJson,
    UploadMetadataByObject,
    ValidateFields,
    ValidateTags,
)
from metalake_sync.protocol.routes import Generation
from metalake_sync.protocol.wire import CLIENT_VERSION, SortField


class ItemCalls:
    def __init__(
        self,
        collections: Collections,
        items: Items,
        metadata: Metadata,
        spellings: Spellings,
        quirks: frozenset[Quirk],
    ) -> None:
        self._collections = collections
        self._spellings = spellings
        self._quirks = quirks
        self._items = items
        self._metadata = metadata

    def calls(self) -> Iterable[Call]:
        yield routes.COMPATIBILITY, self.compatibility
        yield routes.SYSTEM_DETAILS, self.system_details
        yield routes.CREATE_COLLECTION, self.create_collection
        yield routes.COLLECTION_BY_NAME, self.collection_by_name
        yield routes.OBJECT_TYPE, self.object_type
        yield routes.COLLECTION_DETAILS, self.collection_details
        yield routes.ITEM_DETAILS, self.item_details
        yield routes.LIST_ITEMS, self.list_items
        yield routes.COUNT_ITEMS, self.count_items
        yield routes.LIST_COLLECTION_ITEMS, self.list_items
        yield routes.COUNT_COLLECTION_ITEMS, self.count_items
        yield routes.DOWNLOAD_URL, self.download_url
        yield routes.VALIDATE_TAGS, self.validate_tags
        yield routes.VALIDATE_FIELDS, self.validate_fields
        yield routes.METADATA_BY_JSON, self.metadata_by_json
        yield routes.METADATA_BY_OBJECT, self.metadata_by_object

    async def compatibility(self, request: web.Request) -> web.Response:
        known, requested = CLIENT_VERSION.partition(".")[0], request.match_info["version"].partition(".")[0]
        if requested == known:
            return answer({"isCompatible": True})
        return answer({"isCompatible": False, "message": f"This lake uses version {known} of the protocol"})

    async def system_details(self, request: web.Request) -> web.Response:
        return answer({"isSuccess": True, **self._items.system_details()})

    async def create_collection(self, request: web.Request) -> web.Response:
        collection = self._collections.create(await read_message(request, CreateCollection))
        return answer({"isSuccess": True, "collectionId": collection})

    async def collection_by_name(self, request: web.Request) -> web.Response:
        collection = self._collections.by_name(await read_message(request, CollectionByName))
        return answer({"isSuccess": True, "collectionId": collection})

    async def object_type(self, request: web.Request) -> web.Response:
        return answer({"objectType": int(self._collections.object_type(request.match_info["object_id"]))})

    async def collection_details(self, request: web.Request) -> web.Response:
        message = await read_message(request, CollectionDetails)
        fields = self._spellings.requested(message.required_meta_obj)
        details = self._collections.details(message.model_copy(update={"required_meta_obj": fields}))
        return answer({"isSuccess": True, "itemDetails": details})

    async def item_details(self, request: web.Request) -> web.Response:
        message = await read_message(request, ItemDetails)
        fields = self._spellings.requested(message.required_meta_obj)
        wanted = message.model_copy(update={"required_meta_obj": fields})
        details = await self._items.details(wanted, base_url(request))
        return answer({"isSuccess": True, "itemDetails": details})

    async def list_items(self, request: web.Request) -> web.Response:
        message = await read_message(request, ListItems)
        if message.sort_by.sort_by_field is SortField.TEXT_SCORE and generation_of(request) is Generation.TWO:
            raise not_acceptable(f"Invalid sort field: {int(SortField.TEXT_SCORE)}")
        return answer(self._items.page(message, request.match_info.get("collection_id"), base_url(request)))

    async def count_items(self, request: web.Request) -> web.Response:
        message = await read_message(request, CountItems)
        return answer({"count": self._items.count(message, request.match_info.get("collection_id"))})

    async def download_url(self, request: web.Request) -> web.Response:
        url = self._items.download_url(request.query.get("file_key", ""), base_url(request))
        return answer({"isSuccess": True, "url": url})

    async def validate_tags(self, request: web.Request) -> web.Response:
        tags = (await read_message(request, ValidateTags)).tags
        check_tags(tags)
        return self._validated(request, "Tag", self._spellings.renames("tag", tags))

    async def validate_fields(self, request: web.Request) -> web.Response:
        fields = (await read_message(request, ValidateFields)).fields
        check_fields(fields)
        return self._validated(request, "Field", self._spellings.renames("field", fields))

    def _validated(self, request: web.Request, kind: str, renames: Mapping[str, str]) -> web.Response:
        """Answer a validate call: with a list of renames in generation 3, without one in generation 2."""
        if generation_of(request) is Generation.TWO and Quirk.VALIDATE_RENAMES not in self._quirks:
            return answer({"isSuccess": True})
        return answer([{f"new{kind}": name, f"old{kind}": known} for name, known in renames.items()])

    async def metadata_by_json(self, request: web.Request) -> web.Response:
        message = await read_message(request, UploadMetadataByJson)
        written = self._metadata.write(message)
        return answer({"isSuccess": True, "message": f"{written} of {len(message.metadata)} files updated"})

    async def metadata_by_object(self, request: web.Request) -> web.Response:
        files = self._collections.write_metadata(await read_message(request, UploadMetadataByObject))
        return answer({"isSuccess": True, "message": f"the collection and {files} files updated"})
