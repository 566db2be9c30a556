"""Reads a response: status and body become an answer of the protocol, or an error.

Both HTTP clients use this module, so they cannot disagree. `RepeatGuard` finds pages of a list that repeat. Must not:
retry, or put anything of a body into an error except the lake's own message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from metalake_sync.errors import CredentialsRejected, LakeAnswerInvalid, LakeRejected
from metalake_sync.protocol.routes import Effect, Route
from metalake_sync.redaction import redact

AnswerT = TypeVar("AnswerT", bound=BaseModel)

ANSWER_LIMIT_BYTES = 64 << 20
"""No answer of the protocol is nearly as large. A larger one is not read to its end."""

MESSAGE_LIMIT = 500

EMPTY = "it is an empty object or null"
"""The deviation of a call that reads and whose answer is JSON without content."""

TOO_LARGE_REMEDY = (
    "A proxy in front of the lake limits the size of requests. Ask its operator for a higher limit"
    " ('client_max_body_size' in nginx)."
)


Differs = Callable[[str], None]
"""Receives how an answer deviates from the known form: a clause that contains no value of the answer."""


def read_answer(route: Route[AnswerT], status: int, body: bytes, differs: Differs = lambda _: None) -> AnswerT | None:
    """Return the validated answer of a call, or None for an empty one: 204, no body, `null`, or `{}` from a call that
    reads.

    Raises CredentialsRejected, LakeRejected with the lake's message, LakeAnswerInvalid.
    """
    if status == 401 or status == 403:
        raise CredentialsRejected(
            f"the lake rejected the credentials ({status})",
            remedy="Check the API key and the secret, and the variables or files that contain them.",
        )
    if 300 <= status < 400:
        raise LakeAnswerInvalid(
            f"the lake redirects to another address ({status}), and credentials are not sent there",
            where=_call(route),
            remedy="Set 'remote.url' to the lake's final address.",
        )
    if status >= 400:
        message = _message(body)
        raise LakeRejected(
            message or f"the lake answered {status}",
            status=status,
            where=_call(route),
            remedy=TOO_LARGE_REMEDY if status == 413 else None,
            explained=message is not None,
        )
    if status == 204 or not body.strip():
        return None
    document = _document(route, body)
    if isinstance(document, dict) and is_false(document.get("isSuccess")):
        message = _message_in(document) or "the lake rejected the call without a reason"
        raise LakeRejected(message, status=status, where=_call(route))
    if document is None or (document == {} and route.effect is Effect.READS):
        differs(EMPTY)
        return None
    try:
        return route.answer.model_validate(document)
    except ValidationError as error:
        first = error
    try:
        repaired = route.answer.model_validate(_without_nulls(document))
    except (ValidationError, RecursionError):
        raise LakeAnswerInvalid(
            f"the lake's answer does not have the expected form ({_fault(first)})",
            where=_call(route),
            remedy="Run 'metalake-sync doctor MANIFEST' to see which answers of this lake differ from the known form.",
        ) from None
    differs(_fault(first))
    return repaired


_FAULTS = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "is not an object"),
    "list_type": "is not a list",
    "missing": "the field is missing",
}
"""pydantic's error types → text without names of classes."""


def is_false(value: object) -> bool:
    """Return whether a flag is false, as a boolean or as text."""
    return value is False or (isinstance(value, str) and value.strip().lower() == "false")


def _fault(error: ValidationError) -> str:
    """Return place and kind of the first fault of an answer, without any value of the answer."""
    fault = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, fault["loc"])) or "the answer"
    return f"{place}: {_FAULTS.get(fault['type'], fault['msg'].lower())}"


def _without_nulls(document: Any) -> Any:
    """Return the document without nulls, and without an envelope `{"data": […]}` around a list."""
    if isinstance(document, dict):
        kept = {name: _without_nulls(value) for name, value in document.items() if value is not None}
        parts = [value for name, value in kept.items() if name != "isSuccess"]
        if len(parts) == 1 and isinstance(parts[0], list) and "data" in kept:
            return parts[0]
        return kept
    if isinstance(document, list):
        return [_without_nulls(value) for value in document if value is not None]
    return document


def _document(route: Route[AnswerT], body: bytes) -> Any:
    try:
        return _parse(body)
    except (ValueError, RecursionError):
        raise LakeAnswerInvalid(
            f"the lake's answer is not JSON ({len(body)} bytes)",
            where=_call(route),
            remedy="Check that 'remote.url' is the address of a lake, and that no proxy answers in its place.",
        ) from None


def _parse(body: bytes) -> Any:
    """Parse a document. NaN and infinities become null, lone surrogates U+FFFD."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        # The fast parser accepts neither a byte order mark, nor a lone surrogate, nor NaN.
        return _unicode(json.loads(body, parse_constant=lambda _: None))


def _unicode(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_unicode(one) for one in value]
    if isinstance(value, dict):
        return {_unicode(name): _unicode(one) for name, one in value.items()}
    return value


def is_json(body: bytes) -> bool:
    """Return whether a body is a JSON document."""
    try:
        _parse(body)
    except (ValueError, RecursionError):
        return False
    return True


def _call(route: Route[Any]) -> str:
    return f"{route.method} {route.path}"


def _message(body: bytes) -> str | None:
    """Return the lake's message from the body of an error, or None."""
    try:
        document = _parse(body)
    except (ValueError, RecursionError):
        return None
    return _message_in(document)


def _message_in(document: object) -> str | None:
    """Return the message: `{"error": {"message": …}}`, as both published clients read it, or another common form."""
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    objects = (error, document) if isinstance(error, dict) else (document,)
    for one in objects:
        # 'details' comes first, because the annotation studio's message only refers to it.
        for key in ("details", "message", "warningMsg", "error", "detail", "title"):
            message = one.get(key)
            if isinstance(message, str) and message.strip():
                return redact(message)[:MESSAGE_LIMIT]
    return None


class RepeatGuard:
    """Checks the pages of one list in order, and remembers one of them at a time.

    Pages that shift while other clients write share some items. An identical page means that the lake, or a cache in
    front of it, ignores the page number. The remembered page is the one at the last power of two (Brent's method), so
    cycles of any length are found.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept: int | None = None
        self._seen = 0
        self._keep_next_at = 1

    def check(self, ids: Iterable[Hashable]) -> None:
        """Raise LakeAnswerInvalid if this page is a repetition. `ids`: those of its items, in order."""
        page = hash(tuple(ids))
        if page == self._kept:
            raise LakeAnswerInvalid(
                "the lake repeats a page of its list, so the list has no end",
                where=self._path,
                remedy="Check that no cache is in front of the lake, and ask its operator.",
            )
        self._seen += 1
        if self._seen == self._keep_next_at:
            self._kept = page
            self._keep_next_at *= 2
