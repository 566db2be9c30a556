"""The Python API: a lake as one object, each function of the vendor's client as one method.

Owns: names, types and results. Must not: send anything by ways of its own; files go through the engine of `apply`.
"""

from __future__ import annotations

from metalake_sync.api.annotations import Annotations
from metalake_sync.api.files import AnnotationSource, Files
from metalake_sync.api.metadata import Metadata
from metalake_sync.api.results import (
    CollectionInfo,
    DownloadResult,
    FailedItem,
    ItemInfo,
    JobInfo,
    LabelGroupInfo,
    LabelInfo,
    SomeFailed,
    SystemCounts,
    TrashResult,
    UploadResult,
    UploadStatus,
    WriteResult,
)
from metalake_sync.api.trash import Trash
from metalake_sync.core.events import Progress
from metalake_sync.core.selection import ItemFilter, ItemSort

__all__ = [
    "AnnotationSource",
    "CollectionInfo",
    "DownloadResult",
    "FailedItem",
    "ItemFilter",
    "ItemInfo",
    "ItemSort",
    "JobInfo",
    "LabelGroupInfo",
    "LabelInfo",
    "MetaLake",
    "Progress",
    "SomeFailed",
    "SystemCounts",
    "TrashResult",
    "UploadResult",
    "UploadStatus",
    "WriteResult",
]


class MetaLake(Files, Metadata, Annotations, Trash):
    """A lake. Safe to use from one thread at a time; close it, or use it as a context manager.

    `MetaLake("https://api.acme.layernext.ai", api_key, secret)`, or `MetaLake("embedded:.metalake")` for the lake that
    is built in, which runs until `close`. `parallelism`: the most files on the wire at once; None lets uploads
    find it. `bytes_per_second`: None is as fast as it goes. `retry_for_s`: patience with a lake that is away, in
    seconds.

    Every method raises LakeUnreachable, CredentialsRefused, LakeRefused and LakeAnswerInvalid (`metalake_sync.errors`,
    all of them SyncErrors) besides what it says itself.
    """
