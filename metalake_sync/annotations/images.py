"""Which picture an entry of a source means.

Owns: matching, by the name in the collection, by the path, or by the path without its extension. Where an entry has
folders in front that the picture's path does not have (`train2017/a.jpg` for `a.jpg`), it says so; who asks decides
whether that will do. Must not: look for pictures on the disk by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Protocol

from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.images import ImageHeader, cached_header
from metalake_sync.sources.naming import plain_path
from metalake_sync.sources.readings import NoCache, ReadingCache

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Image:
    """`name`: in the collection. `path`: where it lies here, or None where it lies in the lake alone."""

    name: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """`dropped`: the entry's folders that the picture's path does not end in; '' where the two agree."""

    image: Image
    dropped: str = ""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several pictures fit equally well. Two of them, by their names in the collection."""

    one: str
    other: str


class Images(Protocol):
    def match(self, name: str, stem: str | None) -> Match | Ambiguous | None:
        """The picture of an entry, or None. `name` may be empty; `stem` is tried after it."""
        ...

    def size(self, image: Image) -> Size | None:
        """Width and height of the shown image in pixels, or None where they can't be known."""
        ...

    def header(self, image: Image) -> ImageHeader | None:
        """What the header of an image file says, or None where it can't be read."""
        ...


class AnyImage:
    """Takes every entry at its word: for pictures that are in the lake and not here."""

    def match(self, name: str, stem: str | None) -> Match | Ambiguous | None:
        return Match(Image(name or stem or ""))

    def size(self, image: Image) -> Size | None:
        return None

    def header(self, image: Image) -> ImageHeader | None:
        return None


class LocalImages:
    """The files of a collection. `files`: name in the collection, path from the source's folder, path on this disk.
    `readings`: keeps the sizes, so that pictures that did not change are not opened again."""

    def __init__(self, files: Iterable[tuple[str, str, str]], readings: ReadingCache | None = None) -> None:
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
        """See Pictures. Raises ManifestError for a stem that two pictures of one folder share."""
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
        # The size of an image is asked for first, and its turn right afterwards.
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
        # Folders in front are dropped for a path and not for a name: `a/x.jpg` is not the `x.jpg` that lies in `b`.
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
        # A source that has both may write its name without the extension.
        for entry in (plain_path(name), plain_path(stem)) if name else (plain_path(stem),):
            yield from self._called(entry)

    def _called(self, entry: str) -> Iterator[Match | Ambiguous]:
        candidates = self._of_stem(_last(entry))
        # Labels lie beside the pictures by convention: labels/train/a.txt is of images/train/a.jpg.
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
                    f"'{entry}' may mean '{other}' or '{name}'",
                    remedy="Two pictures differ in their extension alone: rename one.",
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
    """For a/b/c.jpg: a and b/c.jpg, a/b and c.jpg."""
    parts = path.split("/")
    for at in range(1, len(parts)):
        yield "/".join(parts[:at]), "/".join(parts[at:])
