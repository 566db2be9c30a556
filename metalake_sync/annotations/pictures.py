"""Which picture an entry of a source means.

Owns: matching, by the name in the collection, by the path, or by the path without its extension. An entry may carry
folders of its own in front (`train2017/a.jpg` for `a.jpg`). Must not: look for pictures on the disk by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from metalake_sync.errors import ManifestError
from metalake_sync.local.pictures import cached_picture_size
from metalake_sync.local.readings import NoCache, ReadingCache

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """`name`: in the collection. `path`: where it lies here, or None where it lies in the lake alone."""

    name: str
    path: str | None = None


class Pictures(Protocol):
    def match(self, name: str, stem: str | None) -> Picture | None:
        """The picture of an entry, or None. `name` may be empty; `stem` is tried after it."""
        ...

    def size(self, picture: Picture) -> Size | None:
        """Width and height in pixels, or None where they can't be known."""
        ...


class AnyPicture:
    """Takes every entry at its word: for pictures that are in the lake and not here."""

    def match(self, name: str, stem: str | None) -> Picture | None:
        return Picture(name or stem or "")

    def size(self, picture: Picture) -> Size | None:
        return None


class LocalPictures:
    """The files of a collection. `files`: name in the collection, path from the source's folder, path on this disk.
    `readings`: keeps the sizes, so that pictures that did not change are not opened again."""

    def __init__(self, files: Iterable[tuple[str, str, str]], readings: ReadingCache | None = None) -> None:
        self._readings = readings or NoCache()
        self._by_name: dict[str, str] = {}
        self._by_path: dict[str, str] = {}
        for name, relative, path in files:
            self._by_name[name] = path
            self._by_path[relative] = name
        self._by_stem: dict[str, str] | None = None
        self._same_stem: dict[str, str] = {}

    def match(self, name: str, stem: str | None) -> Picture | None:
        """See Pictures. Raises ManifestError for a stem that two files share."""
        found = self._named(name) if name else None
        if found is None and stem:
            found = self._stemmed(stem)
        return Picture(found, self._by_name[found]) if found is not None else None

    def size(self, picture: Picture) -> Size | None:
        return cached_picture_size(self._readings, picture.path) if picture.path is not None else None

    def _named(self, name: str) -> str | None:
        if name in self._by_name:
            return name
        # Folders in front are dropped for a path and not for a name: `a/x.jpg` is not the `x.jpg` that lies in `b`.
        for path in _without_folders_in_front(name):
            if path in self._by_path:
                return self._by_path[path]
        return None

    def _stemmed(self, stem: str) -> str | None:
        if self._by_stem is None:
            self._by_stem = {}
            for name in self._by_name:
                self._note_stem(name, name)
            for relative, name in self._by_path.items():
                self._note_stem(relative, name)
        for path in _without_folders_in_front(stem):
            if path in self._same_stem:
                raise ManifestError(
                    f"'{path}' may mean '{self._by_stem[path]}' or '{self._same_stem[path]}'",
                    remedy="Two pictures differ in their extension alone: rename one.",
                )
            if path in self._by_stem:
                return self._by_stem[path]
        return None

    def _note_stem(self, path: str, name: str) -> None:
        assert self._by_stem is not None
        other = self._by_stem.setdefault(os.path.splitext(path)[0], name)
        if other != name:
            self._same_stem[os.path.splitext(path)[0]] = name


def _without_folders_in_front(path: str) -> Iterable[str]:
    """a/b/c.jpg, b/c.jpg, c.jpg."""
    path = path.replace("\\", "/").removeprefix("./")
    yield path
    while "/" in path:
        path = path.split("/", 1)[1]
        yield path
