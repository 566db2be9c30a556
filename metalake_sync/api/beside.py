"""Pictures of the lake, known by what lies beside a source: names for text files that have only a stem, and sizes.

Owns: where pictures are looked for: in the source's folder, and in `images` beside a folder `labels`, as YOLO has them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from metalake_sync.annotations.pictures import Ambiguous, LocalPictures, Match, Picture, Size
from metalake_sync.core.facts import MediaType
from metalake_sync.local.pictures import ImageHeader
from metalake_sync.local.rules import has_ending_of


class PicturesBeside:
    """A picture that lies beside the source is matched as usual; any other entry is taken at its word. `names`: of the
    place in the lake, where they are known: they too give a stem its extension."""

    def __init__(self, source: str, names: Iterable[str] = ()) -> None:
        self._here = LocalPictures(_pictures_around(source))
        self._there = LocalPictures((name, name, "") for name in names)

    def match(self, name: str, stem: str | None) -> Match | Ambiguous | None:
        """See Pictures. Raises ManifestError for a stem that two files share."""
        here = self._here.match(name, stem)
        if isinstance(here, Match) and (not name or here.picture.name == name):
            return here
        if name:
            return Match(Picture(name))
        there = self._there.match("", stem)
        return (
            Match(Picture(there.picture.name), there.dropped)
            if isinstance(there, Match)
            else Match(Picture(stem or ""))
        )

    def size(self, picture: Picture) -> Size | None:
        """See Pictures."""
        return self._here.size(picture)

    def header(self, picture: Picture) -> ImageHeader | None:
        """See Pictures."""
        return self._here.header(picture)


def _pictures_around(source: str) -> Iterator[tuple[str, str, str]]:
    """Name, path below the folder, and path on this disk."""
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
