"""How the lake spells tags and metadata fields: the first spelling that it got is the one it offers to clients.

Owns: the table of spellings, the normal form, and the renames that the validate calls answer with. Must not: change
metadata that a client writes, unless the lake has the quirk of doing so.
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
"""A setting: there is metadata from before the lake kept spellings."""


def normal_form(name: str) -> str:
    """Return what two spellings of one name have in common; empty for a name without ASCII letters and digits.

    Source: the vendor's public deployment repository.
    """
    return _NOT_IN_NORMAL_FORM.sub("", name.strip().lower())


class Spellings:
    """The spellings of one lake. Methods that write run inside the caller's transaction."""

    def __init__(self, db: sqlite3.Connection, quirks: frozenset[Quirk]) -> None:
        self._db = db
        self._has_its_own = not quirks.isdisjoint({Quirk.VALIDATE_RENAMES, Quirk.RENAMES_BY_ITSELF})
        self._renames_by_itself = Quirk.RENAMES_BY_ITSELF in quirks
        self._fill()

    def renames(self, kind: Kind, names: Iterable[str]) -> dict[str, str]:
        """Return name → the lake's spelling of it, for the names that the lake spells otherwise."""
        return {name: known for name in names if (known := self._spelling(kind, name)) != name}

    def take(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Note the spellings of metadata that is written, and return the metadata as the lake keeps it."""
        kept = self._respelled(metadata) if self._renames_by_itself else dict(metadata)
        self._note([kept])
        return kept

    def take_all(self, page: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Do what `take` does for the metadata of many files, in one go."""
        kept = [self._respelled(metadata) if self._renames_by_itself else dict(metadata) for metadata in page]
        self._note(kept)
        return kept

    def asked_for(self, fields: Mapping[str, bool]) -> dict[str, bool]:
        """The fields that a details call asks for; a lake that stores them under its own names finds them, too."""
        if not self._renames_by_itself:
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
        return _of_its_own(name) if self._has_its_own else name

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
        """Note, once, the metadata that the lake had before it kept spellings."""
        if not self._db.execute("SELECT 1 FROM settings WHERE key = ?", (_TO_FILL,)).fetchone():
            return
        for table in ("collections", "items"):
            rows = self._db.execute(f"SELECT DISTINCT metadata FROM {table} WHERE trashed = 0")  # noqa: S608
            self._note(json.loads(metadata) for (metadata,) in rows)
        self._db.execute("DELETE FROM settings WHERE key = ?", (_TO_FILL,))


def _of_its_own(name: str) -> str:
    """A spelling of the same normal form; the spelling of a spelling is itself."""
    return name.lower().replace(" ", "_")
