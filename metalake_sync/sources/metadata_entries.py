"""Checked entries of metadata sources, each with its place.

Owns: the valid contents of an entry, for every format. Must not: open a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from metalake_sync.core.metadata import TAGS, unsendable_number
from metalake_sync.errors import Location, ManifestError
from metalake_sync.lazy_dataclass import dataclass

Place = Location | str

HALF_A_CHARACTER = "the text contains half a character (a surrogate such as \\ud800), which cannot be sent"
WRITE_IT_WHOLE = "Write the whole character, or remove it."


def is_sendable_text(text: str) -> bool:
    """Return whether UTF-8 can encode a text, which is not the case for half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class EntrySource:
    """The entries of one source."""

    shown_as: str
    """The name of the source in errors."""
    entries: Mapping[str, Mapping[str, Any]]
    """Values by the file name that the source uses."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """The place of each entry."""
    broken: Mapping[str, ManifestError] = field(default_factory=dict)
    """Invalid entries, with the error. They are not in `entries`."""

    def place(self, name: str) -> str:
        """Return the place of an entry as text."""
        return str(self.places.get(name, self.shown_as))


class EntryReader:
    """Collects the entries of one source. Invalid entries, and entries that contradict each other, are broken."""

    def __init__(self, shown_as: str) -> None:
        self._shown_as = shown_as
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._places: dict[str, Place] = {}
        self._broken: dict[str, ManifestError] = {}

    def add(self, name: str, values: object, place: Place) -> None:
        """Add an entry. `values` is the value of 'metadata', of any type."""
        try:
            checked = as_object(values, place)
            check_values(checked, place)
        except ManifestError as error:
            self.refuse(name, error)
            return
        if name in self._entries and self._entries[name] != checked:
            self.refuse(
                name,
                ManifestError(
                    f"'{name}' has metadata twice, and they differ: {self._places[name]} and {place}",
                    where=self._shown_as,
                    remedy="Keep one of them.",
                ),
            )
        elif name not in self._broken:
            self._entries[name], self._places[name] = checked, place

    def refuse(self, name: str, error: ManifestError) -> None:
        """Mark an entry as broken, so that the metadata of its file is unknown."""
        self._broken.setdefault(name, error)
        self._entries.pop(name, None)
        self._places.pop(name, None)

    def source(self) -> EntrySource:
        return EntrySource(self._shown_as, self._entries, self._places, self._broken)


def check_values(values: Mapping[str, Any], place: Place) -> None:
    """Raise ManifestError for a field or a tag that cannot be sent."""
    for name, value in values.items():
        if not name.strip():
            raise ManifestError("a metadata field has no name", where=place, remedy="Name it, or remove it.")
        if value is None:
            raise ManifestError(
                f"'{name}' is null", where=place, remedy="Set a value, or remove it. The lake cannot remove a field."
            )
    try:
        for name, value in values.items():
            trouble = unsendable_number(value)
            if trouble is not None:
                raise ManifestError(f"'{name}' {trouble}", where=place, remedy="Write it as text, or remove it.")
            try:
                sendable = is_sendable_text(json.dumps({name: value}, ensure_ascii=False))
            except TypeError:
                what = f"'{name}' is not a value that JSON can represent"
                raise ManifestError(what, where=place, remedy="Use text, a number, a list or a mapping.") from None
            if not sendable:
                raise ManifestError(HALF_A_CHARACTER, where=place, remedy=WRITE_IT_WHOLE)
    except RecursionError:
        raise ManifestError("the metadata is nested too deeply", where=place, remedy="Make it flatter.") from None
    tags = values.get(TAGS, [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ManifestError(f"'{TAGS}' is not a list of texts", where=place, remedy='Write "Tags": ["night", "rain"].')
    if not all(tag.strip() for tag in tags):
        raise ManifestError(f"a tag in '{TAGS}' is empty", where=place, remedy="Name it, or remove it.")


def named_entry(entry: object, place: Place) -> tuple[str, Any]:
    """Return the file name of a JSON object and its 'metadata'. Raises ManifestError if it has no file name."""
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or not entry["file"]:
        raise ManifestError(
            "the entry has no file name", where=place, remedy='Write {"file": "a.jpg", "metadata": {}}.'
        )
    return entry["file"], entry.get("metadata", {})


def as_object(values: Any, place: Place) -> dict[str, Any]:
    """Return the value of 'metadata'. Raises ManifestError if it is not an object."""
    if not isinstance(values, dict):
        raise ManifestError("'metadata' is not an object", where=place, remedy='Write {"field": "value"}.')
    return values
