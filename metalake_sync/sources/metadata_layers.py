"""The effective metadata of each file, merged from layers.

Owns: the order of layers, from wide to narrow: the collection, the folder, then the `file_metadata` sources in the
order of the manifest. Tags are merged, other fields overridden. Each layer has its origin, so that every value can be
explained. Files without an entry of their own share one MetadataSet. Must not: read a source.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from metalake_sync.core.metadata import (
    AS_WRITTEN,
    TAGS,
    MetadataSet,
    MetadataValues,
    Spelling,
    merge_layers,
    metadata_set,
)
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.metadata_entries import EntrySource
from metalake_sync.sources.names import plain_path
from metalake_sync.sources.rules import PatternList


@dataclass(frozen=True, slots=True)
class MetadataLayer:
    """The metadata that one place gives to a file. `origin` describes the place for users."""

    origin: str
    values: MetadataValues


@dataclass(frozen=True, slots=True)
class PatternSource:
    """Metadata for every file that matches a pattern. `origin` is the manifest's file:line:column."""

    match: PatternList
    values: Mapping[str, Any]
    origin: str = ""


class FileReader(Protocol):
    """Reads metadata inside a file, or in a file beside it."""

    def layers_of(self, path: str) -> Iterable[MetadataLayer]:
        """Yield layers from wide to narrow. `path` opens the file. Raises ManifestError for invalid metadata."""
        ...


MetadataSource = EntrySource | PatternSource | FileReader


@dataclass(slots=True)
class MetadataRules:
    """The metadata rules of one collection. `base_layers` go from wide to narrow."""

    base_layers: tuple[MetadataLayer, ...] = ()
    sources: Sequence[MetadataSource] = ()
    spelling: Spelling = AS_WRITTEN
    """How the lake spells fields and tags."""
    _matched: set[str] = field(default_factory=set)
    _spellings: dict[str, _Spellings] = field(default_factory=dict)
    """By the name of the source."""

    def for_folder(self, layer: MetadataLayer, root: str = "") -> FolderMetadata:
        """Return the rules of a folder with its own layer. `root` opens the folder."""
        return FolderMetadata(self, (*self.base_layers, layer), root)

    def entries_without_file(self) -> list[str]:
        """Return the entries that matched no file so far, in order."""
        return [
            name
            for source in self.sources
            if isinstance(source, EntrySource)
            for name in source.entries
            if name not in self._matched
        ]

    def broken_without_file(self) -> list[ManifestError]:
        """Return the errors of broken entries that matched no file so far."""
        return [
            error
            for source in self.sources
            if isinstance(source, EntrySource)
            for name, error in source.broken.items()
            if name not in self._matched
        ]

    def narrow_layers(self, name: str, relative_path: str, path: str) -> Iterator[MetadataLayer]:
        """Yield the layers of the sources for one file. Raises ManifestError if one of its entries is broken."""
        for source in self.sources:
            if isinstance(source, EntrySource):
                for key in self._keys_of(source, name, relative_path, path):
                    self._matched.add(key)
                    if key in source.broken:
                        raise source.broken[key]
                    yield MetadataLayer(source.place(key), source.entries[key])
            elif isinstance(source, PatternSource):
                folder, _, filename = relative_path.rpartition("/")
                if source.match.takes_file(folder, filename):
                    yield MetadataLayer(source.origin, source.values)
            else:
                yield from source.layers_of(path)

    def _keys_of(self, source: EntrySource, name: str, relative_path: str, path: str) -> list[str]:
        """Return the entries of a source that match a file by name or path. Other spellings count if none is equal."""
        keys = (name, relative_path) if name != relative_path else (name,)
        found = [key for key in keys if key in source.entries or key in source.broken]
        if found or not (source.entries or source.broken):
            return found
        spellings = self._spellings.get(source.shown_as)
        if spellings is None:
            spellings = self._spellings[source.shown_as] = _Spellings(source)
        return spellings.keys_of(*map(plain_path, keys), path=path)


