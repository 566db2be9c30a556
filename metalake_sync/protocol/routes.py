"""Every call of the protocol: method, path, base path per generation, effect, and the type of its answer.

Must not: import pydantic, because a plan without a lake needs the generations and no message.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar
from urllib.parse import quote

from metalake_sync import protocol
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from pydantic import BaseModel


class Generation(enum.IntEnum):
    """The generation of the protocol that a lake uses.

    The generation determines the base path of every call, but not the form of an answer: intermediate lakes exist, so
    the client accepts both forms of every answer from both generations. Source: `layernext` 2.3.4 (2) and
    `layernext-beta` 3.28.14 (3).
    """

    TWO = 2
    THREE = 3

    @property
    def other(self) -> Generation:
        return Generation.THREE if self is Generation.TWO else Generation.TWO


BASE_PATHS = {Generation.TWO: "/datalake", Generation.THREE: ""}
"""The part between the lake's URL and the path of a route."""

GENERATION_2_SUFFIX = BASE_PATHS[Generation.TWO]
"""Accepted, and ignored, at the end of the lake's URL in a manifest."""


AnswerT = TypeVar("AnswerT", bound="BaseModel")


class Effect(enum.Enum):
    """Whether a call changes the lake, now or later (WRITES), or not (READS)."""

    READS = "reads"
    WRITES = "writes"


@dataclass(frozen=True, slots=True)
class Route(Generic[AnswerT]):
    """One call. An answer with status 204 has no body."""

    method: Literal["GET", "POST"]
    path: str
    """Starts with `/api`. May contain `{names}` of parts."""
    effect: Effect
    answer_type: Callable[[], type[AnswerT]]
    """Returns the message type of the answer. A function, so that the messages load on first use."""
    bases: Mapping[Generation, str] = field(hash=False)
    """Generation → the part between the lake's URL and the path. Generations without the call are absent."""
    either_base: bool = False
    """Some lakes serve this call only under the other generation's base. Source: `layernext-beta` 3.28.14 requests
    annotations under `/datalake`, which the nginx of generation 3 does not route."""

    @property
    def answer(self) -> type[AnswerT]:
        return self.answer_type()

    def at(self, generation: Generation, **parts: str) -> str:
        """Return the path below the lake's URL with its parts filled in, each fully percent-encoded."""
        return self.bases[generation] + self.path.format(
            **{name: quote(value, safe="") for name, value in parts.items()}
        )

    def templates(self, generation: Generation) -> tuple[str, ...]:
        """Return the path templates under which a lake of this generation serves the call."""
        if generation not in self.bases:
            return ()
        bases = [self.bases[generation]]
        if self.either_base:
            bases.append(self.bases[generation.other])
        return tuple(base + self.path for base in bases)


def _base_of(generation: Generation) -> Mapping[Generation, str]:
    """The bases of a call that only one generation has."""
    return {generation: BASE_PATHS[generation]}


def _reads(
    method: Literal["GET", "POST"], path: str, answer_type: Callable[[], type[AnswerT]], *, either_base: bool = False
) -> Route[AnswerT]:
    return Route(method, path, Effect.READS, answer_type, BASE_PATHS, either_base)


def _writes(
    method: Literal["GET", "POST"],
    path: str,
    answer_type: Callable[[], type[AnswerT]],
    *,
    either_base: bool = False,
) -> Route[AnswerT]:
    return Route(method, path, Effect.WRITES, answer_type, BASE_PATHS, either_base)


COMPATIBILITY = Route(
    "GET",
    "/api/client/sdk/compatibility/{version}",
    Effect.READS,
    lambda: protocol.wire.CompatibilityAnswer,
    _base_of(Generation.TWO),
)
"""The client of generation 3 does not make this call, so a lake of that generation may lack it."""

SYSTEM_DETAILS = _reads("GET", "/api/client/getDetails/system", lambda: protocol.wire.AnyAnswer)
JOB_STATUS = _reads("GET", "/api/client/jobs/{job_id}/getStatus", lambda: protocol.uploads.JobStatusAnswer)
UPDATE_JOB = _writes("POST", "/api/job/updateJob/basicAuthRequest", lambda: protocol.wire.AnyAnswer, either_base=True)

