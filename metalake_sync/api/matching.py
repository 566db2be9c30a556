"""Matches the entries of a source: with local images beside it, and with files in the lake.

Owns: where the local images are (in the source's folder, and in `images` beside a folder `labels`, as in YOLO's data
sets), and how many entries match a file in the lake, which skips entries that match none without an error. Must not:
send entries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from typing import TypeAlias

from metalake_sync.annotations.image_matching import Ambiguous, Image, LocalImages, Match, Size
from metalake_sync.api.results import FailedItem, SomeFailed, WriteResult
from metalake_sync.core.snapshots import MediaType
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.image_headers import ImageHeader
from metalake_sync.sources.rules import has_ending_of

WhatIsThere: TypeAlias = Callable[[Sequence[str]], set[str]]
"""Returns the names that the lake has. It costs calls, so it is used only if the lake's own count is not enough."""


@dataclass(slots=True)
class Written:
    """Collects the results of sending entries."""

    there: WhatIsThere | None
    """None if the lake can't be searched for the names."""
    sent: list[str] = field(default_factory=list)
    _updated: int = 0
    _counted: bool = True

    def page(self, names: Sequence[str], updated: int | None) -> None:
        """Add a page of entries that the lake accepted. `updated`: how many files it changed, or None if unknown."""
        self.sent += names
        self._counted &= updated is not None
        self._updated += updated or 0

    def result(
        self, failed: Sequence[FailedItem], notes: Sequence[str] = (), unmatched: Sequence[str] = ()
    ) -> WriteResult:
        """Return the result. `unmatched`: entries that were not sent. Raises SomeFailed."""
        unconfirmed = 0
        written = self._updated
        if not self._counted or self._updated != len(self.sent):
            if self.there is not None:
                there = self.there(self.sent)
                missing = [name for name in self.sent if name not in there]
                unmatched = [*unmatched, *missing]
                written = len(self.sent) - len(missing)
            else:
                written = self._updated if self._counted else 0
                unconfirmed = len(self.sent) - written
        result = WriteResult(written, tuple(unmatched), tuple(notes), unconfirmed)
        if failed:
            raise SomeFailed(tuple(failed), result)
        return result


class ImagesBeside:
    """Images beside a source. An entry without such an image matches an image of its name in the lake."""

    match_all = True

    def __init__(self, source: str, names: Iterable[str] = ()) -> None:
        """`names`: of the images in the lake, if they are known. They, too, give a stem its extension."""
        self._here = LocalImages(_images_around(source))
        self._there = LocalImages((name, name, "") for name in names)

    def match(self, name: str, stem: str | None) -> Match | Ambiguous | None:
        """See `Images`. Raises ManifestError for a stem that two files share."""
        here = self._here.match(name, stem)
        if isinstance(here, Match) and (not name or here.image.name == name):
            return here
        if name:
            return Match(Image(name))
        there = self._there.match("", stem)
        return Match(Image(there.image.name), there.dropped) if isinstance(there, Match) else Match(Image(stem or ""))

    def size(self, image: Image) -> Size | None:
        """See `Images`."""
        return self._here.size(image)

    def header(self, image: Image) -> ImageHeader | None:
        """See `Images`."""
        return self._here.header(image)


def _images_around(source: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, path relative to the folder, and path on this disk of each image."""
    folder = source if os.path.isdir(source) else os.path.dirname(source)
    if not os.path.isdir(folder):  # a glob
        return
    folders = [folder]
    if os.path.basename(folder) == "labels":
        folders.append(os.path.join(os.path.dirname(folder), "images"))
    for root in folders:
        for place, below, names in os.walk(root):
            below.sort()
            for name in sorted(names):
                if has_ending_of(MediaType.IMAGE, name):
                    path = os.path.join(place, name)
                    yield name, os.path.relpath(path, root), path
