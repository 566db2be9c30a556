"""The lake's spellings of tags and metadata fields: the first spelling that it received is the one it suggests.

Owns: the table of spellings, the normal form, and the renames in answers to validate calls. Must not: change metadata
of clients, unless the lake has the quirk to do so.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from metalake_sync.embedded_lake.names import TAGS
from metalake_sync.embedded_lake.quirks import Quirk

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
