"""Requests as messages of the protocol, and answers as JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from metalake_sync.embedded_lake.rejections import bad_request, not_acceptable
from metalake_sync.protocol.generations import BASE_PATHS, Generation
from metalake_sync.protocol.routes import Route

MessageT = TypeVar("MessageT", bound=BaseModel)

Call = tuple[Route[Any], Callable[[web.Request], Awaitable[web.StreamResponse]]]
"""A route of the protocol and what answers it."""


async def read_message(request: web.Request, message: type[MessageT]) -> MessageT:
    """The request's body. Raises the refusal of one that is no JSON (400), or not what the message says (406)."""
    try:
        return message.model_validate_json(await request.read())
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        if fault["type"] == "json_invalid":
            raise bad_request(f"Broken JSON: {fault['msg']}") from None
        place = ".".join(map(str, fault["loc"])) or "body"
        raise not_acceptable(f"{place}: {fault['msg']}") from None


def answer(body: object) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), content_type="application/json")


def answer_message(message: BaseModel) -> web.Response:
    """The fast way for what is asked once for each file."""
    return web.Response(body=message.model_dump_json(by_alias=True).encode(), content_type="application/json")


def base_url(request: web.Request) -> str:
    """The address under which the client reached us."""
    return f"{request.scheme}://{request.host}"


def generation_of(request: web.Request) -> Generation:
    """The generation of the protocol that the request's path belongs to."""
    return Generation.TWO if request.path.startswith(f"{BASE_PATHS[Generation.TWO]}/") else Generation.THREE


def is_true(request: web.Request, name: str) -> bool:
    """A flag of the query; the published client writes it as Python does."""
    return request.query.get(name, "").lower() == "true"