OPEN_UPLOAD = _writes("POST", "/api/client/uploadMetadataInCollection", lambda: protocol.uploads.OpenUploadAnswer)
BEGIN_FILE = _writes(
    "POST", "/api/client/fileUpload/initializeMultipartUpload", lambda: protocol.uploads.BeginFileAnswer
)
SIGN_PARTS = _writes(
    "POST", "/api/client/fileUpload/getMultipartPreSignedUrls", lambda: protocol.uploads.SignPartsAnswer
)
FINALIZE_FILE = _writes("POST", "/api/client/fileUpload/finalizeMultipartUpload", lambda: protocol.wire.SimpleAnswer)
COMPLETE_UPLOAD = _writes(
    "GET", "/api/client/collectionUploadingStatus/{upload_id}/complete", lambda: protocol.uploads.CompleteUploadAnswer
)
UPLOAD_PROGRESS = _reads("GET", "/api/client/collection/getuploadProgress", lambda: protocol.wire.AnyAnswer)

LIST_LABELS = _reads("GET", "/api/client/labels/list", lambda: protocol.annotation_sets.LabelList)
LIST_LABEL_GROUPS = _reads("GET", "/api/client/label_groups/list", lambda: protocol.wire.AnyAnswer)
LABEL_REFERENCES = _writes(
    "POST", "/api/client/system/label/references", lambda: protocol.annotation_sets.LabelReferencesAnswer
)

CREATE_COLLECTION = _writes("POST", "/api/client/metadata/collection/create", lambda: protocol.items.CollectionIdAnswer)
COLLECTION_BY_NAME = _reads(
    "POST", "/api/client/metadata/getCollectionIdByName", lambda: protocol.items.CollectionIdAnswer
)
OBJECT_TYPE = _reads("GET", "/api/client/{object_id}/getObjectTypeById", lambda: protocol.items.ObjectTypeAnswer)
COLLECTION_DETAILS = _reads("POST", "/api/client/metadata/getCollectionDetails", lambda: protocol.items.DetailsAnswer)
ITEM_DETAILS = _reads("POST", "/api/client/metadata/getItemDetails", lambda: protocol.items.DetailsAnswer)
LIST_ITEMS = _reads("POST", "/api/client/explorer/objects/list", lambda: protocol.items.ItemPage)
COUNT_ITEMS = _reads("POST", "/api/client/explorer/objects/count", lambda: protocol.items.CountAnswer)
LIST_COLLECTION_ITEMS = _reads(
    "POST", "/api/client/explorer/{collection_id}/objects/list", lambda: protocol.items.ItemPage
)
COUNT_COLLECTION_ITEMS = _reads(
    "POST", "/api/client/explorer/{collection_id}/objects/count", lambda: protocol.items.CountAnswer
)
DOWNLOAD_URL = _reads("GET", "/api/client/downloadUrl", lambda: protocol.items.DownloadUrlAnswer)

VALIDATE_TAGS = _reads("POST", "/api/client/metadata/validateTags", lambda: protocol.items.ValidateAnswer)
VALIDATE_FIELDS = _reads("POST", "/api/client/metadata/validateMetaFields", lambda: protocol.items.ValidateAnswer)
METADATA_BY_JSON = _writes("POST", "/api/client/metadata/uploadMetadataByJson", lambda: protocol.wire.SimpleAnswer)
METADATA_BY_OBJECT = _writes(
    "POST", "/api/client/metadata/uploadMetadataByMetaObject", lambda: protocol.wire.SimpleAnswer
)

UPDATE_ANNOTATIONS = _writes(
    "POST", "/api/metadata/operationdata/{operation_id}/update", lambda: protocol.wire.SimpleAnswer
)
DELETE_ANNOTATIONS = _writes("GET", "/api/client/collection/deleteAnnotation", lambda: protocol.wire.SimpleAnswer)
DOWNLOAD_ANNOTATIONS = _reads(
    "GET",
    "/api/client/getAnnotations/{collection_id}/collection",
    lambda: protocol.annotation_sets.DownloadAnswer,
    either_base=True,
)

SELECT_ITEMS = _writes("POST", "/api/client/query/getSelectionId", lambda: protocol.items.SelectionAnswer)
CREATE_VIRTUAL_COLLECTION = Route(
    "POST",
    "/api/client/vCollection/create",
    Effect.WRITES,
    lambda: protocol.items.CollectionIdAnswer,
    _base_of(Generation.THREE),
)
TRASH_ITEMS = _writes("POST", "/api/client/file/trash", lambda: protocol.items.TrashAnswer)

STUDIO_BASE = "/studio"
"""The annotation studio is a separate service. A deployment may lack it: the vendor's nginx stopped routing it in
2024-08."""

ATTACH_MODEL_RUNS = Route(
    "POST",
    "/api/client/projects/modelRun/attach",
    Effect.WRITES,
    lambda: protocol.wire.SimpleAnswer,
    dict.fromkeys(Generation, STUDIO_BASE),
)
