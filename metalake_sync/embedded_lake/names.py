"""Names, tags and metadata fields: what the lake accepts, and under which spelling it stores them.

Names are opaque text. Dots, spaces, quotes and scripts are all allowed, because no name reaches the file system. The
first spelling of a tag or field that the lake received is the one it suggests.

Owns: the storage paths of collections, the table of spellings, the normal form, and the renames in answers to validate
calls. Must not: change metadata of clients, unless the lake has the quirk to do so.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from metalake_sync.embedded_lake.quirks import Quirk
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


Kind = Literal["tag", "field"]

_NOT_IN_NORMAL_FORM = re.compile(r"[^0-9a-z]")
_TO_FILL = "spellings_to_fill"
"""A setting: the lake has metadata from before it recorded spellings."""


def normal_form(name: str) -> str:
    """Return the common form of all spellings of a name; empty for a name without ASCII letters and digits.

    Source: the vendor's public deployment repository.
    """
    return _NOT_IN_NORMAL_FORM.sub("", name.strip().lower())


class Spellings:
    """The spellings of one lake. Methods that write run inside the caller's transaction."""

    def __init__(self, db: sqlite3.Connection, quirks: frozenset[Quirk]) -> None:
        self._db = db
        self._has_own_spellings = not quirks.isdisjoint({Quirk.VALIDATE_RENAMES, Quirk.RENAMES_BY_ITSELF})
        self._renames_on_write = Quirk.RENAMES_BY_ITSELF in quirks
        self._fill()

    def renames(self, kind: Kind, names: Iterable[str]) -> dict[str, str]:
        """Return name → the lake's spelling, for the names that the lake spells differently."""
        return {name: known for name in names if (known := self._spelling(kind, name)) != name}

    def take(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Record the spellings in metadata that is written. Returns the metadata as the lake stores it."""
        kept = self._respelled(metadata) if self._renames_on_write else dict(metadata)
        self._note([kept])
        return kept

    def take_all(self, page: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Do what `take` does for the metadata of many files at once."""
        kept = [self._respelled(metadata) if self._renames_on_write else dict(metadata) for metadata in page]
        self._note(kept)
        return kept

    def requested(self, fields: Mapping[str, bool]) -> dict[str, bool]:
        """Return the requested fields of a details call, also in the spelling under which the lake stores them."""
        if not self._renames_on_write:
            return dict(fields)
        return {**{self._spelling("field", name): wanted for name, wanted in fields.items()}, **fields}

    def _respelled(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for field, value in metadata.items():
            if field == TAGS:
                kept[TAGS] = [self._spelling("tag", tag) for tag in value]
            else:
                kept[self._spelling("field", field)] = value
        return kept

    def _spelling(self, kind: Kind, name: str) -> str:
        normal = normal_form(name)
        if not normal:
            return name
        row = self._db.execute(
            "SELECT spelling FROM spellings WHERE kind = ? AND normal = ?", (kind, normal)
        ).fetchone()
        if row is not None:
            return str(row[0])
        return _own_spelling(name) if self._has_own_spellings else name

    def _note(self, page: Iterable[Mapping[str, Any]]) -> None:
        names: dict[tuple[Kind, str], None] = {}
        for metadata in page:
            for field, value in metadata.items():
                if field == TAGS:
                    names |= {("tag", tag): None for tag in value}
                else:
                    names["field", field] = None
        rows = [(kind, normal, name) for kind, name in names if (normal := normal_form(name))]
        self._db.executemany("INSERT OR IGNORE INTO spellings (kind, normal, spelling) VALUES (?, ?, ?)", rows)

    def _fill(self) -> None:
        """Record, once, the spellings of metadata from before the lake recorded spellings."""
        if not self._db.execute("SELECT 1 FROM settings WHERE key = ?", (_TO_FILL,)).fetchone():
            return
        for table in ("collections", "items"):
            rows = self._db.execute(f"SELECT DISTINCT metadata FROM {table} WHERE trashed = 0")  # noqa: S608
            self._note(json.loads(metadata) for (metadata,) in rows)
        self._db.execute("DELETE FROM settings WHERE key = ?", (_TO_FILL,))


def _own_spelling(name: str) -> str:
    """Return a spelling with the same normal form. Idempotent."""
    return name.lower().replace(" ", "_")
