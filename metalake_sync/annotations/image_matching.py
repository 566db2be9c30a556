"""Matches entries of a source with images.

Owns: matching by the name in the collection, by the path, or by the path without its extension. Where an entry has
leading folders that the image's path does not have (`train2017/a.jpg` for `a.jpg`), the match names them, and the
caller decides whether it counts. Must not: search the disk for images.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Protocol

from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.image_headers import ImageHeader, cached_header
from metalake_sync.sources.names import plain_path
from metalake_sync.sources.readings import NoCache, ReadingCache

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that an entry may match."""

    name: str
    """In the collection."""
    path: str | None = None
    """On this disk. None: the image is only in the lake."""


@dataclass(frozen=True, slots=True)
class Match:
    """The image of an entry."""

    image: Image
    dropped: str = ""
    """Leading folders of the entry that the image's path does not have; empty if the two agree."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several images match equally well. Two of them, by their names in the collection."""

    one: str
    other: str


class Images(Protocol):
    """The images that entries are matched with."""

    match_all: bool = False
    """Whether every name is the name of an image."""

    def match(self, name: str, stem: str | None) -> Match | Ambiguous | None:
        """Return the image of an entry, or None. `name` may be empty; `stem` is tried after it."""
        ...

    def size(self, image: Image) -> Size | None:
        """Return width and height of the displayed image in pixels, or None if they are unknown."""
        ...

    def header(self, image: Image) -> ImageHeader | None:
        """Return the header of an image file, or None if it can't be read."""
        ...


class AnyImage:
    """Matches every entry with an image of its name, for images that are only in the lake."""

    match_all = True

    def match(self, name: str, stem: str | None) -> Match | Ambiguous | None:
        return Match(Image(name or stem or ""))

    def size(self, image: Image) -> Size | None:
        return None

    def header(self, image: Image) -> ImageHeader | None:
        return None


class LocalImages:
    """The local files of a collection."""

    match_all = False

    def __init__(self, files: Iterable[tuple[str, str, str]], readings: ReadingCache | None = None) -> None:
        """`files`: name in the collection, path relative to the source's folder, path on this disk. `readings` caches
        sizes, so that unchanged images are not opened again."""
        self._readings = readings or NoCache()
        self._files: dict[str, tuple[str, str]] = {}
        self._by_path: dict[str, str] = {}
        for name, relative, path in files:
            self._files[name] = (relative, path)
            self._by_path[relative] = name
        self._last: tuple[str, ImageHeader | None] | None = None
        self._by_last: dict[str, list[str]] | None = None
        self._by_stem: dict[str, list[str]] | None = None

    def match(self, name: str, stem: str | None) -> Match | Ambiguous | None:
        """Return the image of an entry. Raises ManifestError for a stem that two images of one folder share."""
        # The usual case costs two look-ups.
        if name in self._files:
            return self._found(name)
        if name in self._by_path:
            return self._found(self._by_path[name])
        found: list[Match | Ambiguous] = []
        for part in (
            self._named(plain_path(name)) if name else (),
            self._stemmed(name, stem) if stem is not None else (),
        ):
            for candidate in part:
                if isinstance(candidate, Match) and not candidate.dropped:
                    return candidate
                found.append(candidate)
        return min(found, key=lambda one: isinstance(one, Ambiguous), default=None)

    def size(self, image: Image) -> Size | None:
        header = self.header(image)
        return header.size if header is not None else None

    def header(self, image: Image) -> ImageHeader | None:
        if image.path is None:
            return None
        # The index reads the size of an image first, and its orientation right after it.
        if self._last is None or self._last[0] != image.path:
            self._last = (image.path, cached_header(self._readings, image.path))
        return self._last[1]

    def _found(self, name: str, dropped: str = "") -> Match:
        return Match(Image(name, self._files[name][1]), dropped)

    # By the name.

    def _named(self, entry: str) -> Iterator[Match | Ambiguous]:
        candidates = self._of_last(_last(entry))
        agreeing = [name for name in candidates if self._ends_in(name, entry)]
        if agreeing:
            yield self._only(agreeing)
            return
        # Only the folders of a path may be dropped: `a/x.jpg` does not match the `x.jpg` in folder `b`.
        for dropped, rest in _without_folders_in_front(entry):
            for name in candidates:
                if plain_path(self._files[name][0]) == rest:
                    yield self._found(name, dropped)
                    return

    def _ends_in(self, name: str, entry: str) -> bool:
        relative, path = self._files[name]
        return entry in (plain_path(name), plain_path(relative)) or plain_path(os.path.abspath(path)).endswith(
            "/" + entry
        )

    def _only(self, names: list[str], dropped: str = "") -> Match | Ambiguous:
        return self._found(names[0], dropped) if len(names) == 1 else Ambiguous(names[0], names[1])

    def _of_last(self, last: str) -> list[str]:
        if self._by_last is None:
            self._by_last = {}
            for name, (relative, _) in self._files.items():
                for key in {plain_path(name), _last(plain_path(relative))}:
                    self._by_last.setdefault(key, []).append(name)
        return self._by_last.get(last, [])

    # By the path without its extension.

    def _stemmed(self, name: str, stem: str) -> Iterator[Match | Ambiguous]:
        # A source with both may write the name without its extension.
        for entry in (plain_path(name), plain_path(stem)) if name else (plain_path(stem),):
            yield from self._called(entry)

    def _called(self, entry: str) -> Iterator[Match | Ambiguous]:
        candidates = self._of_stem(_last(entry))
        # By convention, labels/train/a.txt belongs to images/train/a.jpg.
        beside = "/".join("images" if part == "labels" else part for part in entry.split("/"))
        spellings = {entry, beside, entry.removeprefix("labels/")}
        exactly = [name for name in candidates if spellings & self._stems(name)]
        agreeing = exactly or [
            name
            for name in candidates
            if any(_stem(plain_path(os.path.abspath(self._files[name][1]))).endswith("/" + one) for one in spellings)
        ]
        if agreeing:
            self._refuse_twins(agreeing, entry)
            yield self._only(agreeing)
            return
        for dropped, rest in _without_folders_in_front(entry):
            fitting = [name for name in candidates if rest in self._stems(name)]
            if fitting:
                yield self._only(fitting, dropped)
                return

    def _stems(self, name: str) -> set[str]:
        return {_stem(plain_path(name)), _stem(plain_path(self._files[name][0]))}

    def _refuse_twins(self, names: list[str], entry: str) -> None:
        by_stem: dict[str, str] = {}
        for name in names:
            other = by_stem.setdefault(_stem(self._files[name][1]), name)
            if other != name:
                raise ManifestError(
                    f"'{entry}' matches '{other}' and '{name}'",
                    remedy="Two images differ only in their extension: rename one.",
                )

    def _of_stem(self, last: str) -> list[str]:
        if self._by_stem is None:
            self._by_stem = {}
            for name, (relative, _) in self._files.items():
                for key in {_stem(plain_path(name)), _last(_stem(plain_path(relative)))}:
                    self._by_stem.setdefault(key, []).append(name)
        return self._by_stem.get(last, [])


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]


def _without_folders_in_front(path: str) -> Iterator[tuple[str, str]]:
    """Yield the leading folders and the rest of a path: for a/b/c.jpg a and b/c.jpg, then a/b and c.jpg."""
    parts = path.split("/")
    for at in range(1, len(parts)):
        yield "/".join(parts[:at]), "/".join(parts[at:])
