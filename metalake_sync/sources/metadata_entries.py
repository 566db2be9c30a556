"""Metadata by file, as sources give it: entries that are checked, each with the place where it stands.

Owns: what an entry may hold, whatever format it was read from. Must not: open a file.
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

HALF_A_CHARACTER = "it holds half a character (a surrogate such as \\ud800), which no lake takes"
WRITE_IT_WHOLE = "Write the whole character, or take it out."


def is_sendable_text(text: str) -> bool:
    """Whether a text is one that JSON in UTF-8 can carry: no half of a surrogate pair stands alone."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class EntrySource:
    """The entries of one source: what it calls a file → values. `shown_as`: the source's name in errors. `places`:
    where each entry stands in it. `broken`: entries that can't be used, with the reason; they are in none of the
    others."""

    shown_as: str
    entries: Mapping[str, Mapping[str, Any]]
    places: Mapping[str, Place] = field(default_factory=dict)
    broken: Mapping[str, ManifestError] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """Where an entry stands, for people."""
        return str(self.places.get(name, self.shown_as))


class EntryReader:
    """Gathers the entries of one source. An entry that no lake takes, and two that contradict each other, are broken;
    the others stay usable."""

    def __init__(self, shown_as: str) -> None:
        self._shown_as = shown_as
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._places: dict[str, Place] = {}
        self._broken: dict[str, ManifestError] = {}

    def add(self, name: str, values: object, place: Place) -> None:
        """Take an entry. `values`: what stands under 'metadata', whatever it is."""
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
        """Take an entry as broken: nothing is known of what its file should have."""
        self._broken.setdefault(name, error)
        self._entries.pop(name, None)
        self._places.pop(name, None)

    def source(self) -> EntrySource:
        return EntrySource(self._shown_as, self._entries, self._places, self._broken)


def check_values(values: Mapping[str, Any], place: Place) -> None:
    """Raise ManifestError for a field or a Tag that can't be sent."""
    for name, value in values.items():
        if not name.strip():
            raise ManifestError("a metadata field has no name", where=place, remedy="Name it, or take it out.")
        if value is None:
            raise ManifestError(
                f"'{name}' is null", where=place, remedy="The lake removes no field: give a value, or take it out."
            )
    try:
        for name, value in values.items():
            trouble = unsendable_number(value)
            if trouble is not None:
                raise ManifestError(f"'{name}' {trouble}", where=place, remedy="Make it a text, or take it out.")
            try:
                sendable = is_sendable_text(json.dumps({name: value}, ensure_ascii=False))
            except TypeError:
                what = f"'{name}' is not a value that JSON can carry"
                raise ManifestError(what, where=place, remedy="Give a text, a number, a list or a mapping.") from None
            if not sendable:
                raise ManifestError(HALF_A_CHARACTER, where=place, remedy=WRITE_IT_WHOLE)
    except RecursionError:
        raise ManifestError("the metadata is nested too deeply", where=place, remedy="Make it flatter.") from None
    tags = values.get(TAGS, [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ManifestError(f"'{TAGS}' is no list of texts", where=place, remedy='Write "Tags": ["night", "rain"].')
    if not all(tag.strip() for tag in tags):
        raise ManifestError(f"a tag in '{TAGS}' is empty", where=place, remedy="Name it, or take it out.")


def named_entry(entry: object, place: Place) -> tuple[str, Any]:
    """The file that a JSON object names, and its 'metadata'. Raises ManifestError where it names none."""
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or not entry["file"]:
        raise ManifestError("the entry names no file", where=place, remedy='Write {"file": "a.jpg", "metadata": {}}.')
    return entry["file"], entry.get("metadata", {})


def as_object(values: Any, place: Place) -> dict[str, Any]:
    """What stands under 'metadata'. Raises ManifestError where it is no object."""
    if not isinstance(values, dict):
        raise ManifestError("'metadata' is no object", where=place, remedy='Write {"field": "value"}.')
    return values
