"""Texts with one object a line, one text for each image.

Owns: their lines, and the name of their image. Must not: know what the words of a line mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metalake_sync.annotations.entries import SourceFile
from metalake_sync.sources.text_files import read_lines


def text_lines(file: SourceFile) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is not empty. Raises ManifestError."""
    for number, line in enumerate(read_lines(file.path, file.shown_as), start=1):
        if stripped := line.strip():
            yield number, stripped


def stem_of(file: SourceFile, folders: Mapping[str, str] | None = None) -> str:
    """Return the path of a file without its extension, which is that of its image. `folders`: folder of annotation
    files → folder of their images."""
    stem = file.path.relative_to(file.root).with_suffix("")
    if folders is None:
        return stem.as_posix()
    return "/".join([*(folders.get(part, part) for part in stem.parts[:-1]), stem.name])


def is_number(word: str) -> bool:
    """Whether a word is a number, finite or not. Python also reads underscores, which names of images have."""
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word


def whole_or_broken(value: float) -> int | float:
    """Return a number as a whole one, if it is one."""
    return int(value) if value.is_integer() else value
