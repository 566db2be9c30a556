"""Tables of annotations (CSV), read row by row.

Owns: quotes, the names of the columns, and errors with their line. Must not: know what a column means.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator

from metalake_sync.annotations.entries import NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FileHead
from metalake_sync.errors import Location, ManifestError
from metalake_sync.sources.text_files import LINE_LIMIT_CHARS, read_lines


def columns_of(head: FileHead) -> list[str]:
    """Return the cells of a file's first line, in lower case."""
    lines = head.start().decode("utf-8-sig", "replace").splitlines()
    try:
        return _named(next(csv.reader(lines[:1]), []))
    except csv.Error:
        return []


def rows_of(file: SourceFile) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the cells of each row, the first one included. Rows without any text are skipped. Raises
    ManifestError with the line."""
    # The largest cells hold the outlines of polygons.
    csv.field_size_limit(LINE_LIMIT_CHARS)
    rows = csv.reader(read_lines(file.path, file.shown_as), strict=True)
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise ManifestError(
                f"broken CSV ({error})",
                where=Location(file.shown_as, line),
                remedy="Correct the line, or its quotes.",
            ) from None
        if row is None:
            return
        if any(row):
            yield line, row


class Table:
    """A table whose first row names the columns, in any letter case."""

    def __init__(self, file: SourceFile, needed: Collection[str], kind: str, *, names_alone: bool = False) -> None:
        """`needed`: columns, in lower case. `kind`: the format as messages name it. `names_alone`: whether a row may
        have one cell only, the name of an image. Raises NotAnnotations for a table without the columns, and
        ManifestError."""
        self._rows = rows_of(file)
        _, first = next(self._rows, (0, []))
        self.columns: dict[str, int] = {}
        for at, name in enumerate(_named(first)):
            self.columns.setdefault(name, at)
        self._where = file.shown_as
        self._kind = kind
        self._names_alone = names_alone
        self._needed: dict[str, int] = {}
        self.need(needed)

    def need(self, columns: Collection[str]) -> None:
        """Raise NotAnnotations for a table without these columns."""
        missing = next((name for name in columns if name not in self.columns), None)
        if missing is not None:
            raise NotAnnotations(
                f"the table has no column '{missing}'",
                where=self._where,
                remedy=f"The columns of a {self._kind} table include: {', '.join(columns)}.",
            )
        self._needed |= {name: self.columns[name] for name in columns}

    def rows(self, notes: ReadNotes) -> Iterator[tuple[int, Row]]:
        """Yield the line and the cells of each row after the first one.

        A row that ends before a needed column was cut off, and maybe more rows with it. It is left out, and the source
        is incomplete.
        """
        last = max(self._needed.values())
        for line, cells in self._rows:
            if len(cells) <= last and not (self._names_alone and len(cells) == 1):
                missing = min((at, name) for name, at in self._needed.items() if at >= len(cells))[1]
                what = f"rows end before '{missing}', so images without an entry keep their sets"
                notes.leave_out(what, f"line {line}")
                notes.incomplete = True
                continue
            yield line, Row(self.columns, cells)


class Row:
    """The cells of one row."""

    def __init__(self, columns: dict[str, int], cells: list[str]) -> None:
        self._columns = columns
        self._cells = cells

    def get(self, column: str) -> str:
        """Return a cell without blanks around it. A missing one is empty."""
        at = self._columns.get(column, len(self._cells))
        return self._cells[at].strip() if at < len(self._cells) else ""


def _named(cells: list[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def size_in(width: str, height: str) -> tuple[int, int] | None:
    """Return width and height that a table states, or None if they are not whole numbers above 0."""
    if not all(len(side) < 10 and side.isascii() and side.isdigit() for side in (width, height)):
        return None
    return (int(width), int(height)) if int(width) and int(height) else None
