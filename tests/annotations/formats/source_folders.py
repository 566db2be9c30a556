"""Sources that tests of formats write into a folder and read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.images import AnyImage, Image, LocalImages
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.core.shapes import Shape
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestErrors
from tests.annotations.opened import closed_afterwards
from tests.embedded_lake.talk import png


class SizedImages(AnyImage):
    """Every image that a source names, of 200 x 100 pixels."""

    def size(self, image: Image) -> tuple[int, int]:
        return 200, 100


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read_source(
    folder: Path,
    files: Mapping[str, str | bytes],
    source: str = ".",
    format: str | None = None,
    kind: AnnotationKind = AnnotationKind.HUMAN,
    local: tuple[str, ...] | None = None,
) -> AnnotationIndex:
    """Write files and read them as one source. `format`: None detects it. `local`: the images' paths below `folder`, of
    200 x 100 pixels; None takes every image that the source names. Raises ManifestErrors."""
    write_files(folder, files)
    write_files(folder, {path: png(200, 100) for path in local or ()})
    spec = AnnotationSpec("o", kind, (source,), folder, "m.yaml:1:1", format=format)
    images = SizedImages() if local is None else LocalImages((path, path, str(folder / path)) for path in local)
    return closed_afterwards(open_index([spec], images))


def errors_of(folder: Path, files: Mapping[str, str | bytes], source: str = ".", format: str | None = None) -> str:
    """Return the errors of a source that is refused."""
    with pytest.raises(ManifestErrors) as caught:
        read_source(folder, files, source, format)
    assert all(error.remedy for error in caught.value.errors)
    return "\n".join(map(str, caught.value.errors))


def drawn(index: AnnotationIndex) -> dict[str, list[tuple[str, str, list[float]]]]:
    """Return type, label and rounded coordinates of each shape, by image."""

    def numbers(shape: Shape) -> list[float]:
        return [round(part, 3) for point in shape.points for part in point]

    return {
        image: [(shape.type.value, shape.label, numbers(shape)) for shape in index.record(image).shapes]
        for image in index.images()
    }
