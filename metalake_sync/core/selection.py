"""Selections: which items of a lake, and in which order: a query, a filter, a sort.

Owns: the values that users write in manifests, on the command line and in Python. Must not: know the requests that
carry them.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from metalake_sync.core.snapshots import CollectionKey, MediaType
from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass

WHOLE_LAKE = "*"
"""The collection name that selects all items of a type, in every collection."""

AnnotationType = Literal["raw", "human", "machine"]
SortName = Literal["date_modified", "date_created", "name", "size", "video_index"]


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Conditions on items."""

    annotation_types: tuple[AnnotationType, ...] = ()
    """The types of annotations; empty for any. `raw` is an item without annotations."""
    from_date: str | None = None
    """The first day, or moment, on which an item was added to the lake (ISO 8601)."""
    to_date: str | None = None
    """The last day (inclusive), or moment, on which an item was added to the lake (ISO 8601)."""

    def __post_init__(self) -> None:
        """Check the types, which Python does not do: a wrong filter could trash the wrong items."""
        types: Any = self.annotation_types
        known = get_args(AnnotationType)
        if isinstance(types, str) or not all(one in known for one in types):
            raise UsageError(
                f"'annotation_types' is {types!r}", remedy=f"Use a tuple of {', '.join(map(repr, known))}."
            )
        object.__setattr__(self, "annotation_types", tuple(types))
        object.__setattr__(self, "from_date", self.from_date or None)
        object.__setattr__(self, "to_date", self.to_date or None)

    def __bool__(self) -> bool:
        return bool(self.annotation_types or self.from_date or self.to_date)


@dataclass(frozen=True, slots=True)
class ItemSort:
    """The order in which a lake lists items."""

    by: SortName = "date_modified"
    order: Literal["asc", "desc"] = "desc"

    def __post_init__(self) -> None:
        for name, value, known in (("by", self.by, get_args(SortName)), ("order", self.order, ("asc", "desc"))):
            if value not in known:
                raise UsageError(f"a sort's '{name}' is {value!r}", remedy=f"Use one of {', '.join(map(repr, known))}.")


OLDEST_FIRST = ItemSort("date_created", "asc")
"""The order in which items that are added while pages are read come last, so that pages do not shift."""


@dataclass(frozen=True, slots=True)
class ItemSelection:
    """A selection of items of one media type."""

    type: MediaType
    collection: str | None = None
    """The collection's name, or None for the whole lake."""
    query: str = ""
    """A query in the syntax of the lake's web page, such as `annotation.label=Bird`; empty for all items."""
    filter: ItemFilter = ItemFilter()
    sort: ItemSort = OLDEST_FIRST
    whole: bool = False
    """Whether the collection itself is selected, with all its items."""

    @property
    def key(self) -> CollectionKey:
        return CollectionKey(self.type, self.collection if self.collection is not None else WHOLE_LAKE)

    @property
    def narrowed(self) -> bool:
        """Whether a query or a filter excludes items."""
        return bool(self.query.strip() or self.filter)
