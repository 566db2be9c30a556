"""The tables of base sets: the shapes of each annotation set that the lake confirmed.

Owns: `annotation_bases` and `shared_texts`. The tables of sets hold the ids of bases, and triggers delete a base with
its set. Must not: commit (the caller groups writes, see `StateStore.write`) or know how a set is found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import NewType

from metalake_sync.core.shapes import ImageRecord

SHARED_TEXTS_LIMIT = 4096
"""How many texts are shared at most. Sets contain further texts themselves."""

SHARED_TEXT_LENGTH_LIMIT = 1024

BaseId = NewType("BaseId", int)
"""A base that is stored already."""

ShapesOf = Callable[[str, str], ImageRecord | BaseId | None]
"""Returns the shapes of a set by the file's name and the operation, or the base that has them, or None if they are
unknown."""


def unknown_shapes(_name: str, _operation: str) -> None:
    """The shapes are unknown."""


NO_SET = 0
"""In place of the id of a base: the image has no set."""


class AnnotationBases:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, image: str, query: str, parameters: Sequence[object]) -> ImageRecord | None:
        """Return the set whose base a query selects, under the name of its image. None: the set has no base, or one
        that this version cannot read."""
        from metalake_sync.core.shape_encoding import UnreadableSet, decode_shapes

        row = self._connection.execute(
            f"SELECT body FROM annotation_bases WHERE id = ({query})",  # noqa: S608
            parameters,
        ).fetchone()
        if row is None:
            return None
        try:
            return decode_shapes(row[0], image, _SharedTexts(self._connection))
        except UnreadableSet:
            return None

    def of_history(self, image: str, base: int | None) -> ImageRecord | None:
        """Return a set that the history refers to. None: it is not known."""
        return ImageRecord(image, ()) if base == NO_SET else self.get(image, "?", (base,))

    def keep_for_history(self, bases: Iterable[int | None]) -> None:
        """Keep base sets when their set is sent again or deleted, because the history refers to them."""
        self._connection.executemany(
            "UPDATE annotation_bases SET in_history = 1 WHERE id = ? AND in_history = 0",
            [(base,) for base in bases if base],
        )

    def put(self, sets: Iterable[ImageRecord | BaseId | None]) -> list[int | None]:
        """Store base sets, and return their ids. None: the set is unknown. A base that is stored already keeps its
        id."""
        from metalake_sync.core.shape_encoding import encode_shapes

        texts = _SharedTexts(self._connection)
        (last,) = self._connection.execute("SELECT coalesce(max(id), 0) FROM annotation_bases").fetchone()
        ids: list[int | None] = []
        bodies: list[tuple[int, bytes]] = []
        for one in sets:
            if not isinstance(one, ImageRecord):
                ids.append(one)
                continue
            last += 1
            ids.append(last)
            bodies.append((last, encode_shapes(one, texts)))
        self._connection.executemany("INSERT INTO annotation_bases (id, body) VALUES (?, ?)", bodies)
        return ids


class _SharedTexts:
    """Reads the table when the first text is needed. It is not kept longer than one call, because a transaction that is
    rolled back takes its new texts along."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._numbers: dict[str, int] | None = None

    def number(self, text: str, *, likely: bool) -> int | None:
        if self._numbers is None:
            rows = self._connection.execute("SELECT text, id FROM shared_texts")
            self._numbers = dict(rows.fetchall())
        number = self._numbers.get(text)
        if number is not None or not likely:
            return number
        if len(self._numbers) >= SHARED_TEXTS_LIMIT or len(text) > SHARED_TEXT_LENGTH_LIMIT or not _is_utf8(text):
            return None
        number = len(self._numbers)
        self._connection.execute("INSERT INTO shared_texts (id, text) VALUES (?, ?)", (number, text))
        self._numbers[text] = number
        return number

    def text(self, number: int) -> str:
        row = self._connection.execute("SELECT text FROM shared_texts WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise KeyError(number)
        return str(row[0])


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
