"""Reading per-file metadata in the vendor's JSON: "
"{"files": [{"file": name, "metadata": {field: value, "Tags": [..]}}]}.

Owns: the format. Must not: know the files.

Source of the format: the vendor's page on uploading, "JSON format of metadata for individual files".
"""

from __future__ import annotations

from pathlib import Path

from metalake_sync.errors import ManifestError
from metalake_sync.sources.metadata_entries import EntryReader, EntrySource, named_entry
from metalake_sync.sources.text_files import read_json

__all__ = ["read_json", "read_metadata_json"]


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
