"""The valid values of a metadata block. Each error is placed at its own key.

Owns: the rules for fields and for `Tags`. Must not: merge layers, or know which fields a lake has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from metalake_sync.core.metadata import unsendable_number

TAGS = "Tags"


def wrong(message: str, remedy: str) -> PydanticCustomError:
    """Return an error in our own words. `message` continues after the key: "'name' …". `remedy` is a sentence."""
    return PydanticCustomError("manifest", "{message}", {"message": message, "remedy": remedy})


def _metadata(values: dict[str, Any]) -> dict[str, Any]:
    errors = list(_errors(values))
    if errors:
        raise ValidationError.from_exception_data("metadata", errors)
    return values


def _errors(values: dict[str, Any]) -> Iterator[InitErrorDetails]:
    for field, value in values.items():
        if not field.strip():
            error = wrong("has no name", "Add a name.")
        elif field == TAGS:
            yield from _tag_errors(value)
            continue
        elif value is None:
            error = wrong(
                "has no value", "Set a value, or remove the line. The protocol of the lake cannot remove a field."
            )
        else:
            trouble = _unsendable(value)
            if trouble is None:
                continue
            error = trouble
        yield InitErrorDetails(type=error, loc=(field,), input=value)


def _tag_errors(tags: Any) -> Iterator[InitErrorDetails]:
    if not isinstance(tags, list):
        yield InitErrorDetails(type=wrong("is not a list", "Write Tags: [night, rain]."), loc=(TAGS,), input=tags)
        return
    for index, tag in enumerate(tags):
        if not isinstance(tag, str):
            error = wrong("is not text", "Put the tag in quotes.")
        elif not tag.strip():
            error = wrong("is empty", "Add a name, or remove it.")
        else:
            trouble = _unsendable(tag)
            if trouble is None:
                continue
            error = trouble
        yield InitErrorDetails(type=error, loc=(TAGS, index), input=tag)


def _unsendable(value: Any) -> PydanticCustomError | None:
    """Return why a value cannot be sent, or None. A variable may hold any bytes, and a program may pass any object."""
    try:
        number = unsendable_number(value)
        if number is not None:
            return wrong(number, "Write it as text, or remove it.")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return wrong("contains bytes that are not UTF-8", "Fix the variable that it comes from.")
    except RecursionError:
        return wrong("is nested too deeply", "Make it flatter.")
    except (TypeError, ValueError):
        return wrong("is not a value that JSON can represent", "Use text, a number, a boolean, a list or a mapping.")
    return None


Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_metadata),
    Field(
        json_schema_extra={
            "properties": {
                TAGS: {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1},
                    "description": "Tags. Those of wider and narrower layers are merged.",
                }
            },
            "additionalProperties": {"type": ["string", "number", "boolean", "array", "object"]},
        }
    ),
]
