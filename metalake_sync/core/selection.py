"""Which items of a lake are meant, and in which order: a query, a filter, a sort.

Owns: the words, which users write in manifests, on the command line and in Python. Must not: know how they are sent.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from metalake_sync.core.snapshots import CollectionKey, MediaType
from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass

WHOLE_LAKE = "*"
"""Stands for the collection where all items of a type are meant, whatever collection they are in."""

AnnotationType = Literal["raw", "human", "machine"]
SortName = Literal["date_modified", "date_created", "name", "size", "video_index"]


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """`annotation_types`: none means any; `raw` is an item without annotations. `from_date`, `to_date`: when it came
    into the lake, a day (the last one included) or a moment in ISO 8601."""

    annotation_types: tuple[AnnotationType, ...] = ()
    from_date: str | None = None
    to_date: str | None = None

    def __post_init__(self) -> None:
        """Python checks no types, and a filter that is taken for another may trash what nobody meant."""
        types: Any = self.annotation_types
        known = get_args(AnnotationType)
        if isinstance(types, str) or not all(one in known for one in types):
            raise UsageError(
                f"'annotation_types' is {types!r}", remedy=f"It takes a tuple of {', '.join(map(repr, known))}."
            )
        object.__setattr__(self, "annotation_types", tuple(types))
        object.__setattr__(self, "from_date", self.from_date or None)
        object.__setattr__(self, "to_date", self.to_date or None)

    def __bool__(self) -> bool:
        return bool(self.annotation_types or self.from_date or self.to_date)


@dataclass(frozen=True, slots=True)
class ItemSort:
    """In which order a lake lists."""

    by: SortName = "date_modified"
    order: Literal["asc", "desc"] = "desc"

    def __post_init__(self) -> None:
        for name, value, known in (("by", self.by, get_args(SortName)), ("order", self.order, ("asc", "desc"))):
            if value not in known:
                raise UsageError(f"a sort's '{name}' is {value!r}", remedy=f"It takes {', '.join(map(repr, known))}.")


OLDEST_FIRST = ItemSort("date_created", "asc")
"""What comes in while pages are read is appended, and no page shifts."""


@dataclass(frozen=True, slots=True)
class ItemSelection:
    """`type`: of the items. `collection`: its name, or None for the whole lake. `query`: in the words of the web page,
    such as `annotation.label=Bird`; '' is all."""

    type: MediaType
    collection: str | None = None
    query: str = ""
    filter: ItemFilter = ItemFilter()
    sort: ItemSort = OLDEST_FIRST
    whole: bool = False
    """The collection itself is meant, with all its items."""

    @property
    def key(self) -> CollectionKey:
        return CollectionKey(self.type, self.collection if self.collection is not None else WHOLE_LAKE)

    @property
    def narrowed(self) -> bool:
        """Whether it means less than all items of the place."""
        return bool(self.query.strip() or self.filter)
