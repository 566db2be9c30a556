"""Every call of the protocol as one method: typed in, typed out, errors as exceptions.

Must not: batch, decide or remember anything. Safe to use from several threads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from metalake_sync import protocol
from metalake_sync.errors import LakeAnswerInvalid, LakeRefused, StorageUnknown, StudioMissing
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol import routes
from metalake_sync.protocol.generations import Generation
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
from metalake_sync.protocol.wire import (
    PAGE_SIZE_LIMIT,
    MediaKind,
    ObjectKind,
    OperationMode,
    SortField,
    StorageKind,
)
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.answers import EMPTY
from metalake_sync.remote.connection import Connection
from metalake_sync.remote.repeated_pages import RepeatGuard
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import Clock, RetryPolicy

if TYPE_CHECKING:
    from pydantic import BaseModel

    from metalake_sync.protocol.annotation_sets import DownloadPage, LabelReference, ListedLabel
    from metalake_sync.protocol.items import ItemPage
    from metalake_sync.protocol.metadata import FileMetadata, ValidateAnswer, ValidateFields, ValidateTags
    from metalake_sync.protocol.system import JobReport, JobStatusAnswer
    from metalake_sync.protocol.trash import SelectItems
    from metalake_sync.protocol.uploads import (
        BeginFile,
        BeginFileAnswer,
        FinalizeFile,
        OpenUpload,
        OpenUploadAnswer,
        SignedPart,
        SignParts,
    )
    from metalake_sync.remote.generation_detection import Greeting

AnswerT = TypeVar("AnswerT", bound="BaseModel")

NOTHING_THERE = frozenset({404, 406})
"""How a lake says that it does not know a name, besides 204."""

NO_SUCH_CALL = frozenset({404, 405, 501})
"""How a server says that it does not have a call."""

OBJECTIONS = frozenset({200, 400, 406, 422})
"""How a lake refuses tags or fields: 406 or 200 with `isSuccess: false`, and what other servers use for it."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What a lake says about tags or fields before they are written."""

    objection: str | None = None
    """Why it does not take them; None where it takes them."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """The spelling that was asked about → the lake's own."""


