"""Reading per-file metadata in JSON Lines, one object per line.

Owns: the format: {"file": name, "metadata": {…}}, or flat, {"file": name, field: value, …}. If 'metadata' is the only
other key and an object, the line has the first form. Must not: know the files.
"""

from __future__ import annotations

from pathlib import Path

from metalake_sync.errors import Location
from metalake_sync.sources.metadata_entries import EntryReader, EntrySource, named_entry
from metalake_sync.sources.text_files import parse_json, read_lines


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
