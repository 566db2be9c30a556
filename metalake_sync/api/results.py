"""The results of the methods of `MetaLake`. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from metalake_sync.core.snapshots import MediaType
from metalake_sync.errors import ExitCode, SyncError, UsageError
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection."""

    id: str
    name: str
    type: MediaType
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemInfo:
    """An item of a list."""

    id: str
    name: str
    unique_name: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item of a call that failed."""

    name: str
    error: str
    """The whole message."""
    retryable: bool
    """Whether the same call may succeed later."""


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The result of an upload."""

    collection_id: str
    job_ids: tuple[str, ...]
    """Jobs of the lake, one for each upload session. Empty if nothing had to be sent."""
    uploaded: Mapping[str, str]
    """File name → unique name."""
    already_there: Mapping[str, str]
    """File name → unique name, of files that the lake has already."""
    annotated: int
    bytes_sent: int
    notes: tuple[str, ...]
    differing: tuple[str, ...] = ()
    """Files that were not sent because the lake has a file of the same name and another size."""

    @property
    def unique_name(self) -> str:
        """The unique name of the only file. Raises UsageError for another number of files."""
        names = list({**self.already_there, **self.uploaded}.values())
        if len(names) == 1:
            return names[0]
        if self.differing and not names:
            raise UsageError(
                f"the lake has another file named '{self.differing[0]}', so this one was not sent",
                remedy='Upload it with existing="replace", or under another name.',
            )
        raise UsageError(f"the upload has {len(names)} files, not one", remedy="Use 'uploaded' and 'already_there'.")


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """The result of a download."""

    folder: Path
    fetched: Mapping[str, Path]
    """Unique name → path of the file."""
    unchanged: int
    """How many files were in the folder already."""
    annotations: tuple[Path, ...]
    """The annotation files that were written."""
    bytes_received: int
    """Of all files, including transfers that were repeated."""
    notes: tuple[str, ...] = ()
    """What the format of the annotations can't hold."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The result of writing annotations or metadata."""

    written: int
    """How many entries matched a file."""
    unmatched: tuple[str, ...] = ()
    """Entries that match nothing in the lake."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""
    unconfirmed: int = 0
    """How many entries were sent and may have matched no file. The lake skips names that it does not have. It can't be
    searched for storage paths and names of a job, so only its own count shows how many matched, not which."""
    attached_to: str | None = None
    """The project that the model run was attached to, if one was named."""


@dataclass(frozen=True, slots=True)
class TrashResult:
    """The result of trashing items."""

    trashed: int
    """How many items. A whole collection counts as one."""
    failed: int
    message: str
    """The lake's message."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job of the lake."""

    id: str
    status: Literal["in_progress", "completed", "queued", "failed"]
    progress: float
    """0 to 100."""


@dataclass(frozen=True, slots=True)
class LabelInfo:
    """A label of the lake."""

    text: str
    reference: str
    """The lake's id of the label."""


@dataclass(frozen=True, slots=True)
class LabelGroupInfo:
    """A label group of the lake. `labels` are texts, if the lake returns them. `details` is the whole answer."""

    id: str
    name: str
    labels: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """The progress of an upload: 0 to 100, or None if the lake returns none. `details` is its whole answer."""

    progress: float | None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SystemCounts:
    """How many items the lake has, or None if it does not return a count. `details` is its whole answer."""

    images: int | None
    videos: int | None
    others: int | None
    details: Mapping[str, Any] = field(default_factory=dict)


class SomeFailed(SyncError):
    """The call finished, but some items failed. `failed` lists them; `result` is the result for the others."""

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, failed: tuple[FailedItem, ...], result: UploadResult | DownloadResult | WriteResult) -> None:
        first = f"{failed[0].name}: {failed[0].error}"
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        again = "call it again for the rest" if any(item.retryable for item in failed) else "fix the cause first"
        items = "1 item" if len(failed) == 1 else f"{len(failed)} items"
        super().__init__(f"{items} failed: {first}{more}", remedy=f"The other items are done; {again}.")
        self.failed = failed
        self.result = result
