"""Measures the quickstart's data: decoded pixels, geometry from the JSON, the boxes of an MP4.

Must not: import the script that made the data. An error in shared code would not be found.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image, ImageColor

COLOR_TOLERANCE = {".png": 0, ".jpg": 40}  # levels of 255, for each channel
MARGIN_PX = 9  # a shape extends at most 5 px beyond its points, and its color mixes with the sky's around it
MP4_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")

Rgb = tuple[int, int, int]
Place = tuple[int, int]
Annotation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pixels:
    """A decoded image, row by row. `named`: the name of each pixel's color, None for colors of the sky."""

    width: int
    height: int
    values: list[Rgb]
    named: list[str | None]

    def at(self, x: int, y: int) -> Rgb:
        """The color of a pixel."""
        return self.values[y * self.width + x]

    def name_at(self, x: int, y: int) -> str | None:
        """The name of a pixel's color. None for colors of the sky."""
        return self.named[y * self.width + x]

    def checkerboard(self) -> Iterator[Place]:
        """Every second pixel of the image, like the black squares of a checkerboard."""
        return ((x, y) for y in range(self.height) for x in range(y % 2, self.width, 2))

    def checkerboard_around(self, annotation: Annotation) -> Iterator[Place]:
        """The pixels of the checkerboard that are in or near the box around a shape."""
        columns, rows = zip(*points_of(annotation), strict=True)
        first_x = max(0, min(columns) - MARGIN_PX)
        for y in range(max(0, min(rows) - MARGIN_PX), min(self.height, max(rows) + MARGIN_PX)):
            for x in range(first_x + (first_x + y) % 2, min(self.width, max(columns) + MARGIN_PX), 2):
                yield x, y


@cache
def decoded(path: Path, colors: tuple[str, ...]) -> Pixels:
    """Decode an image, and find the pixels that have one of the named colors (CSS)."""
    with Image.open(path) as image:
        width, height, data = image.width, image.height, image.convert("RGB").tobytes()
    values = list(zip(data[0::3], data[1::3], data[2::3], strict=True))
    names = {value: name_of(value, colors, COLOR_TOLERANCE[path.suffix]) for value in set(values)}
    return Pixels(width, height, values, [names[value] for value in values])


def name_of(value: Rgb, colors: tuple[str, ...], tolerance: int) -> str | None:
    """The named color whose channels all differ by the tolerance at most."""
    for color in colors:
        named = ImageColor.getrgb(color)
        if all(abs(one - other) <= tolerance for one, other in zip(value, named, strict=True)):
            return color
    return None


def color_of(annotation: Annotation) -> str:
    """The one value of the attribute `color`."""
    (color,) = annotation["attributes"]["color"]
    return str(color["value"])


def points_of(annotation: Annotation) -> list[list[int]]:
    """The points of an annotation. For a rectangle, its four corners."""
    if annotation["type"] == "rectangle":
        x, y, width, height = annotation["bbox"]
        return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    points: list[list[int]] = annotation[annotation["type"]]
    return points


def depth_px(annotation: Annotation, x: int, y: int) -> float:
    """The distance of a pixel's center from the edge of the shape. Negative outside of the shape."""
    middle = (x + 0.5, y + 0.5)
    points = points_of(annotation)
    match annotation["type"]:
        case "rectangle" | "polygon":
            edges = list(zip(points, points[1:] + points[:1], strict=True))
            distance = min(distance_px(middle, *edge) for edge in edges)
            return distance if is_inside(middle, edges) else -distance
        case "line":
            segments = pairwise(points)
            reach = float(annotation["metadata"]["thickness_px"]) / 2
            return reach - min(distance_px(middle, *segment) for segment in segments)
        case "points":
            return float(annotation["metadata"]["radius_px"]) - min(math.dist(middle, point) for point in points)
        case unknown:
            raise AssertionError(f"annotation of unknown type {unknown}")


def distance_px(place: tuple[float, float], start: list[int], end: list[int]) -> float:
    """The distance of a point from the segment between two points."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    share = ((place[0] - start[0]) * along_x + (place[1] - start[1]) * along_y) / (along_x**2 + along_y**2)
    share = min(1.0, max(0.0, share))
    return math.dist(place, (start[0] + share * along_x, start[1] + share * along_y))


def is_inside(place: tuple[float, float], edges: list[tuple[list[int], list[int]]]) -> bool:
    """Whether a ray to the right crosses the edges an odd number of times."""
    crossings = 0
    for (start_x, start_y), (end_x, end_y) in edges:
        if (start_y > place[1]) != (end_y > place[1]):
            crossing_x = start_x + (place[1] - start_y) / (end_y - start_y) * (end_x - start_x)
            crossings += crossing_x > place[0]
    return crossings % 2 == 1


def mp4_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The boxes of an MP4 file, with those inside containers: pairs of type and content."""
    while data:
        size, kind = struct.unpack_from(">I4s", data)
        yield kind, data[8:size]
        if kind in MP4_CONTAINERS:
            yield from mp4_boxes(data[8:size])
        data = data[size:]
