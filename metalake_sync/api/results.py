"""The results of the methods of `MetaLake`, and how they are read from answers whose form is not documented.

Owns: which keys of such an answer may hold a value. Several forms are accepted, and the whole answer is kept. Must not:
send calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Literal, TypeGuard

from metalake_sync.core.snapshots import MediaType
from metalake_sync.core.summary import Summary
from metalake_sync.errors import ExitCode, SyncError, UsageError
from metalake_sync.lazy_dataclass import dataclass

_GROUP_IDS = ("id", "_id", "groupId", "key")

_GROUP_NAMES = ("name", "groupName", "labelGroupName")

_GROUP_LABELS = ("labels", "labelKeys", "labelList")

_LABEL_TEXTS = ("labelText", "name", "label", "key")


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
class ApplyResult:
    """What a run did."""

    run_id: str
    done: Summary
    """The number of actions by name."""
    failed: tuple[FailedItem, ...]
    bytes_sent: int
    """Of all files that the lake's store confirmed."""
    requests: int
    """The number of calls of the lake and the object store."""
    writes: int
    """The number of calls that may have changed something. 0: the lake matched the manifest."""
    seconds: float
    bytes_received: int = 0
    """Of all files, including transfers that were repeated."""
    unreadable: int = 0
    """The number of local files, folders and sources that could not be read."""

    @property
    def ok(self) -> bool:
        """Whether everything was done."""
        return not self.failed and not self.unreadable

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)


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

    def __init__(
        self, failed: tuple[FailedItem, ...], result: UploadResult | DownloadResult | WriteResult | ApplyResult
    ) -> None:
        first = f"{failed[0].name}: {failed[0].error}"
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        again = "call it again for the rest" if any(item.retryable for item in failed) else "fix the cause first"
        items = "1 item" if len(failed) == 1 else f"{len(failed)} items"
        super().__init__(f"{items} failed: {first}{more}", remedy=f"The other items are done; {again}.")
        self.failed = failed
        self.result = result


def upload_status(answer: object) -> UploadStatus:
    """Read `{"progress": 40.0}` or a number."""
    details = _details(answer)
    progress = details.get("progress", answer)
    return UploadStatus(float(progress) if _is_number(progress) else None, details)


def system_counts(answer: object) -> SystemCounts:
    """Read `{"images": {"count": 3}}`, `{"images": 3}` or `{"imageCount": 3}`."""
    details = _details(answer)

    def count(kind: str) -> int | None:
        for key in (f"{kind}s", kind, f"{kind}Count", f"{kind}sCount"):
            value = details.get(key)
            value = value.get("count") if isinstance(value, Mapping) else value
            if _is_number(value):
                return int(value)
        return None

    return SystemCounts(count("image"), count("video"), count("other"), details)


def label_groups(answer: object) -> list[LabelGroupInfo]:
    """Read a list of objects, or an object with such a list under any key."""
    if isinstance(answer, Mapping):
        answer = next((value for value in answer.values() if isinstance(value, list)), [])
    groups = answer if isinstance(answer, list) else []
    return [_group(group) for group in groups if isinstance(group, Mapping)]


def _group(group: Mapping[str, Any]) -> LabelGroupInfo:
    labels = _first(group, _GROUP_LABELS)
    texts = [
        _first(label, _LABEL_TEXTS) if isinstance(label, Mapping) else label
        for label in (labels if isinstance(labels, list) else [])
    ]
    known = tuple(str(text) for text in texts if text is not None)
    return LabelGroupInfo(_text(_first(group, _GROUP_IDS)), _text(_first(group, _GROUP_NAMES)), known, group)


def _first(values: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((values[key] for key in keys if values.get(key) is not None), None)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _details(answer: object) -> Mapping[str, Any]:
    return {key: value for key, value in answer.items() if key != "isSuccess"} if isinstance(answer, dict) else {}


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
