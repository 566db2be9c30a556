"""Why an action is planned: its reason code, and the changes, which are the values before and after.

Owns: the closed list of reason codes, which scripts rely on, and how two snapshots become pairs of values. Must not:
decide a reason (`diff`), or format values for output.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from metalake_sync.core.metadata import TAGS, MetadataValues
from metalake_sync.lazy_dataclass import dataclass


class Reason(enum.StrEnum):
    NEW = "new"
    CONTENT_CHANGED = "content_changed"
    MISSING_IN_LAKE = "missing_in_lake"
    METADATA_CHANGED = "metadata_changed"
    ANNOTATIONS_CHANGED = "annotations_changed"
    REMOVED_FROM_MANIFEST = "removed_from_manifest"
    FILTERED_OUT = "filtered_out"
    RENAMED = "renamed"
    ALREADY_IN_LAKE = "already_in_lake"
    DRIFTED = "drifted"
    REQUESTED = "requested"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `what`: a metadata field, or one of `content`, `size`, `lake id`, `name`, `shapes of OPERATION`.

    `before` and `after` are JSON values, or absent if there is no value. `before` is `unknown` if the planner did not
    read the set or the field, and the state does not have it either.
    """

    what: str
    before: Any = None
    after: Any = None

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}


UNKNOWN = "unknown"
CONTENT = "content"
SIZE = "size"
LAKE_ID = "lake id"
NAME = "name"


def shapes_of(operation: str) -> str:
    return f"shapes of {operation}"


def metadata_changes(before: MetadataValues | None, update: MetadataValues) -> tuple[Change, ...]:
    """Return the fields of an update with their previous values.

    `before`: the known metadata in the lake. None: it is not known.
    """
    return tuple(
        Change(name, UNKNOWN if before is None else before.get(name), value) for name, value in _tags_first(update)
    )


def content_changes(before: tuple[str | None, int | None], after: tuple[str | None, int]) -> tuple[Change, ...]:
    """Return the changes of content hash and size. Unknown and equal values are left out."""
    pairs = ((CONTENT, before[0] or None, after[0]), (SIZE, before[1], after[1]))
    return tuple(
        Change(what, old, new) for what, old, new in pairs if old is not None and new is not None and old != new
    )


def _tags_first(update: MetadataValues) -> Iterable[tuple[str, Any]]:
    return sorted(update.items(), key=lambda item: (item[0] != TAGS, item[0]))
