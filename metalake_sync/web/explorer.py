"""What the explorer shows of a lake: a page of items, one item with its annotation sets, and images of both.

Owns: what is read for a page, its bounds, and the caches of sets and images. Must not: know a request or HTML, or write
into the lake.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from metalake_sync.annotations.readback import read_back
from metalake_sync.core.selection import ItemSelection
from metalake_sync.core.shape_diff import Diff
from metalake_sync.core.shape_summary import place_text
from metalake_sync.core.shapes import Shape
from metalake_sync.core.snapshots import CollectionKey, MediaType
from metalake_sync.errors import UsageError
from metalake_sync.lake_access import lake_identity
from metalake_sync.remote.item_details import SIZE, tags_in
from metalake_sync.remote.listings import PAGE_SIZE
from metalake_sync.remote.selections import (
    Place,
    check_dates,
    collection_kind,
    count_selection,
    find_place,
    list_selection,
)
from metalake_sync.report.cards import Palette, Stroke
from metalake_sync.report.overlays import DOT_RADIUS, number, overlay
from metalake_sync.report.text import visible
from metalake_sync.report.thumbnails import decode_image
from metalake_sync.state.store import StateStore
from metalake_sync.web.explorer_values import Drawn, Item, ItemFacts, ItemsPage, LegendEntry, ShapeRow, Wanted
from metalake_sync.web.image_cache import CachedImage, ImageCache
from metalake_sync.web.lake_reader import ImageOfLake, LakeReader, OpenLake

PAGE_ITEMS = 48
COLLECTIONS_LISTED = 200
SHAPES_LISTED = 200
FIELDS_ASKED = 200
THUMBNAIL_PX = 360
LARGE_PX = 1600
"""The longest side of the image of a grid, and of an item's own page."""

SET_PAGES = 40
"""How many pages of annotation sets are read for the images of one page: of 10,000 images. A lake returns sets by
collection, in its own order."""

SET_PAGES_KEPT = 200
SETS_KEPT_S = 120.0
"""How many pages of sets are remembered, and how long."""

IMAGES_KEPT = 20_000
ALL_OPERATIONS = "*"
"""Draw the merged sets of all operations."""

NO_OPERATION = ""
"""Draw no sets."""


