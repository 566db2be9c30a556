"""Which actions need approval: those that trash, replace or remove something, or overwrite what another client wrote.

Owns: the list. Must not: ask for approval (`cli`) or stop a run (`project`).
"""

from __future__ import annotations

from metalake_sync.core.actions import (
    Action,
    Annotate,
    RemoveAnnotations,
    ReplaceFile,
    TrashCollection,
    TrashFile,
    TrashMatched,
    UpdateFileMetadata,
    UpdateHead,
)
from metalake_sync.core.unmanaged_files import AnnotateEntry, ClearEntry, DescribeEntry

_ALWAYS = (TrashFile, TrashMatched, TrashCollection, ReplaceFile, RemoveAnnotations, ClearEntry)
_WHERE_OTHERS_WROTE = (Annotate, AnnotateEntry, UpdateFileMetadata, UpdateHead, DescribeEntry)


def needs_approval(action: Action) -> bool:
    """Whether an apply may do the action only after somebody approved the plan."""
    return isinstance(action, _ALWAYS) or (isinstance(action, _WHERE_OTHERS_WROTE) and action.overwrites)
