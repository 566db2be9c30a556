"""Thumbnails and enlarged parts of images, as data URIs.

Owns: sizes and encoding. An image is shown as it is displayed, turned by EXIF, because coordinates refer to the
displayed image (`sources.image_headers`). No metadata of the image reaches the page.
"""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING

from metalake_sync.annotations.drawing import ImageTooLarge, ImageUnreadable, load_displayed
from metalake_sync.core.shape_values import Size
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.report.model import ImageFile, ImageUnavailable

if TYPE_CHECKING:
    from PIL import Image

CHANGED_LONG_SIDE = 640
NEW_LONG_SIDE = 480
PART_LONG_SIDE = 320
"""The longest side in pixels of a thumbnail of a changed image, of a new image, and of an enlarged part."""

QUALITY = 78

PIXEL_LIMIT = 100_000_000
"""An image from which more pixels would be decoded is not shown. Decoding one pixel takes up to 16 bytes of memory
(WebP)."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an image, in pixels of the displayed image."""

    x: float
    y: float
    width: float
    height: float

    def around(self, other: Box) -> Box:
        """Return the smallest box that contains both."""
        left, top = min(self.x, other.x), min(self.y, other.y)
        right = max(self.x + self.width, other.x + other.width)
        bottom = max(self.y + self.height, other.y + other.height)
        return Box(left, top, right - left, bottom - top)


@dataclass(frozen=True, slots=True)
class Part:
    """An enlarged part of an image with more pixels than the thumbnail has."""

    uri: str
    place: Box


class DecodedImage:
    """One decoded image."""

    def __init__(self, canvas: Image.Image, size: Size, long_side: int) -> None:
        self._canvas = canvas
        self.size = size
        """Width and height of the displayed image."""
        self._scale = min(1.0, long_side / max(size))
        scaled = max(1, round(size[0] * self._scale)), max(1, round(size[1] * self._scale))
        self.uri = _data_uri(canvas if canvas.size == scaled else canvas.resize(scaled))

    def part(self, region: Box) -> Part | None:
        """Return the part of the image inside a region, or None if the thumbnail shows it as sharply."""
        shown = max(region.width, region.height) * self._scale
        if self._scale == 1.0 or shown >= PART_LONG_SIDE:
            return None
        width, height = self.size
        left, top = max(0, math.floor(region.x)), max(0, math.floor(region.y))
        right, bottom = min(width, math.ceil(region.x + region.width)), min(height, math.ceil(region.y + region.height))
        if left >= right or top >= bottom:
            return None
        cut = self._canvas.crop((left, top, right, bottom))
        factor = PART_LONG_SIDE / max(cut.size)
        if factor < 1:
            cut = cut.resize((max(1, round(cut.width * factor)), max(1, round(cut.height * factor))))
        return Part(_data_uri(cut), Box(left, top, right - left, bottom - top))


def decode_image(image: ImageFile, long_side: int, *, with_parts: bool) -> DecodedImage:
    """Decode an image. `with_parts`: keep all pixels for `DecodedImage.part`. Raises ImageUnavailable."""

    def scale(size: Size) -> float:
        return 1.0 if with_parts else min(1.0, long_side / max(size))

    with image.opened() as path:
        try:
            canvas, size = load_displayed(path, scale, max_pixels=PIXEL_LIMIT)
        except ImageTooLarge:
            raise ImageUnavailable(f"it has more than {PIXEL_LIMIT // 1_000_000} million pixels") from None
        except ImageUnreadable:
            # The error of the library may name a path of this machine, and the report may be sent to others.
            raise ImageUnavailable("the file can't be decoded as an image") from None
    canvas.info.clear()
    return DecodedImage(canvas, size, long_side)


def _data_uri(canvas: Image.Image) -> str:
    from PIL import features

    canvas.info.clear()
    kind = "webp" if features.check("webp") else "jpeg"
    file = io.BytesIO()
    canvas.save(file, kind.upper(), quality=QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
