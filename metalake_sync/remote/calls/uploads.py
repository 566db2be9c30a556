"""Calls of upload sessions, and of the jobs that follow them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalake_sync.errors import StorageUnknown
from metalake_sync.protocol import routes
from metalake_sync.protocol.wire import StorageKind
from metalake_sync.remote.calls.base import Calls

if TYPE_CHECKING:
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


class UploadCalls(Calls):
    """Upload sessions and jobs."""

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
                remedy="Ask the lake's operator for an object store of one of these kinds.",
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
