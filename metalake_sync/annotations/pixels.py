"""Fractions of a picture, turned to pixels. The picture's size comes from its header; nothing is decoded."""

from __future__ import annotations

from dataclasses import replace

from metalake_sync.core.shapes import ImageRecord, Shape
from metalake_sync.local.pictures import picture_size

__all__ = ["picture_size", "to_pixels"]


def to_pixels(record: ImageRecord, size: tuple[int, int]) -> ImageRecord:
    """Multiply every coordinate of a normalized record by the picture's size."""
    width, height = size

    def scaled(shape: Shape) -> Shape:
        return replace(shape, points=tuple((x * width, y * height) for x, y in shape.points))

    return replace(record, shapes=tuple(map(scaled, record.shapes)), normalized=False)
