"""Reading a file with metadata of many files, in any of the formats.

Owns: the choice of the format, by the manifest or else by the file extension. Must not: know a format.
"""

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
