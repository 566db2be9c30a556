"""The types of the manifest's values, and the base class of its models.

Owns: which texts, paths, patterns and metadata values are valid. Each error is placed at its own key.
Must not: know a key other than `Tags`, merge layers of metadata, or know which fields a lake has.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import CoreSchema

from metalake_sync.core.metadata import unsendable_number
from metalake_sync.format_registry import can_write, format_names, is_known


def value_error(message: str, remedy: str) -> PydanticCustomError:
    """Return an error in our own words. `message` continues after the key: "'name' …". `remedy` is a sentence."""
    return PydanticCustomError("manifest", "{message}", {"message": message, "remedy": remedy})


MediaTypeName = Literal["image", "video", "other"]

# Tags of the members of a union. They cannot be keys of a manifest, so they are easy to remove from error paths.
TEXT, OTHER = "<a text>", "<the other form>"


def _not_empty(text: str) -> str:
    if not text.strip():
        raise value_error("is empty", "Set a value, or remove the line.")
    return text


def _printable(text: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise value_error("contains characters that cannot be printed", "Remove them.")
    return text


def _moment(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise value_error(
            "is not a date", "Write a day such as 2022-08-02, or a time such as 2022-08-02T12:00:00."
        ) from None
    return text


FOREVER = "forever"

_DURATION = r"[1-9][0-9]{0,4}d|forever"


def _duration(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(_DURATION, value):
        raise value_error("is not a number of days", "Write a number of days such as 90d, or forever.")
    return value


_WORKERS = r"[0-9]{1,3}|[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*|(?:tcp|tls)://[^\s/?#@]+:[0-9]{1,5}"


def _workers(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not re.fullmatch(_WORKERS, text):
        raise value_error(
            "does not name workers",
            "Write a number of processes, tls://HOST:PORT of a Dask scheduler, or package.module:factory for a "
            "function that returns an Executor.",
        )
    return text


def _no_zero_byte(text: str) -> str:
    if "\0" in text:
        raise value_error("contains a zero byte", "Remove it: file names cannot contain it.")
    return text


def number_in_text(value: Any) -> Any:
    """Convert digits to a number, because the value of a variable is text. Return anything else unchanged."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _command(value: Any) -> Any:
    """Split a command as a shell does. It runs without a shell."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError:
            raise value_error(
                "has an unclosed quote", "Close it, or write the command as a list of arguments."
            ) from None
    if value == []:
        raise value_error("is empty", "Name a command.")
    return value


def text_or_list() -> Discriminator:
    """Distinguish a text from a list of texts, so that an error describes the form that was used."""

    def form(value: Any) -> str | None:
        if isinstance(value, str):
            return TEXT
        return OTHER if isinstance(value, list) else None

    return Discriminator(
        form,
        custom_error_type="manifest",
        custom_error_message="is neither a text nor a list",
        custom_error_context={"remedy": "Write a text or a list of texts."},
    )


_NOT_EMPTY = Field(json_schema_extra={"minLength": 1})
SOME = Field(json_schema_extra={"minItems": 1})

Text = Annotated[str, AfterValidator(_not_empty), AfterValidator(_printable), _NOT_EMPTY]
NAMES_A_PATH = "names a path"
"""Marks keys whose text is a local path."""

PathText = Annotated[str, AfterValidator(_not_empty), AfterValidator(_no_zero_byte), _NOT_EMPTY, NAMES_A_PATH]
Pattern = Annotated[str, AfterValidator(_not_empty), AfterValidator(_no_zero_byte), _NOT_EMPTY]
Moment = Annotated[str, AfterValidator(_moment), _NOT_EMPTY]
Duration = Annotated[str, BeforeValidator(_duration), Field(json_schema_extra={"pattern": f"^({_DURATION})$"})]
Workers = Annotated[
    str,
    BeforeValidator(_workers),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 999}, {"type": "string", "pattern": f"^({_WORKERS})$"}]}
    ),
]
Command = Annotated[
    list[PathText],
    BeforeValidator(_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]


class _FormatNames:
    """Lists the names of annotation formats in the JSON Schema: the built-in ones and those of installed packages."""

    def __init__(self, *, writing: bool) -> None:
        self._writing = writing

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": list(format_names(writing=self._writing)), "type": "string"}


def _read_format(name: Any) -> Any:
    if not isinstance(name, str) or not is_known(name):
        raise _unknown_format(format_names())
    return name


def _written_format(name: Any) -> Any:
    if not isinstance(name, str) or not is_known(name) or not can_write(name):
        raise _unknown_format(format_names(writing=True))
    return name


def _unknown_format(names: tuple[str, ...]) -> PydanticCustomError:
    """Return an error of the type that pydantic has for other words, so that both read the same."""
    return PydanticCustomError("literal_error", "unknown format", {"expected": ", ".join(map(repr, names))})


ReadFormat = Annotated[str, BeforeValidator(_read_format), _FormatNames(writing=False)]
WrittenFormat = Annotated[str, BeforeValidator(_written_format), _FormatNames(writing=True)]

TAGS = "Tags"


def _valid_metadata(values: dict[str, Any]) -> dict[str, Any]:
    errors = list(_metadata_errors(values))
    if errors:
        raise ValidationError.from_exception_data("metadata", errors)
    return values


def _metadata_errors(values: dict[str, Any]) -> Iterator[InitErrorDetails]:
    for field, value in values.items():
        if not field.strip():
            error = value_error("has no name", "Add a name.")
        elif field == TAGS:
            yield from _tag_errors(value)
            continue
        elif value is None:
            error = value_error(
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
        yield InitErrorDetails(type=value_error("is not a list", "Write Tags: [night, rain]."), loc=(TAGS,), input=tags)
        return
    for index, tag in enumerate(tags):
        if not isinstance(tag, str):
            error = value_error("is not text", "Put the tag in quotes.")
        elif not tag.strip():
            error = value_error("is empty", "Add a name, or remove it.")
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
            return value_error(number, "Write it as text, or remove it.")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return value_error("contains bytes that are not UTF-8", "Fix the variable that it comes from.")
    except RecursionError:
        return value_error("is nested too deeply", "Make it flatter.")
    except (TypeError, ValueError):
        return value_error(
            "is not a value that JSON can represent", "Use text, a number, a boolean, a list or a mapping."
        )
    return None


Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_valid_metadata),
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


class Model(BaseModel):
    """The base of every block.

    Validators are built with the first manifest, as a part of its own. Defaults are created with `model_construct`,
    because calling the model would build another validator.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
