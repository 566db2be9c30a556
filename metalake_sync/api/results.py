"""What the methods of `MetaLake` return. Values only."""

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
    """A collection. `details`: the fields that were asked for and that it has."""

    id: str
    name: str
    type: MediaType
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemInfo:
    """An item of a list. `unique_name`: in the whole lake. `details`: the fields that were asked for, as far as it has
    them."""

    id: str
    name: str
    unique_name: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailedItem:
    """`error`: the whole sentence. `retryable`: the same call may succeed later."""

    name: str
    error: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What came of an upload. `job_ids`: the lake's jobs, one for each session; none if nothing had to be sent.
    `uploaded`, `already_there`: file name → unique name. `differing`: files that were not sent, because the lake has
    another one of the name, of another size. `notes`: what is worth knowing."""

    collection_id: str
    job_ids: tuple[str, ...]
    uploaded: Mapping[str, str]
    already_there: Mapping[str, str]
    annotated: int
    bytes_sent: int
    notes: tuple[str, ...]
    differing: tuple[str, ...] = ()

    @property
    def unique_name(self) -> str:
        """Of the only file of an upload of one. Raises UsageError if there are more, or none."""
        names = list({**self.already_there, **self.uploaded}.values())
        if len(names) == 1:
            return names[0]
        if self.differing and not names:
            raise UsageError(
                f"the lake has another file of the name '{self.differing[0]}', and this one was not sent",
                remedy='Upload it with existing="replace", or under another name.',
            )
        raise UsageError(
            f"the upload is of {len(names)} files, not of one", remedy="Look up 'uploaded' and 'already_there'."
        )


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What came of a download. `fetched`: files, by file name in the lake. `unchanged`: how many were right already.
    `annotations`: the files of annotations that were written anew. `bytes_received`: of files, also where a transfer
    was begun again. `notes`: what the format of the annotations does not hold."""

    folder: Path
    fetched: Mapping[str, Path]
    unchanged: int
    annotations: tuple[Path, ...]
    bytes_received: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What came of writing annotations or metadata. `written`: entries that met a file. `unmatched`: entries that name
    nothing in the lake. `notes`: what was left out, and why.

    `unconfirmed`: entries that were sent, and of which nobody can tell whether they met a file. A lake passes over
    names that it does not have; by storage path and by job it can't be asked for them, so only its own count tells how
    many they are, and not which."""

    written: int
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unconfirmed: int = 0
    attached_to: str | None = None
    """The project that the model run was attached to, if one was named."""


@dataclass(frozen=True, slots=True)
class TrashResult:
    """`message`: the lake's own words. A whole collection counts as one."""

    trashed: int
    failed: int
    message: str


@dataclass(frozen=True, slots=True)
class JobInfo:
    """`progress`: 0 to 100."""

    id: str
    status: Literal["in_progress", "completed", "queued", "failed"]
    progress: float


@dataclass(frozen=True, slots=True)
class LabelInfo:
    """`reference`: what the lake knows the label by."""

    text: str
    reference: str


@dataclass(frozen=True, slots=True)
class LabelGroupInfo:
    """`labels`: their texts, where the lake tells them. `details`: the lake's whole answer; its shape is its own."""

    id: str
    name: str
    labels: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """`progress`: 0 to 100, or None where the lake tells none. `details`: its whole answer."""

    progress: float | None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SystemCounts:
    """How many items the lake has; None where it does not tell. `details`: its whole answer."""

    images: int | None
    videos: int | None
    others: int | None
    details: Mapping[str, Any] = field(default_factory=dict)


class SomeFailed(SyncError):
    """The call finished, but some items failed. `failed` names each; `result` is what came of the others."""

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, failed: tuple[FailedItem, ...], result: UploadResult | DownloadResult | WriteResult) -> None:
        first = f"{failed[0].name}: {failed[0].error}"
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        again = "call it again for the rest" if any(item.retryable for item in failed) else "mend the cause first"
        items = "1 item" if len(failed) == 1 else f"{len(failed)} items"
        super().__init__(f"{items} failed: {first}{more}", remedy=f"What is done is done; {again}.")
        self.failed = failed
        self.result = result
