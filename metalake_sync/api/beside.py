"""Matches entries with local images beside a source, which give label files the extension and the size of their image.

Owns: where the images are: in the source's folder, and in `images` beside a folder `labels`, as in YOLO's data sets.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from metalake_sync.annotations.images import Ambiguous, Image, LocalImages, Match, Size
from metalake_sync.core.snapshots import MediaType
from metalake_sync.sources.images import ImageHeader
from metalake_sync.sources.rules import has_ending_of


class ImagesBeside:
    """Images beside a source. An entry without such an image matches an image of its name in the lake."""

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
