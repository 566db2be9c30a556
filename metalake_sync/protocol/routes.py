"""Every call of the protocol, declared once: method, path, what it does to the lake, and the shape of its answer."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from metalake_sync.protocol import annotation_sets, items, system, trash, uploads
from metalake_sync.protocol.wire import BASE_PATH, WireRoot

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class Effect(enum.Enum):
    """READS leaves the lake as it is. WRITES changes it, or begins something that will."""

    READS = "reads"
    WRITES = "writes"


class ItemPage(WireRoot[list[items.ListedItem]]):
    """One page of a list."""


class LabelList(WireRoot[list[annotation_sets.ListedLabel]]):
    """The labels that the lake knows."""


class AnyAnswer(WireRoot[object]):
    """An answer whose shape nobody outside the lake knows."""


@dataclass(frozen=True, slots=True)
class Route(Generic[AnswerT]):
    """One call. `path` hangs from `/datalake` and may hold `{names}` to be filled. Answers of 204 have no body."""

    method: Literal["GET", "POST"]
    path: str
    effect: Effect
    answer: type[AnswerT]

    def at(self, **parts: str) -> str:
        """Fill the path's names, each percent-encoded whole, and return it from the server's root."""
        return BASE_PATH + self.path.format(**{name: quote(value, safe="") for name, value in parts.items()})

    @property
    def template(self) -> str:
        """The path as a router takes it, from the server's root."""
        return BASE_PATH + self.path


def _reads(method: Literal["GET", "POST"], path: str, answer: type[AnswerT]) -> Route[AnswerT]:
    return Route(method, path, Effect.READS, answer)


def _writes(method: Literal["GET", "POST"], path: str, answer: type[AnswerT]) -> Route[AnswerT]:
    return Route(method, path, Effect.WRITES, answer)


COMPATIBILITY = _reads("GET", "/api/client/sdk/compatibility/{version}", system.CompatibilityAnswer)
SYSTEM_DETAILS = _reads("GET", "/api/client/getDetails/system", AnyAnswer)
JOB_STATUS = _reads("GET", "/api/client/jobs/{job_id}/getStatus", system.JobStatusAnswer)
UPDATE_JOB = _writes("POST", "/api/job/updateJob/basicAuthRequest", AnyAnswer)

OPEN_UPLOAD = _writes("POST", "/api/client/uploadMetadataInCollection", uploads.OpenUploadAnswer)
BEGIN_FILE = _writes("POST", "/api/client/fileUpload/initializeMultipartUpload", uploads.BeginFileAnswer)
SIGN_PARTS = _writes("POST", "/api/client/fileUpload/getMultipartPreSignedUrls", uploads.SignPartsAnswer)
FINALIZE_FILE = _writes("POST", "/api/client/fileUpload/finalizeMultipartUpload", system.SimpleAnswer)
COMPLETE_UPLOAD = _writes(
    "GET", "/api/client/collectionUploadingStatus/{upload_id}/complete", uploads.CompleteUploadAnswer
)
UPLOAD_PROGRESS = _reads("GET", "/api/client/collection/getuploadProgress", AnyAnswer)

LIST_LABELS = _reads("GET", "/api/client/labels/list", LabelList)
LIST_LABEL_GROUPS = _reads("GET", "/api/client/label_groups/list", AnyAnswer)
LABEL_REFERENCES = _writes("POST", "/api/client/system/label/references", annotation_sets.LabelReferencesAnswer)

CREATE_COLLECTION = _writes("POST", "/api/client/metadata/collection/create", items.CollectionIdAnswer)
COLLECTION_BY_NAME = _reads("POST", "/api/client/metadata/getCollectionIdByName", items.CollectionIdAnswer)
OBJECT_TYPE = _reads("GET", "/api/client/{object_id}/getObjectTypeById", items.ObjectTypeAnswer)
COLLECTION_DETAILS = _reads("POST", "/api/client/metadata/getCollectionDetails", items.DetailsAnswer)
ITEM_DETAILS = _reads("POST", "/api/client/metadata/getItemDetails", items.DetailsAnswer)
LIST_ITEMS = _reads("POST", "/api/client/explorer/objects/list", ItemPage)
COUNT_ITEMS = _reads("POST", "/api/client/explorer/objects/count", items.CountAnswer)
LIST_COLLECTION_ITEMS = _reads("POST", "/api/client/explorer/{collection_id}/objects/list", ItemPage)
COUNT_COLLECTION_ITEMS = _reads("POST", "/api/client/explorer/{collection_id}/objects/count", items.CountAnswer)
DOWNLOAD_URL = _reads("GET", "/api/client/downloadUrl", items.DownloadUrlAnswer)

VALIDATE_TAGS = _reads("POST", "/api/client/metadata/validateTags", system.SimpleAnswer)
VALIDATE_FIELDS = _reads("POST", "/api/client/metadata/validateMetaFields", system.SimpleAnswer)
METADATA_BY_JSON = _writes("POST", "/api/client/metadata/uploadMetadataByJson", system.SimpleAnswer)
METADATA_BY_OBJECT = _writes("POST", "/api/client/metadata/uploadMetadataByMetaObject", system.SimpleAnswer)

UPDATE_ANNOTATIONS = _writes("POST", "/api/metadata/operationdata/{operation_id}/update", system.SimpleAnswer)
DELETE_ANNOTATIONS = _writes("GET", "/api/client/collection/deleteAnnotation", system.SimpleAnswer)
DOWNLOAD_ANNOTATIONS = _reads(
    "GET", "/api/client/getAnnotations/{collection_id}/collection", annotation_sets.DownloadAnswer
)

SELECT_ITEMS = _writes("POST", "/api/client/query/getSelectionId", trash.SelectionAnswer)
TRASH_ITEMS = _writes("POST", "/api/client/file/trash", trash.TrashAnswer)
