"""Decodes masks that are images (PNG), and finds the runs of each value in them.

Owns: the limit on their size, and the error where Pillow, an optional extra, is missing. Must not: make outlines
(`masks` does), or know what a value means.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.annotations.formats.masks import BrokenMask, Lines
from metalake_sync.errors import ManifestError, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.text_files import open_source

if TYPE_CHECKING:
    from PIL import Image

PIXEL_LIMIT = 1 << 26
"""An image with more pixels is an error: it is decoded as a whole."""


RUN_LIMIT = 1 << 23
"""An image with more runs of equal pixels is an error: all of them are in memory."""


@dataclass(frozen=True, slots=True)
class MaskImage:
    """A decoded image."""

    width: int
    height: int
    pixels: bytes
    """Row by row."""
    bytes_each: int
    """1: a gray value or a number of the palette. 2: a gray value. 3: red, green and blue. 4: with alpha."""
    palette: tuple[tuple[int, int, int], ...] = ()
    """Red, green and blue by number, if the pixels are numbers of a palette."""
    transparent: frozenset[int] = frozenset()
    """The numbers of the palette that are transparent."""

    def runs(self) -> Iterator[tuple[bytes, int, int, int]]:
        """Yield the pixel's bytes, the row, the first column and the end of each run of equal pixels. Raises
        BrokenMask for an image with too many runs, such as a photograph."""
        count = 0
        each = self.bytes_each
        same = re.compile(rb"(.{%d})\1*" % each, re.DOTALL)
        stride = self.width * each
        for row in range(self.height):
            at = row * stride
            for found in same.finditer(self.pixels, at, at + stride):
                count += 1
                if count > RUN_LIMIT:
                    raise BrokenMask("its pixels change too often for a mask")
                yield found.group(1), row, (found.start() - at) // each, (found.end() - at) // each

    def by_value(self) -> dict[bytes, Lines]:
        """Return the rows of each value, keyed by the bytes of a pixel. Raises BrokenMask."""
        values: dict[bytes, dict[int, list[tuple[int, int]]]] = {}
        for value, row, start, end in self.runs():
            values.setdefault(value, {}).setdefault(row, []).append((start, end))
        return dict(values)

    def set_pixels(self) -> Lines:
        """Return the rows of a mask. Set are the pixels that are not transparent, if any is transparent; else those
        that are not black."""
        values = self.by_value()
        with_alpha = any(self._is_transparent(value) for value in values)
        rows: dict[int, list[tuple[int, int]]] = {}
        for value, lines in values.items():
            if not self._is_transparent(value) if with_alpha else not self._is_black(value):
                for row, runs in lines.items():
                    rows.setdefault(row, []).extend(runs)
        for runs in rows.values():
            runs.sort()
        return rows

    def _is_transparent(self, value: bytes) -> bool:
        return value[0] in self.transparent if self.palette else self.bytes_each == 4 and value[3] == 0

    def _is_black(self, value: bytes) -> bool:
        if self.palette:
            return value[0] >= len(self.palette) or self.palette[value[0]] == (0, 0, 0)
        return not any(value[:3])


def need_pillow(where: str) -> None:
    """Raise UsageError if Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise UsageError(
            f"{where} has a mask that is an image, and reading it needs Pillow, which is not installed",
            remedy="Run: pip install 'metalake-sync[masks]'.",
        ) from None


def read_mask_file(path: Path, shown_as: str) -> MaskImage:
    """Decode an image file. Raises BrokenMask, ManifestError for a missing file, and UsageError without Pillow."""
    try:
        with open_source(path, shown_as) as opened:
            return decode_mask(opened.read(PIXEL_LIMIT), shown_as)
    except OSError as error:
        raise ManifestError(
            f"the mask can't be read ({error.strerror})", where=shown_as, remedy="Create it, or make it readable."
        ) from None


def decode_mask(content: bytes, where: str) -> MaskImage:
    """Decode a PNG. Raises BrokenMask, and UsageError if Pillow is missing."""
    need_pillow(where)
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                width, height = image.size
                if not width or not height or width * height > PIXEL_LIMIT:
                    raise BrokenMask("its image is too large", f"{width} x {height}")
                return _decoded(image)
        except BrokenMask:
            raise
        except Image.DecompressionBombError:
            raise BrokenMask("its image is too large") from None
        except Exception:  # noqa: BLE001 - Pillow raises many types for damaged files
            raise BrokenMask("its image is not a PNG, or it is damaged") from None


def _decoded(image: Image.Image) -> MaskImage:
    palette: tuple[tuple[int, int, int], ...] = ()
    transparent: frozenset[int] = frozenset()
    if image.mode == "P":
        colors = image.getpalette() or []
        palette = tuple(zip(colors[::3], colors[1::3], colors[2::3], strict=False))
        alpha = image.info.get("transparency")
        if isinstance(alpha, bytes):
            transparent = frozenset(number for number, value in enumerate(alpha) if value == 0)
        elif isinstance(alpha, int):
            transparent = frozenset([alpha])
    elif image.mode in ("I", "I;16B"):
        image = image.convert("I;16")
    elif image.mode not in ("L", "RGB", "RGBA", "I;16"):
        image = image.convert("RGBA" if "A" in image.mode else "L")
    each = 2 if image.mode == "I;16" else len(image.getbands())
    return MaskImage(*image.size, image.tobytes(), each, palette, transparent)
