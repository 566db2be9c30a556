"""The simple types of the manifest's keys, and the base class of its models.

Owns: which texts, paths and patterns are valid. Must not: know a key.
"""

from __future__ import annotations

import shlex
import unicodedata
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
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import CoreSchema

from metalake_sync.format_names import can_write, format_names, is_known
from metalake_sync.manifest.metadata_values import wrong

MediaTypeName = Literal["image", "video", "other"]

# Tags of the members of a union. They cannot be keys of a manifest, so they are easy to remove from error paths.
TEXT, OTHER = "<a text>", "<the other form>"


def _not_empty(text: str) -> str:
    if not text.strip():
        raise wrong("is empty", "Set a value, or remove the line.")
    return text


def _printable(text: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise wrong("contains characters that cannot be printed", "Remove them.")
    return text


def _moment(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise wrong("is not a date", "Write a day such as 2022-08-02, or a time such as 2022-08-02T12:00:00.") from None
    return text


def _no_zero_byte(text: str) -> str:
    if "\0" in text:
        raise wrong("contains a zero byte", "Remove it: file names cannot contain it.")
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
            raise wrong("has an unclosed quote", "Close it, or write the command as a list of arguments.") from None
    if value == []:
        raise wrong("is empty", "Name a command.")
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


class Model(BaseModel):
    """The base of every block.

    Validators are built with the first manifest, as a part of its own. Defaults are created with `model_construct`,
    because calling the model would build another validator.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
