"""Labels, their attributes and values, each with a reference that never changes."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from metalake_sync.embedded_lake.rejections import not_acceptable
from metalake_sync.embedded_lake.store import LakeStore


class Labels:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db
        self._texts: dict[str, str] | None = None

    def references(self, wanted: Mapping[str, Mapping[str, Iterable[Any]]]) -> dict[str, Any]:
        """Return references of labels, attributes and values. Creates the missing ones."""
        if any(not label.strip() for label in wanted):
            raise not_acceptable("A label has no name")
        with self._store.write() as db:
            answer = {label: self._label(db, label, attributes) for label, attributes in wanted.items()}
        self._texts = None
        return answer

    def all(self) -> list[dict[str, str]]:
        rows = self._db.execute("SELECT label, ref, color FROM labels ORDER BY label")
        return [{"labelText": label, "label": ref, "color": color} for label, ref, color in rows]

    def texts(self) -> Mapping[str, str]:
        """Return reference → text of all attributes and values."""
        if self._texts is None:
            self._texts = dict(
                self._db.execute("SELECT ref, name FROM label_attributes UNION ALL SELECT ref, value FROM label_values")
            )
        return self._texts

    def _label(self, db: sqlite3.Connection, label: str, attributes: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
        db.execute(
            "INSERT INTO labels (label, ref, color) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (label, self._store.new_id(), f"#{secrets.token_hex(3)}"),
        )
        ref, color = db.execute("SELECT ref, color FROM labels WHERE label = ?", (label,)).fetchone()
        texts = {name: self._attribute(db, label, name, values) for name, values in attributes.items()}
        return {"ref": ref, "color": color, "texts": texts}

    def _attribute(self, db: sqlite3.Connection, label: str, name: str, values: Iterable[Any]) -> dict[str, Any]:
        db.execute(
            "INSERT INTO label_attributes (label, name, ref) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (label, name, self._store.new_id()),
        )
        (ref,) = db.execute("SELECT ref FROM label_attributes WHERE label = ? AND name = ?", (label, name)).fetchone()
        texts: dict[str, str] = {}
        for value in map(str, values):
            db.execute(
                "INSERT INTO label_values (attribute, value, ref) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (ref, value, self._store.new_id()),
            )
            (texts[value],) = db.execute(
                "SELECT ref FROM label_values WHERE attribute = ? AND value = ?", (ref, value)
            ).fetchone()
        return {"ref": ref, "texts": texts}
