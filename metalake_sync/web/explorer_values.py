"""The values of the explorer: what an address selects, and what its pages show.

Must not: read a lake.
"""

from __future__ import annotations

from metalake_sync.core.selection import ItemFilter, ItemSelection, ItemSort
from metalake_sync.core.snapshots import MediaType
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.report.cards import Stroke


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the address of the explorer asks for."""

    type: MediaType
    collection: str
    """The name. Empty: the whole lake."""
    query: str
    filter: ItemFilter
    sort: ItemSort

    @property
    def selection(self) -> ItemSelection:
        return ItemSelection(self.type, self.collection or None, self.query, self.filter, self.sort)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a page."""

    id: str
    name: str
    unique_name: str


@dataclass(frozen=True, slots=True)
class ItemsPage:
    """One page of items."""

    collection_id: str | None
    items: tuple[Item, ...]
    total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One label of a drawn set."""

    color: int
    label: str
    shapes: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image with its shapes, ready to be drawn."""

    width: int
    height: int
    strokes: tuple[Stroke, ...]
    radius: str
    legend: tuple[LegendEntry, ...]
    left_out: int
    """How many shapes are not drawn."""


@dataclass(frozen=True, slots=True)
class ShapeRow:
    """One shape as text."""

    color: int
    label: str
    place: str
    confidence: str


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What the lake and the state know of one item."""

    fields: tuple[tuple[str, str], ...]
    metadata: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]
    local: str | None
    """The path of the local file. None: the manifest did not upload it."""
