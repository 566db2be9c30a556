"""Handlers of the calls about labels, annotations, selections and the trash."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web
from pydantic import TypeAdapter

from metalake_sync.embedded_lake.annotations import AnnotatedFile, Annotations, Labels, Operation, PageRequest, Studio
from metalake_sync.embedded_lake.collections import Collections
from metalake_sync.embedded_lake.rejections import NoContent, not_acceptable
from metalake_sync.embedded_lake.selections import NothingSelected, Trash, VirtualCollections
from metalake_sync.embedded_lake.shapes import read_page
from metalake_sync.embedded_lake.storage.interface import ObjectStorage
from metalake_sync.embedded_lake.web.messages import Call, answer, base_url, is_true, read_message
from metalake_sync.protocol import routes
from metalake_sync.protocol.annotation_sets import AttachModelRuns, LabelReferences, UpdateAnnotations
from metalake_sync.protocol.items import CreateVirtualCollection, SelectItems, TrashItems
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT, OperationMode

_OPERATIONS = TypeAdapter(list[str] | None)
_MODES = {"all": None, "human": OperationMode.HUMAN, "machine": OperationMode.MACHINE}

DOWNLOAD_FOLDER = "data"
"""The local folder for downloaded files that answers tell clients to create."""


class StudioCalls:
    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def calls(self) -> Iterable[Call]:
        yield routes.ATTACH_MODEL_RUNS, self.attach

    async def attach(self, request: web.Request) -> web.Response:
        message = await read_message(request, AttachModelRuns)
        added = self._studio.attach(message)
        return answer({"isSuccess": True, "message": f"{added} model runs attached"})


class AnnotationCalls:
    def __init__(
        self, labels: Labels, annotations: Annotations, collections: Collections, storage: ObjectStorage
    ) -> None:
        self._labels = labels
        self._annotations = annotations
        self._collections = collections
        self._storage = storage

    def calls(self) -> Iterable[Call]:
        yield routes.LIST_LABELS, self.list_labels
        yield routes.LIST_LABEL_GROUPS, self.list_label_groups
        yield routes.LABEL_REFERENCES, self.label_references
        yield routes.UPDATE_ANNOTATIONS, self.update
        yield routes.DELETE_ANNOTATIONS, self.delete
        yield routes.DOWNLOAD_ANNOTATIONS, self.download

    async def list_labels(self, request: web.Request) -> web.Response:
        # The embedded lake has no label groups.
        return answer([] if request.query.get("groupId") else self._labels.all())

    async def list_label_groups(self, request: web.Request) -> web.Response:
        return answer([])

    async def label_references(self, request: web.Request) -> web.Response:
        message = await read_message(request, LabelReferences)
        if not message.labels:
            raise NoContent
        return answer(self._labels.references(message.labels))

    async def update(self, request: web.Request) -> web.Response:
        message = await read_message(request, UpdateAnnotations)
        entries = read_page(message.meta_updates_array)
        operation = Operation(
            request.match_info["operation_id"], message.operation_mode, normalized=is_true(request, "isNormalized")
        )
        found = await self._annotations.update(operation, entries)
        return answer({"isSuccess": True, "message": f"{found} of {len(entries)} images updated"})

    async def delete(self, request: web.Request) -> web.Response:
        collection = request.query.get("collectionId", "")
        self._collections.must_exist(collection)
        removed = self._annotations.delete(collection, request.query.get("operationId", ""))
        return answer({"isSuccess": True, "message": f"annotations of {removed} images removed"})

    async def download(self, request: web.Request) -> web.Response:
        wanted = _page_request(request)
        page = self._annotations.page(wanted)
        base = base_url(request)
        return answer(
            {
                "data": {
                    "identifier": wanted.collection,
                    "groupUniqueName": f"{page.storage_path}_{wanted.collection}",
                    "format": "RAW",
                    "rawFileName": f"{page.storage_path}.json",
                    "creatableDirectories": [DOWNLOAD_FOLDER],
                    "nextPage": page.more,
                    "resourceArray": [self._resource(file, base) for file in page.files],
                }
            }
        )

    def _resource(self, file: AnnotatedFile, base: str) -> dict[str, object]:
        return {
            "fileName": file.unique_name,
            "fileDownloadFolderLocation": DOWNLOAD_FOLDER,
            "fileUrl": self._storage.object_url(file.blob, base),
            "isMediaFile": True,
            "rawAnnotations": {"image": file.name, "annotations": file.annotations},
        }


class SelectionCalls:
    """Selections, and the calls that use them."""

    def __init__(self, trash: Trash, virtual: VirtualCollections) -> None:
        self._trash = trash
        self._virtual = virtual

    def calls(self) -> Iterable[Call]:
        yield routes.SELECT_ITEMS, self.select
        yield routes.TRASH_ITEMS, self.trash
        yield routes.CREATE_VIRTUAL_COLLECTION, self.create_virtual_collection

    async def select(self, request: web.Request) -> web.Response:
        message = await read_message(request, SelectItems)
        try:
            selected = self._trash.select(message)
        except NothingSelected as reason:
            return answer({"isSuccess": False, "warningMsg": str(reason)})
        return answer({"isSuccess": True, "selectionTag": selected.tag, "objectCount": selected.count})

    async def trash(self, request: web.Request) -> web.Response:
        trashed, failed = self._trash.trash((await read_message(request, TrashItems)).selection_id)
        message = f"{trashed} objects successfully trashed, {failed} objects failed to trash"
        return answer({"isSuccess": True, "message": message})

    async def create_virtual_collection(self, request: web.Request) -> web.Response:
        collection = self._virtual.create(await read_message(request, CreateVirtualCollection))
        return answer({"isSuccess": True, "collectionId": collection})


def _page_request(request: web.Request) -> PageRequest:
    query = request.query
    kind = query.get("annotationType", "all")
    try:
        operations = _OPERATIONS.validate_json(query.get("operationIdList") or "[]")
        page, page_size = int(query.get("pageNo", "0")), int(query.get("pageSize", "250"))
    except ValueError:
        raise not_acceptable("The page number or the list of operations is invalid") from None
    if not 0 <= page < 2**32 or not 1 <= page_size <= PAGE_SIZE_LIMIT:
        raise not_acceptable(f"The page size must be 1 to {PAGE_SIZE_LIMIT}, and the page number 0 or more")
    if kind not in _MODES:
        raise not_acceptable(f"Invalid annotation type: {kind!r}")
    return PageRequest(request.match_info["collection_id"], page, page_size, operations or [], _MODES[kind])
