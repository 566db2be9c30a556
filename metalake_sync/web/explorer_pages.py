"""The pages of the lake explorer: a grid of items, one item, and their images.

Owns: the routes below `/lake`, and their addresses. Must not: read a lake (`explorer`), or write.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar, get_args

from aiohttp import web
from markupsafe import Markup

from metalake_sync.core.selection import AnnotationType, ItemFilter, ItemSort, SortName
from metalake_sync.core.snapshots import MediaType
from metalake_sync.errors import UsageError
from metalake_sync.report.model import ImageUnavailable
from metalake_sync.web.answers import Answers, error_view, html, json_answer, page_number, wants_json
from metalake_sync.web.explorer import (
    ALL_OPERATIONS,
    LARGE_PX,
    NO_OPERATION,
    SHAPES_LISTED,
    THUMBNAIL_PX,
    Explorer,
)
from metalake_sync.web.explorer_values import Drawn, Item, Wanted
from metalake_sync.web.rendering import render, url
from metalake_sync.web.workspace import Workspace

TYPES = tuple(one.value for one in MediaType)
ANNOTATED: tuple[AnnotationType, ...] = get_args(AnnotationType)
SORTS: tuple[SortName, ...] = get_args(SortName)
PARAMETERS = ("type", "collection", "q", "annotated", "from", "to", "sort", "order", "operation")
"""The values of an address that say what is listed and drawn."""

QUERY_LENGTH = 2000
_COLLECTION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
DEFAULT_SORT = ItemSort("name", "asc")

ResultT = TypeVar("ResultT")


class ExplorerPages:
    """The routes of one workspace."""

    def __init__(self, workspace: Workspace, answers: Answers) -> None:
        self._workspace = workspace
        self._answers = answers
        self._explorer = Explorer(workspace.lake, workspace.images)

    def reads(self) -> list[web.RouteDef]:
        """Return the routes. None of them writes."""
        return [
            web.get("/lake", self.grid),
            web.get("/lake/item", self.item),
            web.get("/lake/image", self.image),
        ]

    async def grid(self, request: web.Request) -> web.Response:
        """One page of the items of a collection, or of the whole lake, that match."""
        given = _given(request)
        # Without a choice, the first view asks the lake for nothing but its collections.
        is_chosen = bool(request.query.keys() - {"format"})
        found, error = None, None
        collections: tuple[str, ...] = ()
        try:
            wanted = _wanted(given)
            if not is_chosen or not wants_json(request):
                collections = await self._read(lambda: self._explorer.collections(wanted.type))
            if is_chosen:
                page = page_number(request)
                found = await self._read(lambda: self._explorer.page(wanted, page))
        except UsageError as problem:
            error = problem
        status = 200 if error is None else 400
        if wants_json(request):
            if error is not None:
                return self._answers.failed(request, error)
            return json_answer(
                {
                    "given": given,
                    "collections": list(collections),
                    "list": None
                    if found is None
                    else {
                        "page": found.page,
                        "pages": found.pages,
                        "total": found.total,
                        "items": [
                            {
                                **asdict(one),
                                "url": str(_item_path(one, given, found.collection_id)).replace("&amp;", "&"),
                            }
                            for one in found.items
                        ],
                    },
                }
            )
        values: dict[str, Any] = {
            "given": given,
            "is_chosen": is_chosen,
            "found": found,
            "error": error_view(error),
            "collections": collections,
            "operations": await self._operations(given["operation"]),
            "types": TYPES,
            "annotated": ANNOTATED,
            "sorts": SORTS,
            "has_sets": bool(given["collection"]) and given["type"] == "image",
            "page_url": lambda page: url("/lake", {**_kept(given), "page": page}),
            "collection_url": lambda name: url("/lake", {"type": given["type"], "collection": name}),
            "item_url": lambda one: _item_path(one, given, found.collection_id if found is not None else None),
        }
        return html(render("lake.html.j2", {**self._answers.frame("lake"), **values}), status)

    async def item(self, request: web.Request) -> web.Response:
        """One item. With `part`, its tile of the grid: the image with its shapes."""
        given, item = _given(request), _item(request)
        wanted = _wanted(given)
        is_part = "part" in request.query
        long_side = THUMBNAIL_PX if is_part else LARGE_PX
        drawn, shapes, problem, too_large = None, (), None, False
        if wanted.type is MediaType.IMAGE:
            try:
                shapes, too_large = await self._shapes(request, given["operation"], item)
                drawn = await self._read(lambda: self._explorer.drawn(item, shapes, long_side))
            except ImageUnavailable as error:
                problem = error.message
        values = {
            "item": item,
            "given": given,
            "drawn": drawn,
            "problem": problem,
            "too_large": too_large,
            "image_url": url("/lake/image", {**_of_item(item), "size": "tile" if is_part else "large"}),
        }
        if is_part:
            return html(render("lake_tile.html.j2", values))
        facts = await self._read(lambda: self._explorer.facts(wanted, item))
        if facts is None:
            raise web.HTTPNotFound
        rows = self._explorer.rows(shapes)
        if wants_json(request):
            return json_answer(
                {
                    "item": asdict(item),
                    "facts": asdict(facts),
                    "operation": given["operation"],
                    "drawn": asdict(drawn) if isinstance(drawn, Drawn) else None,
                    "problem": problem,
                    "shapes": [asdict(row) for row in rows],
                    "shapes_total": len(shapes),
                }
            )
        return self._answers.page(
            "lake_item.html.j2",
            "lake",
            **values,
            facts=facts,
            rows=rows,
            more=max(0, len(shapes) - SHAPES_LISTED),
            has_sets="in" in request.query and wanted.type is MediaType.IMAGE,
            operations=await self._operations(given["operation"]),
            hidden={**_kept(given), **_of_item(item), "in": request.query.get("in", "")},
            back=url("/lake", _kept(given)),
        )

    async def image(self, request: web.Request) -> web.Response:
        """An image of the lake, scaled. The lake's address of it never reaches the browser."""
        item = _item(request)
        long_side = LARGE_PX if request.query.get("size") == "large" else THUMBNAIL_PX
        try:
            found = await self._read(lambda: self._explorer.image(item, long_side))
        except ImageUnavailable:
            raise web.HTTPNotFound from None
        headers = {"Cache-Control": "private, max-age=600"}
        return web.Response(body=found.body, content_type=found.content_type, headers=headers)

    async def _shapes(self, request: web.Request, operation: str, item: Item) -> tuple[tuple[Any, ...], bool]:
        """Return the shapes to draw, and whether they could not be found."""
        collection_id = request.query.get("in", "")
        if not _COLLECTION_ID.fullmatch(collection_id) or operation == NO_OPERATION:
            return (), False
        found = await self._read(lambda: self._explorer.shapes(collection_id, item.unique_name, operation))
        return (found, False) if found is not None else ((), True)

    async def _operations(self, given: str) -> list[tuple[str, str]]:
        """Return the values and the words of the choice of operations."""
        known = await asyncio.to_thread(self._workspace.operations)
        names = list(dict.fromkeys((*known, *([given] if given not in (NO_OPERATION, ALL_OPERATIONS) else ()))))
        return [(NO_OPERATION, "none"), (ALL_OPERATIONS, "all, merged"), *((name, name) for name in names)]

    async def _read(self, read: Callable[[], ResultT]) -> ResultT:
        """Call a function in a thread that reads the lake."""
        return await asyncio.get_running_loop().run_in_executor(self._workspace.lake.threads, read)