class _Spellings:
    """The entries of one source by their normalized spelling (`plain_path`)."""

    def __init__(self, source: EntrySource) -> None:
        self._source = source
        self._entries: dict[str, list[str]] = {}
        for entry in (*source.entries, *source.broken):
            self._entries.setdefault(plain_path(entry), []).append(entry)
        self._have_folders = any("/" in entry for entry in self._entries)

    def keys_of(self, *names: str, path: str) -> list[str]:
        """Return the entries of one file. `names` are normalized; the last is its path from the source's folder. `path`
        opens the file. Raises ManifestError if two spellings have different metadata."""
        found = [entry for name in dict.fromkeys(names) for entry in self._entries.get(name, ())]
        if not found and self._have_folders:
            # Entries may include folders above the source's folder.
            above, _, _ = plain_path(os.path.abspath(path)).rpartition("/" + names[-1])
            key = names[-1]
            for part in reversed(above.split("/")):
                key = f"{part}/{key}"
                if key in self._entries:
                    found = self._entries[key]
                    break
        for entry in found[1:]:
            one, other = (self._source.entries.get(key) for key in (found[0], entry))
            if one != other:
                raise ManifestError(
                    f"'{found[0]}' and '{entry}' match the same file and have different metadata",
                    where=self._source.shown_as,
                    remedy="Keep one of them.",
                )
        return found


class FolderMetadata:
    """Returns the metadata of each file of a folder. Equal metadata is one object."""

    def __init__(self, rules: MetadataRules, layers: tuple[MetadataLayer, ...], root: str) -> None:
        self._rules = rules
        self._layers = layers
        self._root = root
        self._shared = metadata_set(merge_layers((layer.values for layer in layers), rules.spelling))
        self._by_digest: dict[str, MetadataSet] = {}

    @property
    def shared(self) -> MetadataSet | None:
        """The metadata of every file of the folder, or None if sources may add to some of them."""
        return None if self._rules.sources else self._shared

    def of(self, name: str, relative_path: str) -> MetadataSet:
        """Return the effective metadata of a file. `name` is its name in the collection, `relative_path` starts at the
        source's folder. Raises ManifestError if one of its entries is broken."""
        if not self._rules.sources:
            return self._shared
        narrow = self._narrow(name, relative_path)
        if not narrow:
            return self._shared
        found = metadata_set(merge_layers((layer.values for layer in (*self._layers, *narrow)), self._rules.spelling))
        return self._by_digest.setdefault(found.digest, found)

    def layers_of(self, name: str, relative_path: str) -> list[MetadataLayer]:
        """Return every layer with metadata for a file, from wide to narrow."""
        return [layer for layer in (*self._layers, *self._narrow(name, relative_path)) if layer.values]

    def _narrow(self, name: str, relative_path: str) -> list[MetadataLayer]:
        path = os.path.join(self._root, relative_path)
        return list(self._rules.narrow_layers(name, relative_path, path))


@dataclass(frozen=True, slots=True)
class ExplainedField:
    """One field of a file's metadata."""

    name: str
    value: Any
    origins: tuple[str, ...]
    """The origin of the value. Tags have the origins of all layers with tags."""
    overridden: tuple[MetadataLayer, ...] = ()
    """Values of wider layers, from narrow to wide."""


def explain_layers(layers: Sequence[MetadataLayer]) -> list[ExplainedField]:
    """Return the origin of each field of the effective metadata. `layers` go from wide to narrow."""
    explained: list[ExplainedField] = []
    for name, value in merge_layers(layer.values for layer in layers).items():
        giving = [layer for layer in layers if name in layer.values]
        if name == TAGS:
            explained.append(ExplainedField(name, value, tuple(layer.origin for layer in giving if layer.values[TAGS])))
            continue
        *wider, narrowest = giving
        overridden = tuple(MetadataLayer(layer.origin, {name: layer.values[name]}) for layer in reversed(wider))
        explained.append(ExplainedField(name, value, (narrowest.origin,), overridden))
    return explained
