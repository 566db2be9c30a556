"""Reads sources of one format as a manifest does, for tests of single formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.image_matching import LocalImages, Size
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.core.shapes import Shape
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestErrors
from tests.annotations.opened import closed_afterwards, notes, shapes

__all__ = ["error", "notes", "read", "shapes", "values"]

SIZE = (200, 100)


class SizedImages(LocalImages):
    """Images by their paths, all of one size."""

    def __init__(self, *paths: str) -> None:
        super().__init__((path.replace("/", "__"), path, f"/images/{path}") for path in paths)

    def header(self, image: Any) -> None:
        return None

    def size(self, image: Any) -> Size:
        return SIZE


def read(
    source: Path, *images: str, format: str | None = None, kind: AnnotationKind = AnnotationKind.HUMAN
) -> AnnotationIndex:
    """The index of a source. `images`: paths of the images of the collection, `a.png` by default."""
    spec = AnnotationSpec("o", kind, (source.name,), source.parent, "m.yaml:1:1", format=format)
    return closed_afterwards(open_index([spec], SizedImages(*(images or ("a.png",)))))


def error(source: Path, *images: str, format: str | None = None) -> str:
    """The only error of a source."""
    try:
        read(source, *images, format=format)
    except ManifestErrors as errors:
        (found,) = errors.errors
        assert found.remedy
        return str(found)
    raise AssertionError("the source was read without an error")


def values(shape: Shape) -> dict[str, list[Any]]:
    """The values of each attribute."""
    return {name: [one.value for one in group] for name, group in shape.attributes.items()}
