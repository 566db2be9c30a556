"""The model of `checks`: what a plan checks in the sources before anything is sent.

Owns: these keys, their short forms and their defaults. Must not: check a file.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core.core_schema import CoreSchema

from metalake_sync.manifest.types import Model, Text, number_in_text, value_error

LEVELS = ("off", "warn", "error")
DEPTHS = ("placeholders", "header", "decode")


class _OrWord:
    """Adds the short form of a block to the JSON Schema."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": [*self._words, False]}, handler(schema)]}


def _level(value: Any) -> Any:
    """Accept `false`, because YAML 1.1 reads `off` so, and programs write manifests with it."""
    return "off" if value is False else value


class _LevelSchema:
    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": [*LEVELS, False]}


LevelName = Annotated[Literal["off", "warn", "error"], BeforeValidator(_level), _LevelSchema()]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_SIZE = r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([kKmMgG]?)[bB]?"


def _size(value: Any) -> Any:
    """Convert 50MB to bytes."""
    found = re.fullmatch(_SIZE, value) if isinstance(value, str) else None
    if found is not None:
        return round(float(found[1]) * _UNITS[found[2].lower()])
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise value_error("is not a size", "Write a number of bytes, or a size such as 500kB, 50MB or 2GB.")


class _SizeSchema:
    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^{_SIZE}$"}]}


SizeInBytes = Annotated[int, Field(ge=1), BeforeValidator(_size), _SizeSchema()]


class ImageChecks(Model):
    """What is checked in the files of image and video collections."""

    level: LevelName = Field(
        "error", description="error: stop the plan. warn: list the files, and continue. off: no check."
    )
    depth: Literal["placeholders", "header", "decode"] = Field(
        "header",
        description="placeholders: find Git LFS and git-annex pointers, and files that became empty. header: also read "
        "the structure of each new or changed file. decode: also decode the pixels of images, which needs Pillow.",
    )
    max_bytes: SizeInBytes | None = Field(
        None, description="Size limit of a file, in bytes or as 50MB. If left out, no limit."
    )
    max_pixels: Annotated[int, Field(ge=1), BeforeValidator(number_in_text)] | None = Field(
        None, description="Limit of width times height of an image, for header and decode. If left out, no limit."
    )


class LeakChecks(Model):
    """Collections that must not share an image, such as those for training and for validation."""

    level: LevelName = Field(
        "error", description="error: stop the plan. warn: list the files, and continue. off: no check."
    )
    collections: list[Annotated[list[Text], Field(min_length=2)]] = Field(
        default=[],
        description="Lists of names of collections. No two collections of a list may share an image. If left out, all "
        "collections of one type are a list.",
    )


_PERCENT = r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%"


def _percent(value: Any) -> Any:
    """Convert 20% to 20.0."""
    found = re.fullmatch(_PERCENT, value) if isinstance(value, str) else None
    if found is None or float(found[1]) > 100:
        raise value_error("is not a percentage", "Write a percentage from 0% to 100%, such as 20%.")
    return float(found[1])


class _PercentSchema:
    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": f"^{_PERCENT}$"}


Percent = Annotated[float, BeforeValidator(_percent), _PercentSchema()]


class LabelChecks(Model):
    """What is checked in the labels of annotations."""

    level: LevelName = Field(
        "error", description="error: stop the plan. warn: list the files, and continue. off: no check."
    )
    allow: list[Text] | None = Field(None, description="Labels that annotations may have. If left out, any label.")
    max_share_change: Percent | None = Field(
        None,
        description="How far the share of a label may move from that of the recorded sets, in percentage points of all "
        "shapes of an operation, such as 20%. If left out, any change.",
    )


def _leaks(value: Any) -> Any:
    value = _level(value)
    return {"level": value} if isinstance(value, str) and value in LEVELS else value


def _images(value: Any) -> Any:
    value = _level(value)
    if isinstance(value, str) and value in LEVELS:
        return {"level": value}
    return {"depth": value} if isinstance(value, str) and value in DEPTHS else value


DEFAULT_IMAGES = ImageChecks.model_construct(level="error", depth="placeholders")


class Checks(Model):
    """What is checked in the sources before a plan sends anything."""

    images: Annotated[ImageChecks, BeforeValidator(_images), _OrWord((*LEVELS, *DEPTHS))] = Field(
        default=DEFAULT_IMAGES,
        description="Damaged files, and files that are not what their extension says: off, warn, error, a depth "
        "(placeholders, header, decode), or a mapping. If left out: placeholders.",
    )
    duplicates: LevelName = Field(
        "off", description="Files of one collection that have the same bytes: off, warn, error."
    )
    split_leak: Annotated[LeakChecks, BeforeValidator(_leaks), _OrWord(LEVELS)] = Field(
        default=LeakChecks.model_construct(level="off"),
        description="Images that are in two collections, such as those for training and for validation: off, warn, "
        "error, or a mapping. If left out: off.",
    )
    boxes: LevelName = Field(
        "off",
        description="Shapes that reach outside of their image, in its stored orientation and in its displayed one: "
        "off, warn, error.",
    )
    labels: LabelChecks = Field(
        default=LabelChecks.model_construct(), description="Labels of annotations, and their shares."
    )
