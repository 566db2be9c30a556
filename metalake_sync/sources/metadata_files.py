"""Reads a file that holds metadata of many files, whatever its format; the file's ending tells it where nobody does."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, assert_never

from metalake_sync.sources.metadata_csv import TableFormat, read_metadata_csv
from metalake_sync.sources.metadata_entries import EntrySource
from metalake_sync.sources.metadata_json import read_metadata_json
from metalake_sync.sources.metadata_lines import read_metadata_lines

MetadataFormat = Literal["metalake", "jsonl", "csv"]

_ENDINGS: dict[str, MetadataFormat] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def read_metadata_file(
    path: Path, shown_as: str, format: MetadataFormat | None = None, table: TableFormat | None = None
) -> EntrySource:
    """Read a source. `table`: how it is written if it is a table. Raises ManifestError."""
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
