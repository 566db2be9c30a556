"""Reads per-file metadata in the vendor's JSON: {"files": [{"file": name, "metadata": {field: value, "Tags": [..]}}]}.

Source of the format: the vendor's page on uploading, "JSON format of metadata for individual files".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from metalake_sync.core.metadata import TAGS
from metalake_sync.errors import Location, ManifestError
from metalake_sync.local.file_metadata import JsonSource


def read_metadata_json(path: Path, shown_as: str) -> JsonSource:
    """Read a file. Raises ManifestError, naming the line for broken JSON and the entry for a wrong one."""
    document = read_json(path, shown_as)
    if not isinstance(document, dict) or not isinstance(document.get("files"), list):
        raise ManifestError(
            "it is no metadata file",
            where=shown_as,
            remedy='It should read {"files": [{"file": "a.jpg", "metadata": {"field": "value"}}]}.',
        )
    entries: dict[str, dict[str, Any]] = {}
    places: dict[str, int] = {}
    for number, entry in enumerate(document["files"]):
        name, values = _entry(entry, f"{shown_as}: files[{number}]")
        if name in entries and entries[name] != values:
            raise ManifestError(
                f"'{name}' has metadata twice, and they differ: files[{places[name]}] and files[{number}]",
                where=shown_as,
                remedy="Keep one of them.",
            )
        entries[name], places[name] = values, number
    return JsonSource(shown_as, entries)


def read_json(path: Path, shown_as: str) -> Any:
    """Read a JSON document that a person or a tool wrote. Raises ManifestError with line and column."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"it is no UTF-8 (byte {error.start})", where=shown_as, remedy="Save it as UTF-8."
        ) from None
    except OSError as error:
        raise ManifestError(
            f"it can't be read ({error.strerror})", where=shown_as, remedy="Create it, or correct the path."
        ) from None
    try:
        return json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        place = Location(shown_as, error.lineno, error.colno)
        raise ManifestError(f"broken JSON ({error.msg})", where=place, remedy="Correct it there.") from None
    except _NotANumber as error:
        raise ManifestError(f"{error} is no JSON number", where=shown_as, remedy="Write a finite number.") from None
    except RecursionError:
        raise ManifestError("it is nested too deeply", where=shown_as, remedy="Make it flatter.") from None


class _NotANumber(Exception):
    pass


def _no_number(name: str) -> NoReturn:
    raise _NotANumber(name)


def _entry(entry: object, where: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or not entry["file"]:
        raise ManifestError("the entry names no file", where=where, remedy='Write {"file": "a.jpg", "metadata": {}}.')
    values = entry.get("metadata", {})
    if not isinstance(values, dict):
        raise ManifestError("'metadata' is no object", where=where, remedy='Write {"field": "value"}.')
    for name, value in values.items():
        if not name:
            raise ManifestError("a metadata field has no name", where=where, remedy="Name it, or take it out.")
        if value is None:
            raise ManifestError(
                f"'{name}' is null", where=where, remedy="The lake removes no field: give a value, or take it out."
            )
    tags = values.get(TAGS, [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise ManifestError(f"'{TAGS}' is no list of texts", where=where, remedy='Write "Tags": ["night", "rain"].')
    return entry["file"], values
