"""Calls about labels, annotation sets and model runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metalake_sync import protocol
from metalake_sync.errors import LakeAnswerInvalid, LakeRefused, StudioMissing
from metalake_sync.protocol import routes
from metalake_sync.remote.answers import EMPTY
from metalake_sync.remote.calls.base import Calls

if TYPE_CHECKING:
    from metalake_sync.protocol.annotation_sets import DownloadPage, LabelReference, ListedLabel
    from metalake_sync.protocol.wire import OperationMode


class AnnotationCalls(Calls):
    """Labels, annotation sets and model runs."""

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
        except LakeRefused as refusal:
            if refusal.status != 404:
                raise
            reason = f" ({refusal.message})" if refusal.explained else ""
            raise StudioMissing(
                f"the lake has no annotation studio, or no project '{project_id}' in it: it answered 404{reason}",
                status=404,
                where=f"{self._connection.address.url}{routes.STUDIO_BASE}",
                remedy="Check the project's id. Without a studio, remove 'destination_project_id'.",
            ) from None
