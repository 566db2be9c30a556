"""The preview: draws the shapes of a record on its image, and writes one HTML page with all drawn images.

Owns: colors, line widths, the legend below an image, and the page, which has no script and loads nothing from other
hosts. An image is drawn as it is displayed, turned by EXIF, because coordinates refer to the displayed image
(`sources.image_headers`). Every name on the page comes from files and sources, which are not trusted, so it is escaped.
Drawing needs Pillow, an optional extra.
"""

from __future__ import annotations

import colorsys
import os
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import quote

from metalake_sync.annotations.frames import to_pixels
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.image_headers import read_header
from metalake_sync.sources.opening import open_regular_file

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
"""EXIF orientation → Pillow's name of the transposition that displays the image."""

Color: TypeAlias = tuple[int, int, int]

LONG_SIDE = 1280
SHORT_SIDE = 320
GOLDEN_RATIO = 0.618033988749895
BACKGROUND, INK = (24, 24, 27), (244, 244, 245)


FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""The formats that are decoded, whatever the file's name. Others of Pillow's decoders start a program (EPS)."""


class ImageUnreadable(SyncError):
    """An image that Pillow can't read."""


class ImageTooLarge(ImageUnreadable):
    """An image with more pixels than are decoded."""


def need_pillow() -> None:
    """Raise SyncError with a remedy if Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise SyncError(
            "the preview needs Pillow, which is not installed", remedy="Run: pip install 'metalake-sync[preview]'."
        ) from None


def label_colors(labels: Iterable[str]) -> dict[str, Color]:
    """Return a color for each label, different from its neighbors. The same labels always get the same colors."""
    colors: dict[str, Color] = {}
    for number, label in enumerate(sorted(set(labels))):
        hue, value = (0.02 + number * GOLDEN_RATIO) % 1.0, 1.0 - 0.25 * (number // 7 % 2)
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
        colors[label] = (round(red * 255), round(green * 255), round(blue * 255))
    return colors


def load_displayed(
    image: str, scale: Callable[[Size], float], *, max_pixels: int | None = None
) -> tuple[Image.Image, Size]:
    """Return an image as it is displayed, scaled, in RGB, and its size before scaling.

    `scale`: the size of the image in pixels → the factor. `max_pixels`: how many pixels are decoded at most, by
    default as many as Pillow allows. Fewer are decoded from a JPEG that is scaled down. Raises ImageUnreadable,
    ImageTooLarge.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with os.fdopen(open_regular_file(image), "rb") as file, Image.open(file, formats=FORMATS) as opened:
                size = opened.size
                factor = scale(size)
                scaled = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
                opened.draft("RGB", scaled)
                if max_pixels is not None and opened.width * opened.height > max_pixels:
                    raise ImageTooLarge("the image has too many pixels", where=image)
                canvas = _to_rgb(opened)
                if canvas.size != scaled:
                    canvas = canvas.resize(scaled, Image.Resampling.LANCZOS)
            # Every other module takes the orientation from this reader, too.
            header = read_header(image)
            if header is not None and header.orientation in _TURNS:
                canvas = canvas.transpose(Image.Transpose[_TURNS[header.orientation]])
                size = header.size
        except Image.DecompressionBombError as error:
            raise ImageTooLarge(f"the image can't be read ({error})", where=image) from None
        except (OSError, SyntaxError, ValueError, struct.error) as error:
            raise ImageUnreadable(f"the image can't be read ({error})", where=image) from None
    return canvas, size


def _to_rgb(image: Image.Image) -> Image.Image:
    """Images of 16 or 32 bits per pixel are stretched from their darkest to their brightest pixel: most of them use a
    small part of their range, and would be black or white."""
    if not image.mode.startswith(("I", "F")):
        return image.convert("RGB")
    gray = image.convert("F")
    low, high = cast("tuple[float, float]", gray.getextrema())
    factor = 255 / (high - low) if high > low else 1.0
    return gray.point(lambda value: value * factor - low * factor).convert("L").convert("RGB")


def draw_record(image: str, record: ImageRecord, colors: Mapping[str, Color], to: Path) -> None:
    """Write a PNG. Large images are scaled down and tiny ones up, together with their shapes.

    Raises ImageUnreadable.
    """
    canvas, size = load_displayed(image, _scale)
    scale = _scale(size)
    if record.normalized:
        record = to_pixels(record, size)
    _draw_shapes(canvas, record, colors, scale)
    _with_legend(canvas, record, colors).save(to, "PNG")


def _scale(size: tuple[int, int]) -> float:
    longest = max(size)
    if longest > LONG_SIDE:
        return LONG_SIDE / longest
    return max(1.0, min(SHORT_SIDE / max(1, min(size)), LONG_SIDE / max(1, longest)))


