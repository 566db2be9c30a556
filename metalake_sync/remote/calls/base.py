"""What the calls of every topic use: the connection, and how empty and missing answers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from metalake_sync.errors import LakeAnswerInvalid, LakeRefused
from metalake_sync.protocol.routes import Generation
from metalake_sync.remote.connection import Connection

if TYPE_CHECKING:
    from pydantic import BaseModel

    from metalake_sync.protocol.items import CountItems, SelectItems
    from metalake_sync.protocol.routes import Route

AnswerT = TypeVar("AnswerT", bound="BaseModel")

NOT_FOUND_STATUSES = frozenset({404, 406})
"""Statuses for an unknown name, besides 204."""


class Calls:
    """Makes calls over one connection."""

    _connection: Connection

    def _require(self, route: Route[AnswerT], **call: Any) -> AnswerT:
        """Make a call whose answer must not be empty."""
        answer = self._connection.call(route, **call)
        if answer is None:
            raise LakeAnswerInvalid("the lake's answer is empty", where=f"{route.method} {route.path}")
        return answer

    def _find(self, route: Route[AnswerT], **call: Any) -> AnswerT | None:
        """Make a call about something that may not exist. Returns None if it does not."""
        try:
            return self._connection.call(route, **call)
        except LakeRefused as refusal:
            if refusal.status in NOT_FOUND_STATUSES:
                return None
            raise

    def _selection_body(self, request: CountItems | SelectItems) -> dict[str, Any]:
        """Return the request in the lake's generation. Generation 2 does not have keywords and categories."""
        body = request.to_wire()
        if self._connection.address.generation is Generation.TWO:
            for field in ("keywords", "categories"):
                del body["filterData"][field]
        return body
