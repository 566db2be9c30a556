"""Groups elements of a file by their image, because those of one image need not follow each other.

Owns: the temporary SQLite file. Memory holds its page cache, and the elements of one image. Must not: know a format.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from metalake_sync.annotations.formats.values import raw_bytes, raw_value
from metalake_sync.sources.scratch import unusable

_BATCH = 10_000


class ByImage(contextlib.AbstractContextManager["ByImage"]):
    """Elements by the name of their image. Raises SyncError where the temporary folder is full or missing."""

    def __init__(self) -> None:
        # With an empty name SQLite makes a temporary file that it deletes itself.
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.execute("CREATE TABLE element (image BLOB NOT NULL, number INTEGER NOT NULL, body BLOB)")
        self._rows.execute("BEGIN")
        self._waiting: list[tuple[bytes, int, bytes | None]] = []

    def add(self, image: str, number: int, element: Any) -> None:
        """Add an element, a JSON value, with its number in the file."""
        self._put(image, number, raw_bytes(element))

    def add_image(self, image: str, number: int) -> None:
        """Add an image that may have no element."""
        self._put(image, number, None)

    def images(self) -> Iterator[tuple[str, list[tuple[int, Any]]]]:
        """Yield each image with the numbers and values of its elements, in the order of the file."""
        with _explained():
            self._flush()
            self._rows.execute("CREATE INDEX element_image ON element (image, number)")
            order = "SELECT image FROM element GROUP BY image ORDER BY min(number)"
            for (image,) in self._rows.cursor().execute(order):
                of_one = "SELECT number, body FROM element WHERE image = ? ORDER BY number"
                found = self._rows.execute(of_one, (image,)).fetchall()
                yield (
                    image.decode("utf-8", "surrogatepass"),
                    [(number, raw_value(body)) for number, body in found if body is not None],
                )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._rows.close()

    def _put(self, image: str, number: int, body: bytes | None) -> None:
        # Texts of SQLite can't hold surrogates.
        self._waiting.append((image.encode("utf-8", "surrogatepass"), number, body))
        if len(self._waiting) == _BATCH:
            with _explained():
                self._flush()

    def _flush(self) -> None:
        self._rows.executemany("INSERT INTO element VALUES (?, ?, ?)", self._waiting)
        self._waiting.clear()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise unusable(str(error)) from None