class Explorer:
    """Reads pages of one lake. All methods read in the thread that calls them."""

    def __init__(self, reader: LakeReader, images: ImageCache) -> None:
        self._reader = reader
        self._images = images
        self._lock = threading.Lock()
        self._reading_sets = threading.Lock()
        """Held while a page of sets is read, so that the tiles of a grid do not read it several times."""
        self._palette = Palette()
        self._names: OrderedDict[tuple[str, str, int], tuple[str, int, int]] = OrderedDict()
        """Id, unique name and size in pixels → name in the cache, width and height of the displayed image."""
        self._sets: OrderedDict[tuple[int, str, str, int], tuple[float, dict[str, list[Any]], bool]] = OrderedDict()
        """How often the lake was opened, collection, operation and page → when it was read, its sets, and whether it is
        the last page."""

    # Lists.

    def collections(self, kind: MediaType) -> tuple[str, ...]:
        """Return the names of the first collections of a type."""
        place = Place(kind, None)
        with self._reader.using() as lake:
            pages = list_selection(
                lake.client, ItemSelection(kind), place, kind=collection_kind(kind), page_size=COLLECTIONS_LISTED
            )
            first = next(pages, [])
        return tuple(item.name for item in first)[:COLLECTIONS_LISTED]

    def page(self, wanted: Wanted, page: int) -> ItemsPage:
        """Return one page. Raises UsageError for an unknown collection and a query that the lake rejects."""
        check_dates(wanted.filter)
        with self._reader.using() as lake:
            place = self._place(lake, wanted)
            total = count_selection(lake.client, wanted.selection, place)
            pages = max(1, -(-total // PAGE_ITEMS))
            page = min(page, pages)
            if not total:
                return ItemsPage(place.collection_id, (), 0, 1, 1)
            listed = list_selection(lake.client, wanted.selection, place, first_page=page - 1, page_size=PAGE_ITEMS)
            items = tuple(Item(one.id, one.name, one.unique_name or one.name) for one in next(listed, []))
        return ItemsPage(place.collection_id, items, total, page, pages)

    def _place(self, lake: OpenLake, wanted: Wanted) -> Place:
        if not wanted.collection:
            return Place(wanted.type, None)
        place = find_place(lake.client, wanted.collection, wanted.type)
        if place is None:
            raise UsageError(
                f"the lake has no {wanted.type.value} collection '{wanted.collection}'",
                remedy="Correct the name, or choose another type.",
            )
        return place

    # Images.

    def image(self, item: Item, long_side: int) -> CachedImage:
        """Return an image of an item, scaled and turned as it is displayed. Raises ImageUnavailable."""
        name, _, _ = self._decoded(item, long_side)
        found = self._images.image(name)
        if found is None:  # the cache has deleted it meanwhile
            with self._lock:
                self._names.pop((item.id, item.unique_name, long_side), None)
            name, _, _ = self._decoded(item, long_side)
            found = self._images.image(name)
        assert found is not None, "the cache keeps at least the newest image"
        return found

    def _decoded(self, item: Item, long_side: int) -> tuple[str, int, int]:
        key = (item.id, item.unique_name, long_side)
        with self._lock:
            known = self._names.get(key)
        if known is not None and self._images.has(known[0]):
            return known
        decoded = decode_image(ImageOfLake(self._reader, item.unique_name), long_side, with_parts=False)
        made = (self._images.keep(decoded.uri), *decoded.size)
        with self._lock:
            self._names[key] = made
            if len(self._names) > IMAGES_KEPT:
                self._names.popitem(last=False)
        return made

    def drawn(self, item: Item, shapes: Sequence[Shape], long_side: int) -> Drawn:
        """Return an image with shapes over it. Raises ImageUnavailable."""
        _, width, height = self._decoded(item, long_side)
        found = overlay(Diff(False, None), shapes, (width, height))
        with self._lock:
            strokes = tuple(
                Stroke(self._palette.number(one.label), one.path, tuple((number(x), number(y)) for x, y in one.dots))
                for one in found.unchanged
            )
            legend = self._legend(shapes)
        return Drawn(
            width,
            height,
            strokes,
            number(max(width, height) * DOT_RADIUS),
            legend,
            found.unchanged_left_out,
        )

    def _legend(self, shapes: Iterable[Shape]) -> tuple[LegendEntry, ...]:
        counts: dict[str, int] = {}
        for shape in shapes:
            counts[shape.label] = counts.get(shape.label, 0) + 1
        return tuple(
            LegendEntry(self._palette.number(label), visible(label), count)
            for label, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        )

    # Annotation sets.

    def shapes(self, collection_id: str, unique_name: str, operation: str) -> tuple[Shape, ...] | None:
        """Return the shapes of an image in an operation, in pixels. None: the collection is too large to find them, or
        their form is unknown."""
        if operation == NO_OPERATION:
            return ()
        for page in range(SET_PAGES):
            with self._reading_sets:
                sets, is_last = self._set_page(collection_id, operation, page)
            if unique_name in sets:
                _, back = read_back(sets[unique_name])
                return back.shapes if back is not None else None
            if is_last:
                return ()
        return None

    def _set_page(self, collection_id: str, operation: str, page: int) -> tuple[Mapping[str, list[Any]], bool]:
        key = (self._reader.opened, collection_id, operation, page)
        with self._lock:
            known = self._sets.get(key)
            if known is not None and time.monotonic() - known[0] < SETS_KEPT_S:
                return known[1], known[2]
        operations = () if operation == ALL_OPERATIONS else (operation,)
        with self._reader.using() as lake:
            found = lake.client.download_annotations(
                collection_id, page=page, page_size=PAGE_SIZE, operations=operations
            )
        sets: dict[str, list[Any]] = {}
        for image in found.resource_array if found is not None else ():
            if image.raw_annotations is not None and image.raw_annotations.annotations:
                sets[image.file_name] = image.raw_annotations.annotations
        is_last = found is None or found.is_last(PAGE_SIZE)
        with self._lock:
            self._sets[key] = (time.monotonic(), sets, is_last)
            while len(self._sets) > SET_PAGES_KEPT:
                self._sets.popitem(last=False)
        return sets, is_last

    def rows(self, shapes: Sequence[Shape]) -> tuple[ShapeRow, ...]:
        """Return the first shapes of a set as text."""
        with self._lock:
            return tuple(
                ShapeRow(
                    self._palette.number(shape.label),
                    visible(shape.label),
                    visible(place_text(shape, (1.0, 1.0))),
                    "" if shape.confidence is None else f"{shape.confidence:g}",
                )
                for shape in shapes[:SHAPES_LISTED]
            )

    # Facts.

    def facts(self, wanted: Wanted, item: Item) -> ItemFacts | None:
        """Return what is known of an item. None: the lake does not have it."""
        with self._reader.using() as lake:
            local, names = self._recorded(lake, wanted, item)
            asked = dict.fromkeys((SIZE, "resolution", "Tags", "createdAt", "updatedAt", *names), True)
            details = lake.client.item_details(item.unique_name, {**asked, "url": False})
        if details is None:
            return None
        known = ("name", "uniqueName", SIZE, "resolution", "createdAt", "updatedAt")
        fields = tuple((name, _text(details[name])) for name in known if details.get(name) is not None)
        metadata = tuple((name, _text(details[name])) for name in names if details.get(name) is not None)
        return ItemFacts(fields, metadata, tuple(tags_in(details.get("Tags"))), local)

    def _recorded(self, lake: OpenLake, wanted: Wanted, item: Item) -> tuple[str | None, list[str]]:
        """Return the local path of an item, and the names of all metadata fields that the state knows."""
        backend = lake.engine.state_backend
        if not backend.exists():
            return None, []
        with StateStore(backend) as state:
            names = [name for name in state.metadata_sets.field_names() if name != "Tags"][:FIELDS_ASKED]
            recorded = state.collections.of_lake(lake_identity(lake.engine.manifest))
            found = recorded.get(CollectionKey(wanted.type, wanted.collection))
            if found is None:
                return None, names
            file = state.files.named(found[0], [item.name]).get(item.name)
            if file is None or file.lake_id != item.id:
                return None, names
            return os.path.abspath(os.path.join(lake.engine.manifest.base_dir, file.path)), names


def _text(value: object) -> str:
    match value:
        case {"width": width, "height": height}:
            return f"{width} × {height}"
        case list():
            return ", ".join(map(_text, _few(value)))
    return str(value)


def _few(values: Sequence[object]) -> Iterator[object]:
    yield from values[:50]
    if len(values) > 50:
        yield f"and {len(values) - 50:,} more"
