"""The quickstart's scenes: which shapes an image shows, where they are, and how they are drawn.

Owns: creating and drawing shapes and skies. Must not: read or write files.

The same random generator gives the same scene and the same pixels. Colors are CSS names, corners are whole pixels, and
only `random()` and `randbytes()` are used, because these two streams are the same in all Python versions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal, assert_never

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageStat

IMAGE_SIZE = (320, 240)
COLORS = ("tomato", "gold", "limegreen", "turquoise", "dodgerblue", "mediumorchid")
DOMINANT_LEAD = 1.2  # a scene's dominant color covers at least this many times the area of the next one

EDGE_GAP_PX = 6
SHAPE_GAP_PX = 10
LINE_THICKNESS_PX = 8
DOT_RADIUS_PX = 5
DOT_GRID = 3  # dots are placed in a grid of three by three cells, so that they never touch
PLACING_TRIES = 200
GRAIN_LEVELS = 10
SMOOTHING = 4  # a shape is drawn this many times larger and scaled down, which smooths its edges

Light = Literal["day", "night"]
Surface = Literal["plain", "grain"]
Point = tuple[int, int]
Color = tuple[int, ...]

SKIES: dict[Light, tuple[str, str]] = {"day": ("aliceblue", "gainsboro"), "night": ("midnightblue", "black")}


@dataclass(frozen=True, slots=True)
class Box:
    """An area of an image, in pixels: its top left corner, its width and its height."""

    x: int
    y: int
    width: int
    height: int

    def is_apart_from(self, other: Box) -> bool:
        """Whether at least `SHAPE_GAP_PX` pixels are between this box and the other."""
        return (
            self.x + self.width + SHAPE_GAP_PX <= other.x
            or other.x + other.width + SHAPE_GAP_PX <= self.x
            or self.y + self.height + SHAPE_GAP_PX <= other.y
            or other.y + other.height + SHAPE_GAP_PX <= self.y
        )


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A filled rectangle."""

    color: str
    box: Box


