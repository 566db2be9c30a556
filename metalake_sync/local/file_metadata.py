"""The effective metadata of each file: wide layers from the manifest, narrow ones from sources and patterns.

Order, from wide to narrow: the layers of the collection, the folder's, then the `file_metadata` sources in the order of
the manifest. Tags are united, other fields overridden. Files without a line of their own share one MetadataSet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metalake_sync.core.metadata import MetadataSet, MetadataValues, merge_layers, metadata_set
from metalake_sync.local.rules import PatternList


@dataclass(frozen=True, slots=True)
class JsonSource:
    """Metadata by file: the name in the collection or the path from the source's folder → values."""

    place: str
    entries: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class PatternSource:
    """Metadata for every file that a pattern matches."""

    match: PatternList
    values: Mapping[str, Any]


MetadataSource = JsonSource | PatternSource


@dataclass(slots=True)
class MetadataRules:
    """The metadata rules of one collection. `base_layers`: from wide to narrow."""

    base_layers: tuple[MetadataValues, ...] = ()
    sources: Sequence[MetadataSource] = ()
    _met: set[str] = field(default_factory=set)

    def for_folder(self, layer: MetadataValues) -> FolderMetadata:
        """The rules in a folder that has metadata of its own."""
        return FolderMetadata(self, (*self.base_layers, layer))

    def entries_without_file(self) -> list[str]:
        """Entries of sources that met no file so far, in their order."""
        return [
            name
            for source in self.sources
            if isinstance(source, JsonSource)
            for name in source.entries
            if name not in self._met
        ]

    def narrow_layers(self, name: str, relative_path: str) -> list[MetadataValues]:
        """What the sources say of one file."""
        layers: list[MetadataValues] = []
        for source in self.sources:
            if isinstance(source, JsonSource):
                for key in (name, relative_path) if name != relative_path else (name,):
                    values = source.entries.get(key)
                    if values is not None:
                        self._met.add(key)
                        layers.append(values)
            else:
                folder, _, filename = relative_path.rpartition("/")
                if source.match.matches_file(folder, filename):
                    layers.append(source.values)
        return layers


class FolderMetadata:
    """Gives each file of a folder its metadata; equal metadata is one object."""

    def __init__(self, rules: MetadataRules, layers: tuple[MetadataValues, ...]) -> None:
        self._rules = rules
        self._layers = layers
        self._shared = metadata_set(merge_layers(layers))
        self._by_digest: dict[str, MetadataSet] = {}

    @property
    def shared(self) -> MetadataSet | None:
        """The metadata of every file of the folder, or None where sources may give some of them more."""
        return None if self._rules.sources else self._shared

    def of(self, name: str, relative_path: str) -> MetadataSet:
        """The effective metadata of a file. `name`: in the collection; `relative_path`: from the source's folder."""
        if not self._rules.sources:
            return self._shared
        narrow = self._rules.narrow_layers(name, relative_path)
        if not narrow:
            return self._shared
        found = metadata_set(merge_layers((*self._layers, *narrow)))
        return self._by_digest.setdefault(found.digest, found)
