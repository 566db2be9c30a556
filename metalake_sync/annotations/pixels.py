"""Fractions of a picture, turned to pixels. The picture's size comes from its header; nothing is decoded."""

from __future__ import annotations

from dataclasses import replace

import imagesize

from metalake_sync.core.shapes import ImageRecord, Shape


def picture_size(path: str) -> tuple[int, int] | None:
    """Width and height in pixels, or None where the header can't be read."""
    try:
        width, height = imagesize.get(path)
    except (OSError, ValueError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def to_pixels(record: ImageRecord, size: tuple[int, int]) -> ImageRecord:
    """Multiply every coordinate of a normalized record by the picture's size."""
    width, height = size

    def scaled(shape: Shape) -> Shape:
        return replace(shape, points=tuple((x * width, y * height) for x, y in shape.points))

    return replace(record, shapes=tuple(map(scaled, record.shapes)), normalized=False)