def _draw_shapes(canvas: Image.Image, record: ImageRecord, colors: Mapping[str, Color], scale: float) -> None:
    from PIL import Image, ImageDraw

    width = max(2, round(max(canvas.size) / 400))
    veil = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
    wash = ImageDraw.Draw(veil)
    for shape in record.shapes:
        corners = _corners(shape, scale)
        if shape.type in (ShapeType.RECTANGLE, ShapeType.POLYGON) and len(corners) > 2:
            wash.polygon(corners, fill=(*colors[shape.label], 40))
    canvas.paste(veil, (0, 0), veil)
    pen = ImageDraw.Draw(canvas)
    for shape in record.shapes:
        color, corners = colors[shape.label], _corners(shape, scale)
        match shape.type:
            case ShapeType.RECTANGLE | ShapeType.POLYGON:
                pen.line([*corners, corners[0]], fill=color, width=width, joint="curve")
            case ShapeType.LINE:
                pen.line(corners, fill=color, width=width, joint="curve")
            case ShapeType.POINTS:
                for x, y in corners:
                    pen.ellipse((x - 2 * width, y - 2 * width, x + 2 * width, y + 2 * width), fill=color, outline=INK)


def _corners(shape: Shape, scale: float) -> list[Point]:
    points = list(shape.points)
    if shape.type is ShapeType.RECTANGLE:
        (x, y), (w, h) = points
        points = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    return [(x * scale, y * scale) for x, y in points]


def _with_legend(canvas: Image.Image, record: ImageRecord, colors: Mapping[str, Color]) -> Image.Image:
    """Return the image with a legend below: for each label a swatch, the label and the number of its shapes."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=14)
    counts = Counter(shape.label for shape in record.shapes)
    entries = [(label, f"{_printable(label)} ({number})") for label, number in sorted(counts.items())]
    places, height = _places(entries, canvas.width, font)
    sheet = Image.new("RGB", (canvas.width, canvas.height + height), BACKGROUND)
    sheet.paste(canvas, (0, 0))
    pen = ImageDraw.Draw(sheet)
    for (label, text), (x, y) in zip(entries, places, strict=True):
        top = canvas.height + y
        pen.rectangle((x, top + 3, x + 12, top + 15), fill=colors[label])
        _write(pen, (x + 18, top), text, font)
    return sheet


def _places(
    entries: list[tuple[str, str]], width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> tuple[list[tuple[int, int]], int]:
    """Return the position of each entry of the legend, line by line, and the height of the legend."""
    places: list[tuple[int, int]] = []
    x, y = 8, 6
    for _, text in entries:
        long = round(font.getlength(text)) + 34
        if x > 8 and x + long > width:
            x, y = 8, y + 22
        places.append((x, y))
        x += long
    return places, y + 26 if entries else 0


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    pen.text(at, text, fill=INK, font=font)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:60]


_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; background: #18181b; color: #f4f4f5; }
h2 { margin: 2rem 0 .3rem; font-size: 1.1rem; } p { margin: .2rem 0 1rem; color: #a1a1aa; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1rem; }
figure { margin: 0; background: #27272a; border-radius: 6px; overflow: hidden; }
figure img { width: 100%; display: block; } figcaption { padding: .5rem .7rem; overflow-wrap: anywhere; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 .8em; }
"""


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """One image with the shapes of one operation."""

    collection: str
    operation: str
    kind: str
    name: str
    png: str
    """The name of its file beside the page."""
    labels: Mapping[str, int]
    """Label → number of shapes."""


def contact_sheet(
    title: str, images: Sequence[DrawnImage], colors: Mapping[str, tuple[int, int, int]], notes: Sequence[str]
) -> str:
    """Return the page. `images` are sorted by collection and operation. `notes`: what is not shown, and why."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' file:;"
        " style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
    ]
    for (collection, operation, kind), group in groupby(images, lambda one: (one.collection, one.operation, one.kind)):
        shown = list(group)
        parts.append(f"<h2>{escape(collection)}: {escape(operation)} ({escape(kind)})</h2>")
        parts.append(f"<p>{len(shown)} images {_legend(shown, colors)}</p>")
        parts.append('<div class="sheet">')
        for image in shown:
            shapes = sum(image.labels.values())
            parts.append(
                f'<figure><a href="{quote(image.png)}"><img loading="lazy" src="{quote(image.png)}"'
                f' alt="{escape(image.name)}"></a><figcaption>{escape(image.name)}: {shapes} shapes</figcaption>'
                "</figure>"
            )
        parts.append("</div>")
    if notes:
        parts.append("<h2>Not shown</h2><ul>")
        parts += [f"<li>{escape(note)}</li>" for note in notes]
        parts.append("</ul>")
    parts.append("</body></html>\n")
    return "\n".join(parts).encode("utf-8", "backslashreplace").decode()


def _legend(images: Sequence[DrawnImage], colors: Mapping[str, tuple[int, int, int]]) -> str:
    counts: Counter[str] = Counter()
    for image in images:
        counts.update(image.labels)
    return "".join(
        f'<span class="swatch" style="background: rgb{colors[label]}"></span>{escape(label)} {number}'
        for label, number in sorted(counts.items())
    )