@dataclass(frozen=True, slots=True)
class Polygon:
    """A filled polygon of three to eight corners."""

    color: str
    corners: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A thick line through three to five points, with round ends and joints."""

    color: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Dots:
    """Several round dots, given by their centers."""

    color: str
    centers: tuple[Point, ...]


Shape = Rectangle | Polygon | Line | Dots


def dominant_color(shapes: tuple[Shape, ...]) -> str | None:
    """Return the color that covers the largest area, or None if it leads by less than `DOMINANT_LEAD`."""
    areas_px: Counter[str] = Counter()
    for shape in shapes:
        areas_px[shape.color] += area_px(shape)
    (first, first_px), *others = areas_px.most_common()
    return first if all(first_px >= DOMINANT_LEAD * other_px for _, other_px in others) else None


def area_px(shape: Shape) -> int:
    """Return the number of pixels that the shape covers."""
    return round(ImageStat.Stat(stencil(shape)).sum[0] / 255)


# Shapes


def random_shapes(rng: Random) -> tuple[Shape, ...]:
    """Return four to six shapes apart from each other, one of each type first, with a dominant color."""
    while True:
        makers: list[Callable[[Random, str, Box], Shape]] = [random_rectangle, random_polygon, random_line, random_dots]
        makers += [makers[between(rng, 0, 3)] for _ in range(between(rng, 0, 2))]
        boxes = place_boxes(rng, len(makers))
        colors = [COLORS[between(rng, 0, len(COLORS) - 1)] for _ in makers]
        shapes = tuple(make(rng, color, box) for make, color, box in zip(makers, colors, boxes, strict=True))
        if dominant_color(shapes):
            return shapes


def between(rng: Random, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))


def place_boxes(rng: Random, count: int) -> list[Box]:
    """Place boxes apart from each other. Start again if the first ones leave no space for the last."""
    while True:
        boxes: list[Box] = []
        for _ in range(PLACING_TRIES):
            box = random_box(rng)
            if all(box.is_apart_from(other) for other in boxes):
                boxes.append(box)
            if len(boxes) == count:
                return boxes


def random_box(rng: Random) -> Box:
    """Return a box inside the image that can hold a shape of any type."""
    width, height = between(rng, 50, 110), between(rng, 46, 92)
    x = between(rng, EDGE_GAP_PX, IMAGE_SIZE[0] - EDGE_GAP_PX - width)
    y = between(rng, EDGE_GAP_PX, IMAGE_SIZE[1] - EDGE_GAP_PX - height)
    return Box(x, y, width, height)


def random_rectangle(_rng: Random, color: str, box: Box) -> Rectangle:
    """Return a rectangle that fills the box."""
    return Rectangle(color, box)


def random_polygon(rng: Random, color: str, box: Box) -> Polygon:
    """Return a polygon whose three to eight corners go once around the middle of the box."""
    count = between(rng, 3, 8)
    turn = rng.random()
    corners = []
    for index in range(count):
        angle = math.tau * (index + turn + 0.3 * rng.random()) / count
        reach = 0.8 + 0.2 * rng.random()
        x = box.x + box.width / 2 * (1 + reach * math.cos(angle))
        y = box.y + box.height / 2 * (1 + reach * math.sin(angle))
        corners.append((round(x), round(y)))
    return Polygon(color, tuple(corners))


def random_line(rng: Random, color: str, box: Box) -> Line:
    """Return a line through three to five points, from the left of the box to its right."""
    count = between(rng, 3, 5)
    margin = LINE_THICKNESS_PX // 2
    step = (box.width - 2 * margin) / (count - 1)
    points = []
    for index in range(count):
        y = box.y + between(rng, margin, box.height - margin)
        points.append((round(box.x + margin + index * step), y))
    return Line(color, tuple(points))


def random_dots(rng: Random, color: str, box: Box) -> Dots:
    """Return four to seven dots, each in its own grid cell."""
    count = between(rng, 4, 7)
    cells = sorted(range(DOT_GRID**2), key=lambda _: rng.random())[:count]
    cell_width, cell_height = box.width // DOT_GRID, box.height // DOT_GRID
    margin = DOT_RADIUS_PX + 1
    centers = []
    for cell in cells:
        x = box.x + cell % DOT_GRID * cell_width + between(rng, margin, cell_width - margin)
        y = box.y + cell // DOT_GRID * cell_height + between(rng, margin, cell_height - margin)
        centers.append((x, y))
    return Dots(color, tuple(centers))


# Pixels


def draw_image(rng: Random, light: Light, surface: Surface, shapes: tuple[Shape, ...]) -> Image.Image:
    """Draw the sky, and then each shape in its color."""
    top, bottom = sky_colors(light)
    image = draw_sky(IMAGE_SIZE, top, bottom)
    if surface == "grain":
        image = add_grain(rng, image, light)
    for shape in shapes:
        image.paste(ImageColor.getrgb(shape.color), mask=stencil(shape))
    return image


def sky_colors(light: Light) -> tuple[Color, Color]:
    """Return the colors of the first and the last row of a sky."""
    top, bottom = SKIES[light]
    return ImageColor.getrgb(top), ImageColor.getrgb(bottom)


def draw_sky(size: tuple[int, int], top: Color, bottom: Color) -> Image.Image:
    """Return a background with a gradient from the color of the first row to that of the last."""
    width, height = size
    image = Image.new("RGB", size)
    for y in range(height):
        image.paste(mixed(top, bottom, y / (height - 1)), (0, y, width, y + 1))
    return image


def mixed(first: Color, second: Color, share: float) -> Color:
    """Return the color at `share` (0 to 1) of the way from the first to the second."""
    return tuple(round(one + share * (other - one)) for one, other in zip(first, second, strict=True))


def add_grain(rng: Random, image: Image.Image, light: Light) -> Image.Image:
    """Darken each pixel of a day, or brighten each of a night, by fewer than `GRAIN_LEVELS` levels of 255."""
    noise = bytes(value * GRAIN_LEVELS // 256 for value in rng.randbytes(image.width * image.height))
    layer = Image.frombytes("L", image.size, noise)
    grain = Image.merge("RGB", (layer, layer, layer))
    return ImageChops.subtract(image, grain) if light == "day" else ImageChops.add(image, grain)


def stencil(shape: Shape) -> Image.Image:
    """Return the shape in white on black, with smooth edges, in the size of an image."""
    image = Image.new("L", (IMAGE_SIZE[0] * SMOOTHING, IMAGE_SIZE[1] * SMOOTHING))
    canvas = ImageDraw.Draw(image)
    match shape:
        case Rectangle(box=box):
            right, bottom = (box.x + box.width) * SMOOTHING - 1, (box.y + box.height) * SMOOTHING - 1
            canvas.rectangle([(box.x * SMOOTHING, box.y * SMOOTHING), (right, bottom)], fill=255)
        case Polygon(corners=corners):
            canvas.polygon(enlarged(corners), fill=255)
        case Line(points=points):
            canvas.line(enlarged(points), fill=255, width=LINE_THICKNESS_PX * SMOOTHING)
            draw_discs(canvas, points, LINE_THICKNESS_PX // 2)
        case Dots(centers=centers):
            draw_discs(canvas, centers, DOT_RADIUS_PX)
        case _:
            assert_never(shape)
    return image.reduce(SMOOTHING)


def enlarged(points: tuple[Point, ...]) -> list[Point]:
    """Return points of an image as points of the enlarged stencil."""
    return [(x * SMOOTHING, y * SMOOTHING) for x, y in points]


def draw_discs(canvas: ImageDraw.ImageDraw, centers: tuple[Point, ...], radius_px: int) -> None:
    """Fill a disc around each center on the enlarged stencil."""
    reach = radius_px * SMOOTHING
    for x, y in enlarged(centers):
        canvas.ellipse([(x - reach, y - reach), (x + reach - 1, y + reach - 1)], fill=255)
