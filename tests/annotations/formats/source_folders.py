"""Sources that tests of formats write into a folder and read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.image_matching import AnyImage, Image, LocalImages
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestErrors
from tests.annotations.opened import closed_afterwards
from tests.embedded_lake.talk import png


class SizedImages(AnyImage):
    """Every image that a source names, of one size."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size

    def size(self, image: Image) -> tuple[int, int]:
        return self._size


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
    size: tuple[int, int] = (200, 100),
) -> AnnotationIndex:
    """Write files and read them as one source. `format`: None detects it. `local`: the images' paths below `folder`,
    of `size`; None takes every image that the source names. Raises ManifestErrors."""
    write_files(folder, files)
    write_files(folder, {path: png(*size) for path in local or ()})
    spec = AnnotationSpec("o", kind, (source,), folder, "m.yaml:1:1", format=format)
    images = SizedImages(size) if local is None else LocalImages((path, path, str(folder / path)) for path in local)
    return closed_afterwards(open_index([spec], images))


def errors_of(folder: Path, files: Mapping[str, str | bytes], source: str = ".", format: str | None = None) -> str:
    """Return the errors of a source that is refused."""
    with pytest.raises(ManifestErrors) as caught:
        read_source(folder, files, source, format)
    assert all(error.remedy for error in caught.value.errors)
    return "\n".join(map(str, caught.value.errors))


def mask_png(
    rows: Sequence[Sequence[int | tuple[int, int, int]]], palette: Sequence[tuple[int, int, int]] = ()
) -> bytes:
    """Return a PNG of these pixels: gray values, colors or, with a palette, numbers of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colored = isinstance(rows[0][0], tuple)
    pixels = b"".join(b"\0" + b"".join(bytes(one if isinstance(one, tuple) else (one,)) for one in row) for row in rows)
    color_type = 2 if colored else 3 if palette else 0
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, color_type, 0, 0, 0)
    colors = chunk(b"PLTE", b"".join(map(bytes, palette))) if palette else b""
    data = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + colors + data + chunk(b"IEND", b"")


def drawn(index: AnnotationIndex) -> dict[str, list[tuple[str, str, list[float]]]]:
    """Return type, label and rounded coordinates of each shape, by image. A polygon begins at its smallest corner."""

    def numbers(shape: Shape) -> list[float]:
        first = shape.points.index(min(shape.points)) if shape.type is ShapeType.POLYGON else 0
        return [round(part, 3) for point in (*shape.points[first:], *shape.points[:first]) for part in point]

    return {
        image: [(shape.type.value, shape.label, numbers(shape)) for shape in index.record(image).shapes]
        for image in index.images()
    }
