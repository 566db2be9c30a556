"""The words by which actions are known in plans, events and history."""

from __future__ import annotations

from typing import assert_never

from metalake_sync.core.actions import (
    Action,
    AdoptFile,
    Annotate,
    AttachModelRun,
    CreateCollection,
    DownloadAnnotations,
    DownloadFile,
    RemoveAnnotations,
    ReplaceFile,
    TrashCollection,
    TrashFile,
    TrashMatched,
    UpdateFileMetadata,
    UpdateHead,
    UploadFile,
)
from metalake_sync.core.selection import WHOLE_LAKE
from metalake_sync.core.unmanaged_files import AnnotateEntry, ClearEntry, DescribeEntry


def action_name(action: Action) -> str:
    """The name of an action in the plan's JSON: one of the keys of its summary."""
    match action:
        case CreateCollection():
            return "create_collection"
        case UploadFile():
            return "upload"
        case ReplaceFile():
            return "replace"
        case AdoptFile():
            return "adopt"
        case UpdateHead() | UpdateFileMetadata() | DescribeEntry():
            return "update_metadata"
        case Annotate() | AnnotateEntry():
            return "annotate"
        case RemoveAnnotations() | ClearEntry():
            return "remove_annotations"
        case TrashFile() | TrashMatched() | TrashCollection():
            return "trash"
        case DownloadFile() | DownloadAnnotations():
            return "download"
        case AttachModelRun():
            return "attach_model_run"
        case _:
            assert_never(action)


def file_name(action: Action) -> str | None:
    """The file that an action is about, or None for the collection itself."""
    match action:
        case CreateCollection() | UpdateHead() | DownloadAnnotations() | AttachModelRun() | TrashCollection():
            return None
        case UploadFile() | ReplaceFile() | AdoptFile() | UpdateFileMetadata():
            return action.file.name
        case Annotate() | RemoveAnnotations() | AnnotateEntry() | ClearEntry() | DescribeEntry():
            return action.name
        case TrashFile():
            return action.recorded.name
        case TrashMatched() | DownloadFile():
            # In the whole lake only the unique name says which file is meant.
            return action.file.unique_name if action.collection.name == WHOLE_LAKE else action.file.name
        case _:
            assert_never(action)
