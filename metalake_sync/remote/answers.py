"""From a status and a body to an answer, or to the error that says how far the damage reaches.

Both clients read answers here, so that they can't disagree. Must not: retry, or keep anything of a body in an error but
the lake's own message.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from metalake_sync.errors import CredentialsRefused, LakeAnswerInvalid, LakeRefused
from metalake_sync.protocol.routes import Effect, Route
from metalake_sync.remote.redaction import redact

AnswerT = TypeVar("AnswerT", bound=BaseModel)

ANSWER_LIMIT_BYTES = 64 << 20
"""No answer of the protocol comes near it; a larger one is not read to its end."""

MESSAGE_LIMIT = 500

EMPTY = "it is an empty object or null"
"""What is unlike the form that we know where a call that reads answers nothing in JSON."""

TOO_LARGE_REMEDY = (
    "A proxy in front of the lake limits the size of a request; ask its operator for a higher limit"
    " ('client_max_body_size' in nginx)."
)


Differs = Callable[[str], None]
"""Receives what is unlike the form that we know of an answer: a clause, without a value of the answer."""


def read_answer(route: Route[AnswerT], status: int, body: bytes, differs: Differs = lambda _: None) -> AnswerT | None:
    """The validated answer of a call, or None where the lake said that there is nothing: 204, an empty body, `null`, or
    `{}` from a call that reads.

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
            words or f"the lake answered {status}",
            status=status,
            where=_call(route),
            remedy=TOO_LARGE_REMEDY if status == 413 else None,
            explained=words is not None,
        )
    if status == 204 or not body.strip():
        return None
    document = _document(route, body)
    if isinstance(document, dict) and is_no(document.get("isSuccess")):
        words = _words_in(document) or "the lake refused it without a reason"
        raise LakeRefused(words, status=status, where=_call(route))
    if document is None or (document == {} and route.effect is Effect.READS):
        differs(EMPTY)
        return None
    try:
        return route.answer.model_validate(document)
    except ValidationError as error:
        first = error
    try:
        mended = route.answer.model_validate(_mended(document))
    except (ValidationError, RecursionError):
        raise LakeAnswerInvalid(
            f"the lake's answer is not what the protocol says ({_fault(first)})",
            where=_call(route),
            remedy="'metalake-sync doctor MANIFEST' says which answers of this lake are unlike those we know.",
        ) from None
    differs(_fault(first))
    return mended


_FAULTS = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "is not an object"),
    "list_type": "is not a list",
    "missing": "the field is missing",
}
"""What pydantic's names of faults mean, in words that do not name our classes."""


def is_no(value: object) -> bool:
    """Whether a flag says no, in any form of a flag."""
    return value is False or (isinstance(value, str) and value.strip().lower() == "false")


def _fault(error: ValidationError) -> str:
    """Where the first fault of an answer is, and what is wrong there. It holds no value of the answer."""
    fault = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, fault["loc"])) or "the answer"
    return f"{place}: {_FAULTS.get(fault['type'], fault['msg'].lower())}"


def _mended(document: Any) -> Any:
    """The document without its nulls, which say nothing, and without an envelope around its only list or object."""
    if isinstance(document, dict):
        kept = {name: _mended(value) for name, value in document.items() if value is not None}
        parts = [value for name, value in kept.items() if name != "isSuccess"]
        if len(parts) == 1 and isinstance(parts[0], list) and "data" in kept:
            return parts[0]
        return kept
    if isinstance(document, list):
        return [_mended(value) for value in document if value is not None]
    return document


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
    """The document. What JSON has no word for says nothing: NaN and infinities are null, half surrogates U+FFFD."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        # The quick reader takes neither a byte order mark, nor half a surrogate, nor NaN.
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
    return _words_in(document)


def _words_in(document: object) -> str | None:
    """A reason in words: `{"error": {"message": …}}`, as both published clients read it, or another usual form."""
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    places = (error, document) if isinstance(error, dict) else (document,)
    for place in places:
        # 'details' comes first: a message of the annotation studio only points there.
        for key in ("details", "message", "warningMsg", "error", "detail", "title"):
            words = place.get(key)
            if isinstance(words, str) and words.strip():
                return _clean(words)
    return None


def _clean(words: str) -> str:
    return redact(words)[:MESSAGE_LIMIT]
