"""Reads details of single files: sizes, dates, metadata, Tags and resolutions. One call per file, many at a time.

A listing does not have these, so the planner asks only where a decision depends on them. The form of dates is not
specified, because the vendor's clients do not read them. An unreadable date becomes an empty text, which comparisons
ignore. Must not: list (`listings`), or guess a date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from metalake_sync.core.metadata import TAGS, in_our_spelling
from metalake_sync.core.snapshots import RemoteFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.wire import number_in
from metalake_sync.remote.client import LakeClient

_LARGEST_SECONDS = 100_000_000_000
"""Larger numbers are milliseconds."""


def sortable_date(value: object) -> str:
    """Return a date as text that sorts by time, such as 2026-01-31T12:00:00.000Z, or '' if it is unreadable.

    Accepts ISO 8601, seconds and milliseconds since 1970 as numbers or digits, and {"$date": …} with any of these. A
    date without a time zone is UTC.
    """
    try:
        moment = _moment(value)
    except (ValueError, OverflowError, OSError):
        return ""
    if moment is None:
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(value: object) -> datetime | None:
    if isinstance(value, dict):
        inner = value.get("$date", value.get("$numberLong"))
        return _moment(inner) if inner is not None else None
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text.isdecimal():
            moment = datetime.fromisoformat(text)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        value = int(text)
    if not isinstance(value, int | float):
        return None
    return datetime.fromtimestamp(value / 1000 if abs(value) > _LARGEST_SECONDS else value, UTC)


KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

SIZE = "fileSize"


@dataclass(frozen=True, slots=True)
class RemoteDetails:
    """The details of one file in the lake."""

    lake_id: str
    size_bytes: int | None
    updated_at: str
    """In the form of `sortable_date`."""
    metadata: Mapping[str, Any]
    """The requested fields that the file has."""


def size_in(details: Mapping[str, Any]) -> int | None:
    """Return the size in bytes from an item's details: a number, or a text of digits. None for anything else."""
    return number_in(details.get(SIZE))


def fields_in(details: Mapping[str, Any], asked: Iterable[str]) -> dict[str, Any]:
    """Return the requested fields. Tags become a list of texts."""
    found = in_our_spelling(details, asked)
    if TAGS in found:
        found[TAGS] = tags_in(found[TAGS])
    return found


def tags_in(value: object) -> list[str]:
    """Return the texts and numbers of a list of Tags, without duplicates. A single text is one Tag."""
    entries = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    tags = (entry for entry in entries if isinstance(entry, str | int | float) and not isinstance(entry, bool))
    return list(dict.fromkeys(map(str, tags)))


def remote_details(
    client: LakeClient, files: Sequence[tuple[str, Iterable[str]]], threads: int
) -> dict[str, RemoteDetails]:
    """Return details by unique name, without the files that the lake does not have.

    `files`: unique name and metadata fields of each file. Tags are always requested.
    """

    def details_of(asked: tuple[str, Iterable[str]]) -> RemoteDetails | None:
        unique_name, fields = asked
        wanted = dict.fromkeys((*fields, TAGS, SIZE, "updatedAt"), True)
        details = client.item_details(unique_name, {**wanted, "url": False})
        if details is None:
            return None
        size = size_in(details)
        details.pop(SIZE, None)
        return RemoteDetails(
            str(details.get("id", "")),
            size,
            sortable_date(details.pop("updatedAt", None)),
            fields_in(details, wanted),
        )

    found = ((asked[0], details) for asked, details in ask_each(files, details_of, threads))
    return {unique_name: details for unique_name, details in found if details is not None}


def remote_sizes(client: LakeClient, files: Sequence[RemoteFile], threads: int) -> dict[str, int]:
    """Return sizes in bytes by file name, without the files whose size the lake does not know."""
    details = remote_details(client, [(file.unique_name, ()) for file in files], threads)
    found = ((file.name, details.get(file.unique_name)) for file in files)
    return {name: one.size_bytes for name, one in found if one is not None and one.size_bytes is not None}


def remote_fields(
    client: LakeClient, unique_names: Sequence[str], fields: Sequence[str], threads: int
) -> dict[str, dict[str, Any]]:
    """Return, by unique name, the requested fields that a file has."""
    wanted = {**dict.fromkeys(fields, True), "url": False}

    def fields_of(unique_name: str) -> dict[str, Any]:
        details = client.item_details(unique_name, wanted) or {}
        return fields_in(details, fields)

    return dict(ask_each(unique_names, fields_of, threads))


def remote_tags(client: LakeClient, unique_names: Sequence[str], threads: int) -> dict[str, list[str]]:
    """Return Tags by unique name."""

    def tags_of(unique_name: str) -> list[str]:
        details: dict[str, Any] = client.item_details(unique_name, {TAGS: True}) or {}
        return tags_in(details.get(TAGS))

    return dict(ask_each(unique_names, tags_of, threads))


def remote_resolutions(client: LakeClient, unique_names: Sequence[str], threads: int) -> dict[str, tuple[int, int]]:
    """Return width and height in pixels by unique name, without the files that have none."""

    def resolution_of(unique_name: str) -> tuple[int, int] | None:
        details = client.item_details(unique_name, {"resolution": True, "url": False}) or {}
        match details.get("resolution"):
            case {"width": int(width), "height": int(height)} if width > 0 and height > 0:
                return width, height
        return None

    return {name: size for name, size in ask_each(unique_names, resolution_of, threads) if size is not None}


def ask_each(keys: Sequence[KeyT], ask: Callable[[KeyT], ValueT], threads: int) -> Iterator[tuple[KeyT, ValueT]]:
    """Call `ask` for each key in several threads, and yield key and result in order."""
    if not keys:
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads, len(keys)), thread_name_prefix="details") as pool:
        yield from zip(keys, pool.map(ask, keys), strict=True)
