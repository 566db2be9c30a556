"""The simple types of the manifest's keys, and the base of its models.

Owns: what a text, a path or a pattern may be. Must not: know a key.
"""

from __future__ import annotations

import shlex
import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, WithJsonSchema

from metalake_sync.manifest.metadata_values import wrong

MediaTypeName = Literal["image", "video", "other"]

# Tags of a union's members; no manifest has such a key, so that they are told from the file's own path.
TEXT, OTHER = "<a text>", "<the other form>"


def _not_empty(text: str) -> str:
    if not text.strip():
        raise wrong("is empty", "Give it a value, or take the line out.")
    return text


def _printable(text: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise wrong("holds characters that can't be printed", "Take them out.")
    return text


def _moment(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise wrong("is no date", "Write a day such as 2022-08-02, or a moment such as 2022-08-02T12:00:00.") from None
    return text


def _no_zero_byte(text: str) -> str:
    if "\0" in text:
        raise wrong("holds a zero byte", "Take it out: no file has such a name.")
    return text


def number_in_text(value: Any) -> Any:
    """The number that a text holds, because a variable gives texts; anything else as it is."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _command(value: Any) -> Any:
    """Split a command as a shell would, though none ever sees it."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError:
            raise wrong("ends inside quotes", "Close them, or write the command as a list of arguments.") from None
    if value == []:
        raise wrong("is empty", "Name a command.")
    return value


def text_or_list() -> Discriminator:
    """Tells a text from a list of texts, so that a mistake is told of the form that was meant."""

    def form(value: Any) -> str | None:
        if isinstance(value, str):
            return TEXT
        return OTHER if isinstance(value, list) else None

    return Discriminator(
        form,
        custom_error_type="manifest",
        custom_error_message="is neither a text nor a list",
        custom_error_context={"remedy": "It takes a text or a list of texts."},
    )


_NOT_EMPTY = Field(json_schema_extra={"minLength": 1})
SOME = Field(json_schema_extra={"minItems": 1})

Text = Annotated[str, AfterValidator(_not_empty), AfterValidator(_printable), _NOT_EMPTY]
NAMES_A_PATH = "names a path"
"""Marks the keys whose text is a path on disk."""

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


class Model(BaseModel):
    """A block. Its validator is made with the first manifest, as a part of that one's: a default is put together by
    `model_construct`, because it would have a validator of its own made."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
