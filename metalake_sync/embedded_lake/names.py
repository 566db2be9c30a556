"""Checks names, tags and metadata, and derives the storage paths of collections.

Names are opaque text. Dots, spaces, quotes and scripts are all allowed, because no name reaches the file system.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from metalake_sync.embedded_lake.rejections import not_acceptable

LONGEST = 256
"""The maximum length of a tag and of a metadata field's name, in characters."""

TAGS = "Tags"

_NOT_IN_STORAGE_PATHS = re.compile(r"[^a-zA-Z0-9\-_ ]")


def storage_path_for(collection_name: str) -> str:
    """Return the preferred storage path of a collection. Source: the vendor's public repositories."""
    return _NOT_IN_STORAGE_PATHS.sub("_", collection_name.replace("%20", " "))


def check_file_name(name: str) -> None:
    if not name or "/" in name or _has_controls(name):
        raise not_acceptable(f"Invalid file name: {name!r}")


def check_collection_name(name: str) -> None:
    if not name.strip() or _has_controls(name):
        raise not_acceptable(f"Invalid collection name: {name!r}")


def check_tags(tags: Iterable[Any]) -> None:
    for tag in tags:
        if not _is_valid(tag):
            raise not_acceptable(f"Invalid tag: {tag!r}")


def check_fields(fields: Iterable[Any]) -> None:
    for name in fields:
        if not _is_valid(name):
            raise not_acceptable(f"Invalid field: {name!r}")


def check_metadata(metadata: Mapping[str, Any]) -> None:
    check_fields(metadata)
    tags = metadata.get(TAGS, [])
    if not isinstance(tags, list):
        raise not_acceptable("Tags should be an array of strings")
    check_tags(tags)
    for name, value in metadata.items():
        if value is None or not is_finite(value):
            raise not_acceptable(f"Invalid value of field {name!r}")


def is_finite(value: Any) -> bool:
    """Return whether all numbers in a JSON value are finite. 1e400 is parsed as infinity."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    return not isinstance(value, list) or all(map(is_finite, value))


def _is_valid(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip()) and len(text) <= LONGEST and not _has_controls(text)


def _has_controls(text: str) -> bool:
    return not text.isprintable() and any(unicodedata.category(char) == "Cc" for char in text)