def _given(request: web.Request) -> dict[str, str]:
    """Return what the address says, with defaults."""
    query = request.query
    defaults = {"type": "image", "sort": DEFAULT_SORT.by, "order": DEFAULT_SORT.order}
    return {name: query.get(name, defaults.get(name, ""))[:QUERY_LENGTH] for name in PARAMETERS}


def _wanted(given: Mapping[str, str]) -> Wanted:
    """Return the selection of an address. Raises UsageError for values that the form does not have."""
    if given["type"] not in TYPES:
        raise UsageError(f"there is no type '{given['type']}'", remedy=f"Use one of: {', '.join(TYPES)}.")
    annotated: Any = (given["annotated"],) if given["annotated"] else ()
    by: Any = given["sort"]
    order: Any = given["order"]
    return Wanted(
        MediaType(given["type"]),
        given["collection"],
        given["q"],
        ItemFilter(annotated, given["from"] or None, given["to"] or None),
        ItemSort(by, order),
    )


def _item(request: web.Request) -> Item:
    query = request.query
    name, unique_name = query.get("name", ""), query.get("unique_name", "")
    if not unique_name:
        raise web.HTTPNotFound
    return Item(query.get("id", ""), name or unique_name, unique_name)


def _kept(given: Mapping[str, str]) -> dict[str, str]:
    """Return the values of an address without those that are empty or the default."""
    defaults = {"sort": DEFAULT_SORT.by, "order": DEFAULT_SORT.order}
    return {name: value for name, value in given.items() if value and defaults.get(name) != value}


def _of_item(item: Item) -> dict[str, str]:
    return {"id": item.id, "name": item.name, "unique_name": item.unique_name}


def _item_path(item: Item, given: Mapping[str, str], collection_id: str | None = None) -> Markup:
    """Return the address of an item's page."""
    where = {"in": collection_id} if collection_id else {}
    return url("/lake/item", {**_kept(given), **_of_item(item), **where})
