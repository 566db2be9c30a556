"""Draws the shapes of one record on its picture, with a legend beneath. Needs Pillow, an optional extra.

Owns: colours, line widths and the legend. Images are drawn as they are shown, turned as EXIF says: that is the frame
that coordinates count in (`sources.images`).
"""

from __future__ import annotations

import colorsys
import os
import struct
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from metalake_sync.annotations.frames import to_pixels
from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import SyncError
from metalake_sync.sources.images import read_header
from metalake_sync.sources.regular_files import open_regular_file

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""Pillow's name of the turn that each EXIF orientation asks for."""

Colour: TypeAlias = tuple[int, int, int]

LONG_SIDE = 1280
SHORT_SIDE = 320
GOLDEN_RATIO = 0.618033988749895
BACKGROUND, INK = (24, 24, 27), (244, 244, 245)


class ImageUnreadable(SyncError):
    """A picture that can't be drawn on."""


def need_pillow() -> None:
    """Raise SyncError with a remedy where Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise SyncError(
            "the preview needs Pillow, which is not installed", remedy="Run: pip install 'metalake-sync[preview]'."
        ) from None


def label_colours(labels: Iterable[str]) -> dict[str, Colour]:
    """One colour for each label, far apart from its neighbours; the same labels always get the same ones."""
    colours: dict[str, Colour] = {}
    for number, label in enumerate(sorted(set(labels))):
        hue, value = (0.02 + number * GOLDEN_RATIO) % 1.0, 1.0 - 0.25 * (number // 7 % 2)
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
        colours[label] = (round(red * 255), round(green * 255), round(blue * 255))
    return colours


def draw_record(image: str, record: ImageRecord, colours: Mapping[str, Colour], to: Path) -> None:
    """Write a PNG. Large pictures are made smaller, tiny ones larger, and shapes with them.

    Raises PictureUnreadable.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with os.fdopen(open_regular_file(image), "rb") as file, Image.open(file) as opened:
                size = opened.size
                scale = _scale(size)
                scaled = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
                opened.draft("RGB", scaled)
                canvas = opened.convert("RGB").resize(scaled, Image.Resampling.LANCZOS)
            # The same reader tells everywhere how an image is turned.
            header = read_header(image)
            if header is not None and header.orientation in _TURNS:
                canvas = canvas.transpose(Image.Transpose[_TURNS[header.orientation]])
                size = header.size
        except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
            raise ImageUnreadable(f"it can't be drawn on ({error})", where=image) from None
    if record.normalized:
        record = to_pixels(record, size)
    _draw_shapes(canvas, record, colours, scale)
    _with_legend(canvas, record, colours).save(to, "PNG")


def _scale(size: tuple[int, int]) -> float:
    longest = max(size)
    if longest > LONG_SIDE:
        return LONG_SIDE / longest
    return max(1.0, min(SHORT_SIDE / max(1, min(size)), LONG_SIDE / max(1, longest)))


def _draw_shapes(canvas: Image.Image, record: ImageRecord, colours: Mapping[str, Colour], scale: float) -> None:
    from PIL import Image, ImageDraw

    width = max(2, round(max(canvas.size) / 400))
    veil = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
    wash = ImageDraw.Draw(veil)
    for shape in record.shapes:
        corners = _corners(shape, scale)
        if shape.type in (ShapeType.RECTANGLE, ShapeType.POLYGON) and len(corners) > 2:
            wash.polygon(corners, fill=(*colours[shape.label], 40))
    canvas.paste(veil, (0, 0), veil)
    pen = ImageDraw.Draw(canvas)
    for shape in record.shapes:
        colour, corners = colours[shape.label], _corners(shape, scale)
        match shape.type:
            case ShapeType.RECTANGLE | ShapeType.POLYGON:
                pen.line([*corners, corners[0]], fill=colour, width=width, joint="curve")
            case ShapeType.LINE:
                pen.line(corners, fill=colour, width=width, joint="curve")
            case ShapeType.POINTS:
                for x, y in corners:
                    pen.ellipse((x - 2 * width, y - 2 * width, x + 2 * width, y + 2 * width), fill=colour, outline=INK)


def _corners(shape: Shape, scale: float) -> list[Point]:
    points = list(shape.points)
    if shape.type is ShapeType.RECTANGLE:
        (x, y), (w, h) = points
        points = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    return [(x * scale, y * scale) for x, y in points]


def _with_legend(canvas: Image.Image, record: ImageRecord, colours: Mapping[str, Colour]) -> Image.Image:
    """The picture with a strip beneath: a swatch, the label and how often it stands there."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=14)
    counts = Counter(shape.label for shape in record.shapes)
    entries = [(label, f"{_printable(label)} ({number})") for label, number in sorted(counts.items())]
    places, height = _places(entries, canvas.width, font)
    sheet = Image.new("RGB", (canvas.width, canvas.height + height), BACKGROUND)
    sheet.paste(canvas, (0, 0))
    pen = ImageDraw.Draw(sheet)
    for (label, words), (x, y) in zip(entries, places, strict=True):
        top = canvas.height + y
        pen.rectangle((x, top + 3, x + 12, top + 15), fill=colours[label])
        _write(pen, (x + 18, top), words, font)
    return sheet


def _places(
    entries: list[tuple[str, str]], width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> tuple[list[tuple[int, int]], int]:
    """Where each entry of the legend stands, line by line, and how high the strip is."""
    places: list[tuple[int, int]] = []
    x, y = 8, 6
    for _, words in entries:
        long = round(font.getlength(words)) + 34
        if x > 8 and x + long > width:
            x, y = 8, y + 22
        places.append((x, y))
        x += long
    return places, y + 26 if entries else 0


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    pen.text(at, words, fill=INK, font=font)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:60]
