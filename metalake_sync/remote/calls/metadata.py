"""Calls that validate and write metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from metalake_sync import protocol
from metalake_sync.errors import LakeRefused
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol import routes
from metalake_sync.remote.calls.base import Calls

if TYPE_CHECKING:
    from metalake_sync.protocol.items import FileMetadata, ValidateAnswer, ValidateFields, ValidateTags
    from metalake_sync.protocol.wire import MediaKind

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
        return self._validate(routes.VALIDATE_TAGS, protocol.items.ValidateTags(tags=list(tags)))

    def validate_fields(self, fields: Sequence[str]) -> Validation:
        """Ask the lake whether it accepts metadata fields."""
        return self._validate(routes.VALIDATE_FIELDS, protocol.items.ValidateFields(fields=list(fields)))

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
        request = protocol.items.UploadMetadataByJson(
            metadata=list(entries), collection_id=collection_id, job_id=job_id, bucket_name=bucket_name
        )
        answer = self._connection.call(routes.METADATA_BY_JSON, body=request.to_wire())
        return answer.updated(len(entries)) if answer else None

    def metadata_by_object(
        self, name: str, kind: MediaKind, metadata: Mapping[str, Any], apply_to_all_files: bool
    ) -> None:
        """Write the metadata of a collection and, if `apply_to_all_files`, of every file in it."""
        request = protocol.items.UploadMetadataByObject(
            collection_name=name, object_type=kind, metadata=dict(metadata), is_apply_to_all_files=apply_to_all_files
        )
        self._connection.call(routes.METADATA_BY_OBJECT, body=request.to_wire())

    def _validate(self, route: routes.Route[ValidateAnswer], request: ValidateTags | ValidateFields) -> Validation:
        try:
            answer = self._connection.call(route, body=request.to_wire())
        except LakeRefused as refusal:
            if refusal.status in NO_CALL_STATUSES:
                # A lake without this call checks the metadata when it is written.
                return Validation()
            if refusal.status in OBJECTION_STATUSES:
                return Validation(refusal.message)
            raise
        return Validation(renames=answer.renames() if answer else {})
