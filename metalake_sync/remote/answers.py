"""From a status and a body to an answer, or to the error that says how far the damage reaches.

Both clients read answers here, so that they can't disagree. Must not: retry, or keep anything of a body in an error but
the lake's own message.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from metalake_sync.errors import CredentialsRefused, LakeAnswerInvalid, LakeRefused
from metalake_sync.protocol.routes import Route
from metalake_sync.remote.redaction import redact

AnswerT = TypeVar("AnswerT", bound=BaseModel)

ANSWER_LIMIT_BYTES = 64 << 20
"""No answer of the protocol comes near it; a larger one is not read to its end."""

MESSAGE_LIMIT = 500


def read_answer(route: Route[AnswerT], status: int, body: bytes) -> AnswerT | None:
    """The validated answer of a call, or None where the lake said that there is nothing (204, or an empty 200).

    Raises CredentialsRefused, LakeRefused with the lake's message, LakeAnswerInvalid.
    """
    if status == 401 or status == 403:
        raise CredentialsRefused(
            f"the lake refused the credentials ({status})",
            remedy="Check the API key and the secret, and the variables or files that they come from.",
        )
    if 300 <= status < 400:
        raise LakeAnswerInvalid(
            f"the lake sent us elsewhere ({status}), and credentials are not carried along",
            where=_call(route),
            remedy="Give the lake's final address as 'remote.url'.",
        )
    if status >= 400:
        words = _message(body)
        raise LakeRefused(
            words or f"the lake answered {status}", status=status, where=_call(route), explained=words is not None
        )
    if status == 204 or not body.strip():
        return None
    document = _document(route, body)
    if isinstance(document, dict) and document.get("isSuccess") is False:
        words = document.get("message") or document.get("warningMsg") or "the lake refused it without a reason"
        raise LakeRefused(_clean(str(words)), status=status, where=_call(route))
    try:
        return route.answer.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the answer"
        raise LakeAnswerInvalid(
            f"the lake's answer is not what the protocol says ({place}: {fault['msg'].lower()})", where=_call(route)
        ) from None


def _document(route: Route[AnswerT], body: bytes) -> Any:
    try:
        return _parse(body)
    except (ValueError, RecursionError):
        raise LakeAnswerInvalid(
            f"the lake's answer is no JSON ({len(body)} bytes)",
            where=_call(route),
            remedy="Is 'remote.url' the address of a lake, and is no proxy in between?",
        ) from None


def _parse(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError:
        # The quick reader takes neither a byte order mark nor half a surrogate.
        return json.loads(body)


def is_json(body: bytes) -> bool:
    """Whether a body is a JSON document."""
    try:
        _parse(body)
    except (ValueError, RecursionError):
        return False
    return True


def _call(route: Route[Any]) -> str:
    return f"{route.method} {route.path}"


def _message(body: bytes) -> str | None:
    """The lake's words in an error's body, if it has any."""
    try:
        document = _parse(body)
    except (ValueError, RecursionError):
        return None
    error = document.get("error") if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    if isinstance(details, str) and details:
        message = details  # the studio's reason; its message only points there
    return _clean(message) if isinstance(message, str) and message else None


def _clean(words: str) -> str:
    return redact(words)[:MESSAGE_LIMIT]
