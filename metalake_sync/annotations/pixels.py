"""Fractions of a picture, turned to pixels and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from metalake_sync.annotations.images import Size
from metalake_sync.core.shapes import ImageRecord, Point


def to_pixels(record: ImageRecord, size: Size) -> ImageRecord:
    """Multiply every coordinate of a normalized record by the picture's size."""
    width, height = size
    return _each_point(record, lambda x, y: (x * width, y * height), normalized=False)


def to_fractions(record: ImageRecord, size: Size) -> ImageRecord:
    """Divide every coordinate of a record in pixels by the picture's size."""
    width, height = size
    return _each_point(record, lambda x, y: (x / width, y / height), normalized=True)


def _each_point(record: ImageRecord, turn: Callable[[float, float], Point], *, normalized: bool) -> ImageRecord:
    shapes = tuple(replace(shape, points=tuple(turn(x, y) for x, y in shape.points)) for shape in record.shapes)
    return replace(record, shapes=shapes, normalized=normalized)
