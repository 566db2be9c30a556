"""The model of `checks`: what a plan checks in the sources before anything is sent.

Owns: these keys, their short forms and their defaults. Must not: check a file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core.core_schema import CoreSchema

from metalake_sync.manifest.types import Model

LEVELS = ("off", "warn", "error")


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


class ImageChecks(Model):
    """What is checked in the files of image and video collections."""

    level: LevelName = Field(
        "error", description="error: stop the plan. warn: list the files, and continue. off: no check."
    )


def _images(value: Any) -> Any:
    value = _level(value)
    return {"level": value} if isinstance(value, str) and value in LEVELS else value


DEFAULT_IMAGES = ImageChecks.model_construct(level="error")


class Checks(Model):
    """What is checked in the sources before a plan sends anything."""

    images: Annotated[ImageChecks, BeforeValidator(_images), _OrWord(LEVELS)] = Field(
        default=DEFAULT_IMAGES,
        description="Pointers of Git LFS and git-annex, and files that replace an image and cannot be one.",
    )
