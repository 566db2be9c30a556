"""The effective metadata of each file: wide layers from the manifest, narrow ones from sources, patterns and the files
themselves.

Order, from wide to narrow: the layers of the collection, the folder's, then the `file_metadata` sources in the order of
the manifest. Tags are united, other fields overridden. Files without a line of their own share one MetadataSet. Each
layer knows where it comes from, so that every value can be explained.
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
from metalake_sync.sources.naming import plain_path
from metalake_sync.sources.rules import PatternList


@dataclass(frozen=True, slots=True)
class MetadataLayer:
    """What one place says of a file. `origin`: the place, for people."""

    origin: str
    values: MetadataValues


@dataclass(frozen=True, slots=True)
class PatternSource:
    """Metadata for every file that a pattern matches. `origin`: the manifest's file:line:column."""

    match: PatternList
    values: Mapping[str, Any]
    origin: str = ""


class FileReader(Protocol):
    """Reads metadata that a file carries, or that stands beside it."""

    def layers_of(self, path: str) -> Iterable[MetadataLayer]:
        """From wide to narrow. `path`: the file, to be opened. Raises ManifestError for what is there and broken."""
        ...


MetadataSource = EntrySource | PatternSource | FileReader


@dataclass(slots=True)
class MetadataRules:
    """The metadata rules of one collection. `base_layers`: from wide to narrow."""

    base_layers: tuple[MetadataLayer, ...] = ()
    sources: Sequence[MetadataSource] = ()
    spelling: Spelling = AS_WRITTEN
    """How the lake spells fields and tags."""
    _met: set[str] = field(default_factory=set)
    _spellings: dict[str, _Spellings] = field(default_factory=dict)
    """By what a source is shown as."""

    def for_folder(self, layer: MetadataLayer, root: str = "") -> FolderMetadata:
        """The rules in a folder that has metadata of its own. `root`: opens the folder."""
        return FolderMetadata(self, (*self.base_layers, layer), root)

    def entries_without_file(self) -> list[str]:
        """Entries of sources that met no file so far, in their order."""
        return [
            name
            for source in self.sources
            if isinstance(source, EntrySource)
            for name in source.entries
            if name not in self._met
        ]

    def broken_without_file(self) -> list[ManifestError]:
        """Broken entries of sources that met no file so far."""
        return [
            error
            for source in self.sources
            if isinstance(source, EntrySource)
            for name, error in source.broken.items()
            if name not in self._met
        ]

    def narrow_layers(self, name: str, relative_path: str, path: str) -> Iterator[MetadataLayer]:
        """What the sources say of one file. Raises ManifestError where something that they say of it is broken."""
        for source in self.sources:
            if isinstance(source, EntrySource):
                for key in self._keys_of(source, name, relative_path, path):
                    self._met.add(key)
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
        """What a source calls a file: by its name or its path, spelled so or, if not, as another system spells them."""
        keys = (name, relative_path) if name != relative_path else (name,)
        found = [key for key in keys if key in source.entries or key in source.broken]
        if found or not (source.entries or source.broken):
            return found
        spellings = self._spellings.get(source.shown_as)
        if spellings is None:
            spellings = self._spellings[source.shown_as] = _Spellings(source)
        return spellings.keys_of(*map(plain_path, keys), path=path)


class _Spellings:
    """The entries of one source by their plain spelling (`plain_path`)."""

    def __init__(self, source: EntrySource) -> None:
        self._source = source
        self._entries: dict[str, list[str]] = {}
        for entry in (*source.entries, *source.broken):
            self._entries.setdefault(plain_path(entry), []).append(entry)
        self._have_folders = any("/" in entry for entry in self._entries)

    def keys_of(self, *names: str, path: str) -> list[str]:
        """The entries of one file. `names`: plain ones; the last is its path from the source's folder. `path`: opens
        it. Raises ManifestError where two spellings say different things."""
        found = [entry for name in dict.fromkeys(names) for entry in self._entries.get(name, ())]
        if not found and self._have_folders:
            # With folders in front, as the path of the file has them.
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
                    f"'{found[0]}' and '{entry}' mean one file, and their metadata differs",
                    where=self._source.shown_as,
                    remedy="Keep one of them.",
                )
        return found


class FolderMetadata:
    """Gives each file of a folder its metadata; equal metadata is one object."""

    def __init__(self, rules: MetadataRules, layers: tuple[MetadataLayer, ...], root: str) -> None:
        self._rules = rules
        self._layers = layers
        self._root = root
        self._shared = metadata_set(merge_layers((layer.values for layer in layers), rules.spelling))
        self._by_digest: dict[str, MetadataSet] = {}

    @property
    def shared(self) -> MetadataSet | None:
        """The metadata of every file of the folder, or None where sources may give some of them more."""
        return None if self._rules.sources else self._shared

    def of(self, name: str, relative_path: str) -> MetadataSet:
        """The effective metadata of a file. `name`: in the collection; `relative_path`: from the source's folder.
        Raises ManifestError where something that belongs to it is broken."""
        if not self._rules.sources:
            return self._shared
        narrow = self._narrow(name, relative_path)
        if not narrow:
            return self._shared
        found = metadata_set(merge_layers((layer.values for layer in (*self._layers, *narrow)), self._rules.spelling))
        return self._by_digest.setdefault(found.digest, found)

    def layers_of(self, name: str, relative_path: str) -> list[MetadataLayer]:
        """Every layer that says something of a file, from wide to narrow."""
        return [layer for layer in (*self._layers, *self._narrow(name, relative_path)) if layer.values]

    def _narrow(self, name: str, relative_path: str) -> list[MetadataLayer]:
        path = os.path.join(self._root, relative_path)
        return list(self._rules.narrow_layers(name, relative_path, path))


@dataclass(frozen=True, slots=True)
class ExplainedField:
    """One field of a file's metadata. `origins`: who gave the value; for Tags everybody who gave one, for any other
    field exactly one. `overridden`: what wider layers said instead, from narrow to wide."""

    name: str
    value: Any
    origins: tuple[str, ...]
    overridden: tuple[MetadataLayer, ...] = ()


def explain_layers(layers: Sequence[MetadataLayer]) -> list[ExplainedField]:
    """Tell of each field of the effective metadata where its value comes from. `layers`: from wide to narrow."""
    explained: list[ExplainedField] = []
    for name, value in merge_layers(layer.values for layer in layers).items():
        saying = [layer for layer in layers if name in layer.values]
        if name == TAGS:
            explained.append(ExplainedField(name, value, tuple(layer.origin for layer in saying if layer.values[TAGS])))
            continue
        *wider, narrowest = saying
        overridden = tuple(MetadataLayer(layer.origin, {name: layer.values[name]}) for layer in reversed(wider))
        explained.append(ExplainedField(name, value, (narrowest.origin,), overridden))
    return explained
