"""The client of a lake: every call of the protocol as one method, with typed arguments, answers and errors.

Owns: the calls about upload sessions, jobs, labels, annotations and the annotation studio. Those about collections,
items and metadata are in `item_calls`. Must not: batch, decide or remember anything. Safe to use from several threads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from metalake_sync import protocol
from metalake_sync.errors import LakeAnswerInvalid, LakeRejected, StorageUnknown, StudioMissing
from metalake_sync.protocol import routes
from metalake_sync.protocol.wire import StorageKind
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.answers import EMPTY
from metalake_sync.remote.connection import Connection
from metalake_sync.remote.item_calls import ItemCalls, MetadataCalls
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import Clock, RetryPolicy

if TYPE_CHECKING:
    from metalake_sync.protocol.annotation_sets import DownloadPage, LabelReference, ListedLabel
    from metalake_sync.protocol.uploads import (
        BeginFile,
        BeginFileAnswer,
        FinalizeFile,
        JobReport,
        JobStatusAnswer,
        OpenUpload,
        OpenUploadAnswer,
        SignedPart,
        SignParts,
    )
    from metalake_sync.protocol.wire import OperationMode
    from metalake_sync.remote.generation_detection import Greeting


class LakeClient(ItemCalls, MetadataCalls):
    """A client of one lake. Close it, or use it as a context manager.

    Every method may raise LakeUnreachable, CredentialsRejected, LakeRejected and LakeAnswerInvalid.
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
        """The result of the last `greet`."""

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
        """Call → how its answers deviated from the known form, for the calls that were made."""
        return self._connection.differences

    @property
    def lake_date(self) -> str | None:
        """The `Date` header of the last answer, or None."""
        return self._connection.lake_date

    def greet(self, *, pinned: bool = False, ignore_compatibility: bool = False) -> Greeting:
        """Detect the generation of the protocol that the lake speaks, and use it from then on.

        This is also the first check of address and credentials. It takes one request, and another one if the generation
        is not the assumed one. `pinned`: try only the generation of the address. Raises what
        `generation_detection.greet` raises.
        """
        from metalake_sync.remote.generation_detection import greet

        self.greeting = greet(self._connection, pinned=pinned, ignore_compatibility=ignore_compatibility)
        return self.greeting

    def system_details(self) -> object:
        """Return the number of images, videos and other files in the lake. The form is not specified."""
        return self._require(routes.SYSTEM_DETAILS).root

    # Upload sessions and jobs.

    def open_upload(self, request: OpenUpload) -> OpenUploadAnswer:
        """Open an upload session. Creates the collection if it does not exist.

        Raises StorageUnknown if metalake-sync does not support the lake's object store.
        """
        answer = self._require(routes.OPEN_UPLOAD, body=request.to_wire())
        try:
            StorageKind(answer.storage_type)
        except ValueError:
            raise StorageUnknown(
                f"the lake keeps files in a store of kind '{answer.storage_type[:40]}', and metalake-sync supports only"
                " Amazon S3, Google Cloud Storage and Azure Blob Storage",
                where=self._connection.address.url,
                remedy="Ask the lake's operator for an object store of one of these kinds. A lake names its store only"
                " when it opens an upload, so it may have created the collection already, without files.",
            ) from None
        return answer

    def begin_file(self, request: BeginFile) -> BeginFileAnswer:
        return self._require(routes.BEGIN_FILE, body=request.to_wire())

    def sign_parts(self, request: SignParts) -> list[SignedPart]:
        return self._require(routes.SIGN_PARTS, body=request.to_wire()).parts

    def finalize_file(self, request: FinalizeFile) -> None:
        self._connection.call(routes.FINALIZE_FILE, body=request.to_wire())

    def complete_upload(self, upload_id: str, return_unique_names: bool) -> list[str]:
        """Complete a session; the lake's job continues. Returns the unique names if `return_unique_names`."""
        answer = self._connection.call(
            routes.COMPLETE_UPLOAD,
            parts={"upload_id": upload_id},
            query={"isReturnedUniqueName": str(return_unique_names)},
        )
        return answer.uploaded_file_list if answer else []

    def upload_progress(self, collection_name: str) -> object:
        """Return the progress of a collection's upload. The form is not specified."""
        answer = self._connection.call(routes.UPLOAD_PROGRESS, query={"collectionName": collection_name})
        return answer.root if answer else None

    def job_status(self, job_id: str) -> JobStatusAnswer:
        return self._require(routes.JOB_STATUS, parts={"job_id": job_id})

    def update_job(self, report: JobReport) -> None:
        self._connection.call(routes.UPDATE_JOB, body=report.to_wire())

    # Labels, annotation sets and model runs.

    def list_labels(self, group_id: str | None = None) -> list[ListedLabel]:
        """Return the lake's labels. Raises LakeAnswerInvalid if the answer has rows and none of them is a label."""
        query = {"groupId": group_id} if group_id else None
        call = f"GET {routes.LIST_LABELS.path}"
        differences: list[str] = []
        answer = self._connection.call(routes.LIST_LABELS, query=query, differs=differences.append)
        if answer is None:
            if EMPTY in differences:
                raise LakeAnswerInvalid(EMPTY, where=call)
            return []
        labels = answer.labels()
        if answer.unreadable:
            rows = f"{answer.unreadable} of {len(answer.root)} rows do not contain a label's text"
            if not labels:
                raise LakeAnswerInvalid(rows, where=call)
            self._connection.differences.setdefault(call, rows)
        return labels

    def list_label_groups(self) -> object:
        """Return the label groups. The form is not specified."""
        answer = self._connection.call(routes.LIST_LABEL_GROUPS)
        return answer.root if answer else []

    def label_references(self, labels: Mapping[str, Mapping[str, Sequence[Any]]]) -> dict[str, LabelReference]:
        """Return references of labels, attributes and values. The lake creates the missing ones."""
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
        """Replace the annotation sets of an operation for a page of at most 1,000 images.

        Returns how many images the lake found, if it says so.
        """
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
        """Remove an operation's annotation sets from all files of a collection."""
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
        """Return one page of a collection's files with the merged annotations of the given operations.

        `annotation_kind` has no effect together with operations (section 2.7 of the vendor's page). It is not sent with
        them, because a lake that treats it as a second condition would return fewer annotations.
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
        """Attach the machine annotations of operations to a project of the annotation studio.

        Raises StudioMissing if the lake has no studio, or no such project.
        """
        request = protocol.annotation_sets.AttachModelRuns(project_id=project_id, operation_id_array=list(operations))
        try:
            self._connection.call(routes.ATTACH_MODEL_RUNS, body=request.to_wire())
        except LakeRejected as rejection:
            if rejection.status != 404:
                raise
            reason = f" ({rejection.message})" if rejection.explained else ""
            raise StudioMissing(
                f"the lake has no annotation studio, or no project '{project_id}' in it: it answered 404{reason}",
                status=404,
                where=f"{self._connection.address.url}{routes.STUDIO_BASE}",
                remedy="Check the project's id. Without a studio, remove 'destination_project_id'.",
            ) from None
