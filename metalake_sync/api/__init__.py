"""The Python API: `Project` for a manifest, and `MetaLake` for single calls to a lake.

Owns: names, types and results. Must not: transfer files itself; `engine` and `apply` do that.
"""

from __future__ import annotations

from metalake_sync.api.annotations import Annotations
from metalake_sync.api.files import AnnotationSource, Files
from metalake_sync.api.metadata import Metadata
from metalake_sync.api.project_values import ProjectEvent, ProjectPlan
from metalake_sync.api.projects import Project
from metalake_sync.api.results import (
    ApplyResult,
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
from metalake_sync.core.events import Progress
from metalake_sync.core.selection import ItemFilter, ItemSort
from metalake_sync.manifest import Manifest

__all__ = [
    "AnnotationSource",
    "ApplyResult",
    "CollectionInfo",
    "DownloadResult",
    "FailedItem",
    "ItemFilter",
    "ItemInfo",
    "ItemSort",
    "JobInfo",
    "LabelGroupInfo",
    "LabelInfo",
    "Manifest",
    "MetaLake",
    "Progress",
    "Project",
    "ProjectEvent",
    "ProjectPlan",
    "SomeFailed",
    "SystemCounts",
    "TrashResult",
    "UploadResult",
    "UploadStatus",
    "WriteResult",
]


class MetaLake(Files, Metadata, Annotations):
    """A lake. Safe to use from one thread at a time; close it, or use it as a context manager.

    `MetaLake("https://api.acme.layernext.ai", api_key, secret)`, or `MetaLake("embedded:.metalake")` for the embedded
    lake, which runs until `close`. `parallelism`: how many files are transferred at once; None adapts it.
    `bytes_per_second`: None for no limit. `retry_for_s`: seconds to keep retrying an unreachable lake.

    Every method raises LakeUnreachable, CredentialsRejected, LakeRejected and LakeAnswerInvalid in addition to the
    errors in its own documentation. All of them are SyncErrors (`metalake_sync.errors`).
    """
