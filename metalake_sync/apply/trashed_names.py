"""Uploads under a name that is in the lake's trash, which the lake may reject.

Owns: which uploads these are, and which errors mean that the lake rejects the name. Must not: send anything.
"""

from __future__ import annotations

from metalake_sync.core.actions import Reason, ReplaceFile, UploadFile
from metalake_sync.errors import LakeRejected, SyncError

UploadAction = UploadFile | ReplaceFile


class NameTaken(LakeRejected):
    """The lake has a file of this name, possibly in its trash, and rejects another one."""


NAME_REFUSED = frozenset({406, 409})
"""The statuses with which a lake may reject a name that is in its trash."""


def sends_used_name(action: UploadAction) -> bool:
    """Whether an upload uses a name that was trashed before this run."""
    return isinstance(action, UploadFile) and action.reason in (Reason.MISSING_IN_LAKE, Reason.CONTENT_CHANGED)


def sends_trashed_name(action: UploadAction) -> bool:
    """Whether an upload uses a name that is in the trash when the upload starts."""
    return isinstance(action, ReplaceFile) or sends_used_name(action)


def refuses_name(error: SyncError) -> bool:
    """Whether the lake's answer to the upload of a trashed name may mean that it rejects the name."""
    return isinstance(error, NameTaken) or (isinstance(error, LakeRejected) and error.status in NAME_REFUSED)


def rejected_name_error(error: SyncError) -> LakeRejected:
    """The error for a file whose trashed name the lake rejects. It quotes the message of the lake."""
    message = "" if isinstance(error, NameTaken) else f" ({error.message})"
    return LakeRejected(
        f"the lake rejects the name of a trashed file{message}",
        status=error.status if isinstance(error, LakeRejected) else 200,
        remedy="Give the local file another name, or empty the lake's trash in the web page and apply again.",
    )