class LakeClient:
    """A lake's calls. Close it, or use it as a context manager.

    Raises LakeUnreachable, CredentialsRefused, LakeRefused and LakeAnswerInvalid, from any method.
    """

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy | None = None,
        counter: RequestCounter | None = None,
        pool_size: int = 64,
        clock: Clock | None = None,
    ) -> None:
        self._connection = Connection(
            address,
            retry=retry or RetryPolicy(),
            counter=counter or RequestCounter(),
            pool_size=pool_size,
            clock=clock or Clock(),
        )
        self.greeting: Greeting | None = None
        """What `greet` found out last."""

    def __enter__(self) -> LakeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @property
    def address(self) -> LakeAddress:
        return self._connection.address

    @property
    def differences(self) -> Mapping[str, str]:
        """Call → what in its answers is unlike the form that we know, of the calls that were made."""
        return self._connection.differences

    @property
    def lake_date(self) -> str | None:
        """The `Date` of the last answer, as the lake wrote it; None where it wrote none."""
        return self._connection.lake_date

    # The lake itself.

    def greet(self, *, pinned: bool = False, ignore_compatibility: bool = False) -> Greeting:
        """Find out which generation of the protocol the lake speaks, and speak it from then on. Also the first test of
        address and credentials. Costs one request, and one more where the generation is not the assumed one.

        `pinned`: try the generation of the address alone. Raises what `greeting.greet` raises.
        """
        from metalake_sync.remote.generation_detection import greet

        self.greeting = greet(self._connection, pinned=pinned, ignore_compatibility=ignore_compatibility)
        return self.greeting

    def system_details(self) -> object:
        """Counts of images, videos and others in the lake; the shape is the lake's own."""
        return self._must(routes.SYSTEM_DETAILS).root

    def job_status(self, job_id: str) -> JobStatusAnswer:
        return self._must(routes.JOB_STATUS, parts={"job_id": job_id})

    def update_job(self, report: JobReport) -> None:
        self._connection.call(routes.UPDATE_JOB, body=report.to_wire())

    # Uploading.

    def open_upload(self, request: OpenUpload) -> OpenUploadAnswer:
        """Open an upload session; creates the collection when it is new.

        Raises StorageUnknown for a lake whose object store metalake-sync cannot send to.
        """
        answer = self._must(routes.OPEN_UPLOAD, body=request.to_wire())
        try:
            StorageKind(answer.storage_type)
        except ValueError:
            raise StorageUnknown(
                f"the lake keeps files in a store of kind '{answer.storage_type[:40]}', and metalake-sync can send to"
                " Amazon S3, Google Cloud Storage and Azure Blob Storage only",
                where=self.address.url,
                remedy="Ask the lake's operator for an object store of one of these kinds.",
            ) from None
        return answer

    def begin_file(self, request: BeginFile) -> BeginFileAnswer:
        return self._must(routes.BEGIN_FILE, body=request.to_wire())

    def sign_parts(self, request: SignParts) -> list[SignedPart]:
        return self._must(routes.SIGN_PARTS, body=request.to_wire()).parts

    def finalize_file(self, request: FinalizeFile) -> None:
        self._connection.call(routes.FINALIZE_FILE, body=request.to_wire())

    def complete_upload(self, upload_id: str, return_unique_names: bool) -> list[str]:
        """Say that a session is through; the lake's job goes on. Returns the unique names if they are asked for."""
        answer = self._connection.call(
            routes.COMPLETE_UPLOAD,
            parts={"upload_id": upload_id},
            query={"isReturnedUniqueName": str(return_unique_names)},
        )
        return answer.uploaded_file_list if answer else []

    def upload_progress(self, collection_name: str) -> object:
        """The progress of a collection's upload; the shape is the lake's own."""
        answer = self._connection.call(routes.UPLOAD_PROGRESS, query={"collectionName": collection_name})
        return answer.root if answer else None

    # Collections and items.

    def create_collection(self, name: str, kind: MediaKind, metadata: Mapping[str, Any]) -> str:
        """Create a collection's head, or update its metadata, and return its id."""
        request = CreateCollection(collection_name=name, object_type=kind, custom_meta_object=dict(metadata))
        answer = self._connection.call(routes.CREATE_COLLECTION, body=request.to_wire())
        # The published clients do not read this answer, so nobody knows that it names the collection.
        collection_id = (answer.collection_id if answer else None) or self.find_collection(name, kind)
        if collection_id is None:
            raise LakeAnswerInvalid(
                f"the lake does not know the collection '{name}' that it was told to create",
                where=f"{routes.CREATE_COLLECTION.method} {routes.CREATE_COLLECTION.path}",
                remedy="Run the command again.",
            )
        return collection_id

    def find_collection(self, name: str, kind: MediaKind) -> str | None:
        """The id of the collection of that name and media type, or None."""
        request = CollectionByName(collection_name=name, object_type=kind)
        answer = self._if_there(routes.COLLECTION_BY_NAME, body=request.to_wire())
        return (answer.collection_id or None) if answer else None

    def object_type(self, object_id: str) -> ObjectKind:
        return self._must(routes.OBJECT_TYPE, parts={"object_id": object_id}).object_type

    def collection_details(self, collection_id: str, fields: Mapping[str, bool]) -> dict[str, Any]:
        request = CollectionDetails(collection_id=collection_id, required_meta_obj=dict(fields))
        return self._must(routes.COLLECTION_DETAILS, body=request.to_wire()).item_details

    def item_details(self, unique_name: str, fields: Mapping[str, bool]) -> dict[str, Any] | None:
        """The fields of an item that were asked for and that it has, or None where there is no such item."""
        request = ItemDetails(unique_file_name=unique_name, required_meta_obj=dict(fields))
        answer = self._if_there(routes.ITEM_DETAILS, body=request.to_wire())
        return answer.item_details if answer else None

    def list_items(self, request: ListItems) -> Iterator[list[ListedItem]]:
        """The items of the whole lake, page by page from the request's page to the end."""
        return self._pages(routes.LIST_ITEMS, {}, request)

    def list_page(self, request: ListItems, collection_id: str) -> list[ListedItem]:
        """One page of a collection; past the end it is empty."""
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
        """The items of a collection, page by page to the end."""
        request = ListItems(
            content_type=kind,
            query=query,
            filter_data=filter_data or FilterData(),
            sort_by=sort_by or SortBy(),
            page_size=page_size,
        )
        return self.list_collection_items(collection_id, request)

    def list_collection_items(self, collection_id: str, request: ListItems) -> Iterator[list[ListedItem]]:
        """The items of a collection, page by page from the request's page to the end."""
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

    def _counted(self, pages: Callable[[ListItems], Iterator[list[ListedItem]]], request: CountItems) -> int:
        """Count by listing, for a lake whose answer holds no number that can be meant."""
        listed = ListItems(
            query=request.query,
            filter_data=request.filter_data,
            content_type=request.content_type,
            sort_by=SortBy(sort_by_field=SortField.DATE_CREATED, sort_order="ASC"),
            page_size=PAGE_SIZE_LIMIT,
        )
        return sum(map(len, pages(listed)))

    def download_url(self, unique_name: str) -> str:
        """A signed URL to read a file. It is a credential: it goes into no log and no record."""
        return self._must(routes.DOWNLOAD_URL, query={"file_key": unique_name}).url

    # Metadata.

    def validate_tags(self, tags: Sequence[str]) -> Validation:
        """What the lake says about these tags."""
        return self._validate(routes.VALIDATE_TAGS, protocol.metadata.ValidateTags(tags=list(tags)))

    def validate_fields(self, fields: Sequence[str]) -> Validation:
        """What the lake says about these metadata fields."""
        return self._validate(routes.VALIDATE_FIELDS, protocol.metadata.ValidateFields(fields=list(fields)))

    def metadata_by_json(
        self,
        entries: Sequence[FileMetadata],
        *,
        collection_id: str | None = None,
        job_id: str | None = None,
        bucket_name: str | None = None,
    ) -> int | None:
        """Write a page of file metadata, at most 1,000 entries. Without an address, entries name unique names. Returns
        how many met a file, where the lake counts them."""
        request = protocol.metadata.UploadMetadataByJson(
            metadata=list(entries), collection_id=collection_id, job_id=job_id, bucket_name=bucket_name
        )
        answer = self._connection.call(routes.METADATA_BY_JSON, body=request.to_wire())
        return answer.updated(len(entries)) if answer else None

    def metadata_by_object(
        self, name: str, kind: MediaKind, metadata: Mapping[str, Any], apply_to_all_files: bool
    ) -> None:
        """Write a collection's head and, on request, every file in it, whoever put it there."""
        request = protocol.metadata.UploadMetadataByObject(
            collection_name=name, object_type=kind, metadata=dict(metadata), is_apply_to_all_files=apply_to_all_files
        )
        self._connection.call(routes.METADATA_BY_OBJECT, body=request.to_wire())

    # Labels and annotations.

    def list_labels(self, group_id: str | None = None) -> list[ListedLabel]:
        """The labels that the lake knows. Raises LakeAnswerInvalid where there are rows and none of them is a label."""
        query = {"groupId": group_id} if group_id else None
        call = f"GET {routes.LIST_LABELS.path}"
        unlike: list[str] = []
        answer = self._connection.call(routes.LIST_LABELS, query=query, differs=unlike.append)
        if answer is None:
            if EMPTY in unlike:
                raise LakeAnswerInvalid(EMPTY, where=call)
            return []
        labels = answer.labels()
        if answer.unreadable:
            rows = f"{answer.unreadable} of {len(answer.root)} rows hold no label's text"
            if not labels:
                raise LakeAnswerInvalid(rows, where=call)
            self._connection.differences.setdefault(call, rows)
        return labels

    def list_label_groups(self) -> object:
        """The label groups; the shape is the lake's own."""
        answer = self._connection.call(routes.LIST_LABEL_GROUPS)
        return answer.root if answer else []

    def label_references(self, labels: Mapping[str, Mapping[str, Sequence[Any]]]) -> dict[str, LabelReference]:
        """References of labels, attributes and values; the lake creates what is missing."""
        tree = {label: {name: list(values) for name, values in tree.items()} for label, tree in labels.items()}
        answer = self._connection.call(
            routes.LABEL_REFERENCES, body=protocol.annotation_sets.LabelReferences(labels=tree).to_wire()
        )
        return dict(answer.root) if answer else {}

    def update_annotations(
        self,
        operation_id: str,
        images: Sequence[Mapping[str, Any]],
        *,
        mode: OperationMode,
        normalized: bool,
        session_id: str,
        total: int,
        uploaded: int,
    ) -> int | None:
        """Replace the sets of an operation for a page of images, at most 1,000 of them. Returns how many images were
        met, where the lake counts them."""
        request = protocol.annotation_sets.UpdateAnnotations(
            meta_updates_array=json.dumps(list(images), allow_nan=False),
            session_id=session_id,
            total_image_count=total,
            uploaded_image_count=uploaded,
            operation_mode=mode,
        )
        answer = self._connection.call(
            routes.UPDATE_ANNOTATIONS,
            parts={"operation_id": operation_id},
            query={"isNormalized": str(normalized)},
            body=request.to_wire(),
        )
        return answer.updated(len(images)) if answer else None

    def delete_annotations(self, collection_id: str, operation_id: str, session_id: str) -> None:
        """Remove an operation's sets from a whole collection, whoever's files they are on."""
        self._connection.call(
            routes.DELETE_ANNOTATIONS,
            query={"collectionId": collection_id, "operationId": operation_id},
            body={"sessionId": session_id},
        )

    def download_annotations(
        self,
        collection_id: str,
        *,
        page: int,
        page_size: int = 250,
        operations: Sequence[str] = (),
        annotation_kind: str = "all",
        session_id: str = "",
    ) -> DownloadPage | None:
        """One page of a collection's files with their annotations; those of all asked operations are merged.

        `annotation_kind` has no effect where operations are named (section 2.7 of the vendor's page), so it is not sent
        with them: a lake that takes it for a second condition would answer with fewer annotations.
        """
        answer = self._connection.call(
            routes.DOWNLOAD_ANNOTATIONS,
            parts={"collection_id": collection_id},
            query={
                "pageNo": str(page),
                "pageSize": str(page_size),
                "operationIdList": json.dumps(list(operations)),
                "annotationType": "all" if operations else annotation_kind,
                "statusList": "[]",
                "projectIdList": "null",
                "sessionId": session_id,
            },
        )
        return answer.data if answer else None

    def attach_model_runs(self, project_id: str, operations: Sequence[str]) -> None:
        """Attach the machine annotations of some operations to a project of the annotation studio.

        Raises StudioMissing where the lake has no studio, or not this project.
        """
        request = protocol.annotation_sets.AttachModelRuns(project_id=project_id, operation_id_array=list(operations))
        try:
            self._connection.call(routes.ATTACH_MODEL_RUNS, body=request.to_wire())
        except LakeRefused as refusal:
            if refusal.status != 404:
                raise
            told = f" ({refusal.message})" if refusal.explained else ""
            raise StudioMissing(
                f"the lake has no annotation studio, or no project '{project_id}' in it: it answered 404{told}",
                status=404,
                where=f"{self.address.url}{routes.STUDIO_BASE}",
                remedy="Check the project's id. Without a studio, remove 'destination_project_id'.",
            ) from None

    # Trash.

    def select_items(self, request: SelectItems) -> str:
        """Select items and return the selection's tag. A refusal is LakeRefused with the lake's warning."""
        tag = self._must(routes.SELECT_ITEMS, body=self._selection_body(request)).selection_tag
        if not tag:
            raise LakeAnswerInvalid("the lake gives no selection", where=routes.SELECT_ITEMS.path)
        return tag

    def trash_items(self, selection_tag: str) -> str:
        """Put a selection into the trash and return the lake's message, which counts."""
        answer = self._connection.call(
            routes.TRASH_ITEMS, body=protocol.trash.TrashItems(selection_id=selection_tag).to_wire()
        )
        return answer.message if answer else ""

    # Answers.

    def _must(self, route: routes.Route[AnswerT], **call: Any) -> AnswerT:
        answer = self._connection.call(route, **call)
        if answer is None:
            raise LakeAnswerInvalid("the lake's answer is empty", where=f"{route.method} {route.path}")
        return answer

    def _if_there(self, route: routes.Route[AnswerT], **call: Any) -> AnswerT | None:
        try:
            return self._connection.call(route, **call)
        except LakeRefused as refusal:
            if refusal.status in NOTHING_THERE:
                return None
            raise

    def _validate(self, route: routes.Route[ValidateAnswer], request: ValidateTags | ValidateFields) -> Validation:
        try:
            answer = self._connection.call(route, body=request.to_wire())
        except LakeRefused as refusal:
            if refusal.status in NO_SUCH_CALL:
                # The call only protects; a lake that does not have it takes what is sent, or refuses that.
                return Validation()
            if refusal.status in OBJECTIONS:
                return Validation(refusal.message)
            raise
        return Validation(renames=answer.renames() if answer else {})

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

    def _count_body(self, request: CountItems) -> dict[str, Any]:
        return {**self._selection_body(request), "sortBy": {}}

    def _selection_body(self, request: CountItems | SelectItems) -> dict[str, Any]:
        """The request as its generation knows it: keywords and categories came with the third."""
        body = request.to_wire()
        if self.address.generation is Generation.TWO:
            for field in ("keywords", "categories"):
                del body["filterData"][field]
        return body
