"""Reads requests as messages of the protocol, and writes answers as JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from metalake_sync.embedded_lake.rejections import bad_request, not_acceptable
from metalake_sync.protocol.routes import BASE_PATHS, Generation, Route

MessageT = TypeVar("MessageT", bound=BaseModel)

Call = tuple[Route[Any], Callable[[web.Request], Awaitable[web.StreamResponse]]]
"""A route of the protocol and its handler."""


async def read_message(request: web.Request, message: type[MessageT]) -> MessageT:
    """Return the request's body as a message. Rejects a body that is not JSON (400) or not such a message (406)."""
    try:
        return message.model_validate_json(await request.read())
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        if fault["type"] == "json_invalid":
            raise bad_request(f"Invalid JSON: {fault['msg']}") from None
        place = ".".join(map(str, fault["loc"])) or "body"
        raise not_acceptable(f"{place}: {fault['msg']}") from None


def answer(body: object) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), content_type="application/json")


def answer_message(message: BaseModel) -> web.Response:
    """Answer with a message. Faster than `answer`, for calls that are made once per file."""
    return web.Response(body=message.model_dump_json(by_alias=True).encode(), content_type="application/json")


def base_url(request: web.Request) -> str:
    """Return the address that the client used."""
    return f"{request.scheme}://{request.host}"


def generation_of(request: web.Request) -> Generation:
    """Return the generation of the protocol of a request's path."""
    return Generation.TWO if request.path.startswith(f"{BASE_PATHS[Generation.TWO]}/") else Generation.THREE


def is_true(request: web.Request, name: str) -> bool:
    """Return a flag of the query. The published client writes it as Python does: True."""
    return request.query.get(name, "").lower() == "true"
