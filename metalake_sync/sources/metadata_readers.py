"""Reads a file with metadata of many files: the vendor's JSON, JSON Lines, or a table.

Owns: these formats, and the choice of one by the manifest or else by the file extension. Must not: know the files.

JSON: {"files": [{"file": name, "metadata": {field: value, "Tags": [..]}}]}. Source: the vendor's page on uploading,
"JSON format of metadata for individual files".

JSON Lines: one object per line, {"file": name, "metadata": {…}}, or flat, {"file": name, field: value, …}. If
'metadata' is the only other key and an object, the line has the first form.

Table: one row per file, one column per field, with the names in the first row. Cells are text unless the column has a
type. An empty cell sets no value.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Literal, assert_never

from metalake_sync.core.metadata import TAGS
from metalake_sync.errors import Location, ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.metadata_entries import EntryReader, EntrySource, named_entry
from metalake_sync.sources.text_files import parse_json, read_json, read_lines

ColumnType = Literal["text", "integer", "number", "boolean", "json"]


@dataclass(frozen=True, slots=True)
class TableFormat:
    """The format of a table."""

    file_column: str = "file"
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    """Types of columns that are not text."""
    delimiter: str | None = None
    """None means a comma, or a tab in a .tsv file."""
    tags_separator: str = ";"


MetadataFormat = Literal["metalake", "jsonl", "csv"]

_ENDINGS: dict[str, MetadataFormat] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def read_metadata_file(
    path: Path, shown_as: str, format: MetadataFormat | None = None, table: TableFormat | None = None
) -> EntrySource:
    """Read a source. `table` is the format of a table. Raises ManifestError."""
    kind = format or _ENDINGS.get(path.suffix.lower(), "metalake")
    match kind:
        case "metalake":
            return read_metadata_json(path, shown_as)
        case "jsonl":
            return read_metadata_lines(path, shown_as)
        case "csv":
            return read_metadata_csv(path, shown_as, table or TableFormat())
        case _:
            assert_never(kind)


def read_metadata_json(path: Path, shown_as: str) -> EntrySource:
    """Read a file. Raises ManifestError with the line of invalid JSON, or with the invalid entry."""
    document = read_json(path, shown_as)
    if not isinstance(document, dict) or not isinstance(document.get("files"), list):
        raise ManifestError(
            "it is not a metadata file",
            where=shown_as,
            remedy='Write {"files": [{"file": "a.jpg", "metadata": {"field": "value"}}]}.',
        )
    reader = EntryReader(shown_as)
    for number, entry in enumerate(document["files"]):
        place = f"{shown_as}: files[{number}]"
        name, values = named_entry(entry, place)
        reader.add(name, values, place)
    return reader.source()


def read_metadata_lines(path: Path, shown_as: str) -> EntrySource:
    """Read a file. Empty lines are ignored. Raises ManifestError with the line."""
    reader = EntryReader(shown_as)
    for number, line in enumerate(read_lines(path, shown_as), start=1):
        if not line.strip():
            continue
        entry = parse_json(line, shown_as, number)
        place = Location(shown_as, number)
        name, inner = named_entry(entry, place)
        values = {key: value for key, value in entry.items() if key != "file"}
        if values.keys() == {"metadata"} and isinstance(inner, dict):
            values = inner
        reader.add(name, values, place)
    return reader.source()


ERRORS_SHOWN = 20

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_metadata_csv(path: Path, shown_as: str, table: TableFormat) -> EntrySource:
    """Read a table. A row with invalid values becomes a broken entry. Raises ManifestErrors, each with its line, for an
    invalid table and for rows without a file."""
    delimiter = table.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    rows = csv.reader(read_lines(path, shown_as), delimiter=delimiter, strict=True)
    reader = EntryReader(shown_as)
    errors: list[ManifestError] = []
    try:
        header = next(rows, None)
        columns = _columns(header or [], shown_as, table)
        while (row := next(rows, None)) is not None:
            if not any(row):
                continue
            place = Location(shown_as, rows.line_num)
            try:
                name = _name(columns, row, place, table)
            except ManifestError as error:
                errors.append(error)
                if len(errors) >= ERRORS_SHOWN:
                    break
                continue
            try:
                reader.add(name, _values(columns, row, place, table), place)
            except ManifestError as error:
                reader.refuse(name, error)
    except csv.Error as error:
        errors.append(
            ManifestError(
                f"broken CSV ({error})", where=Location(shown_as, rows.line_num), remedy="Fix the line, or its quotes."
            )
        )
    if errors:
        raise ManifestErrors(errors)
    return reader.source()


def _columns(header: Sequence[str], shown_as: str, table: TableFormat) -> list[str]:
    columns = [name.strip() for name in header]
    place = Location(shown_as, 1)
    if table.file_column not in columns:
        raise ManifestError(
            f"no column is named '{table.file_column}'; the columns are {', '.join(map(repr, columns)) or 'none'}",
            where=place,
            remedy="Rename the column of the files, or set 'file_column' (and 'delimiter' if it is not a comma).",
        )
    for index, name in enumerate(columns):
        if not name:
            raise ManifestError(f"column {index + 1} has no name", where=place, remedy="Name it, or remove it.")
        if columns.index(name) != index:
            raise ManifestError(f"two columns are named '{name}'", where=place, remedy="Rename one of them.")
    unknown = table.types.keys() - set(columns)
    if unknown:
        raise ManifestError(
            f"'types' names {', '.join(map(repr, sorted(unknown)))}, which is not a column",
            where=place,
            remedy="Fix 'types', or the first row.",
        )
    return columns


def _name(columns: Sequence[str], row: Sequence[str], place: Location, table: TableFormat) -> str:
    """Return the file name of a row."""
    if len(row) != len(columns):
        raise ManifestError(
            f"the row has {len(row)} cells, the first one {len(columns)}",
            where=place,
            remedy="Fix the row. Put cells that contain the separator in quotes.",
        )
    name = row[columns.index(table.file_column)].strip()
    if not name:
        raise ManifestError("the row has no file name", where=place, remedy=f"Fill in '{table.file_column}'.")
    return name


def _values(columns: Sequence[str], row: Sequence[str], place: Location, table: TableFormat) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column, cell in zip(columns, row, strict=True):
        text = cell.strip()
        if column == TAGS:
            tags = [tag.strip() for tag in text.split(table.tags_separator)]
            if any(tags):
                values[TAGS] = [tag for tag in tags if tag]
        elif text and column != table.file_column:
            values[column] = _value(text, table.types.get(column, "text"), column, place)
    return values


def _value(text: str, kind: ColumnType, column: str, place: Location) -> Any:
    match kind:
        case "text":
            return text
        case "json":
            return parse_json(text, place.file, place.line or 1)
        case "boolean":
            if text.lower() in _BOOLEANS:
                return _BOOLEANS[text.lower()]
        case "integer" | "number":
            try:
                if "_" in text:  # which Python allows in numbers
                    raise ValueError
                value = int(text) if kind == "integer" else float(text)
            except ValueError:
                value = math.nan
            if math.isfinite(value):
                return value
    what = {"boolean": "boolean", "integer": "whole number", "number": "number"}[kind]
    raise ManifestError(
        f"'{column}' is '{text[:60]}', which is not a {what}",
        where=place,
        remedy="Fix the value, or 'types' in the manifest.",
    )
