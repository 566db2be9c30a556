"""Changes: the values before and after that explain the reason of an action.

Owns: how two snapshots become pairs of values. Must not: format values for output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from metalake_sync.core.metadata import TAGS, MetadataValues
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `what`: a metadata field, or one of `content`, `size`, `lake id`, `name`, `shapes of OPERATION`.

    `before` and `after` are JSON values, or absent if there is no value.
    """

    what: str
    before: Any = None
    after: Any = None

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}


CONTENT = "content"
SIZE = "size"
LAKE_ID = "lake id"
NAME = "name"


def shapes_of(operation: str) -> str:
    return f"shapes of {operation}"


def metadata_changes(before: MetadataValues, update: MetadataValues) -> tuple[Change, ...]:
    """Return the fields of an update with their previous values. `before`: the known metadata in the lake."""
    return tuple(Change(name, before.get(name), value) for name, value in _tags_first(update))


def content_changes(before: tuple[str | None, int | None], after: tuple[str | None, int]) -> tuple[Change, ...]:
    """Return the changes of content hash and size. Unknown and equal values are left out."""
    pairs = ((CONTENT, before[0] or None, after[0]), (SIZE, before[1], after[1]))
    return tuple(
        Change(what, old, new) for what, old, new in pairs if old is not None and new is not None and old != new
    )


def _tags_first(update: MetadataValues) -> Iterable[tuple[str, Any]]:
    return sorted(update.items(), key=lambda item: (item[0] != TAGS, item[0]))
