"""The base class of documents, and how any document becomes JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic_core import PydanticSerializationError

_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


class Document(BaseModel):
    """A document, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def to_json(
    document: Any, *, indent: int | None = None, exclude_none: bool = True, include: set[str] | None = None
) -> str:
    """Return a document as JSON. File names that are not UTF-8 are written as `\\udc..` escapes."""
    adapter = _ADAPTERS.get(type(document))
    if adapter is None:
        adapter = _ADAPTERS[type(document)] = TypeAdapter(type(document))
    try:
        text = adapter.dump_json(document, indent=indent, exclude_none=exclude_none, include=include)
    except PydanticSerializationError:
        text = adapter.dump_json(_writable(document), indent=indent, exclude_none=exclude_none, include=include)
    return text.decode()


def _writable(value: Any) -> Any:
    """Return the value with text that UTF-8 can encode."""
    if isinstance(value, str):
        writable = value.encode("utf-8", "backslashreplace").decode()
        return value if writable == value else writable
    if isinstance(value, dict):
        return {_writable(key): _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_writable, value))
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: _writable(item) for name, item in value})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{name: _writable(item) for name, item in fields_of(value).items()})
    return value


def fields_of(document: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name."""
    return {field.name: getattr(document, field.name) for field in dataclasses.fields(document)}
