"""Size and orientation of images, from their headers.

Owns: the frame of coordinates, which is the same for reading, writing, previews and metadata: the image as it is shown,
rotated by its EXIF orientation. Must not: decode pixels.
"""

from __future__ import annotations

import os

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.readings import Reading, ReadingCache, read_cached
from metalake_sync.sources.regular_files import open_regular_file

HEADER_READER = "header 1"

QUARTER_TURNS = frozenset({5, 6, 7, 8})
"""The orientations that swap width and height. Source: EXIF 2.32 (CIPA DC-008), tag 0x0112."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD_BYTES = 24
"""The signature, and IHDR up to width and height, of 4 bytes each. Source: W3C, PNG, sections 5.2 and 11.2.2."""

_SIGNATURES = (b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
"""Formats whose headers are plain structures. The library also reads SVG, and XML of unknown origin is a risk."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of an image."""

    stored: tuple[int, int]
    """Width and height of the stored pixels."""
    orientation: int = 1
    """1 to 8 as in EXIF; 1 is upright."""

    @property
    def is_turned(self) -> bool:
        """Whether width and height of the shown image are swapped."""
        return self.orientation in QUARTER_TURNS

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the shown image in pixels."""
        width, height = self.stored
        return (height, width) if self.is_turned else (width, height)


def read_header(path: str) -> ImageHeader | None:
    """Return the header of an image file, or None if it cannot be read."""
    try:
        with os.fdopen(open_regular_file(path), "rb") as file:
            head = file.peek(_PNG_HEAD_BYTES)
            if head.startswith(_PNG) and head[12:16] == b"IHDR" and len(head) >= _PNG_HEAD_BYTES:
                # Most PNG files need no more. The library takes as long as opening the file.
                width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
                return ImageHeader((width, height)) if width and height else None
            if not head.startswith(_SIGNATURES):
                return None
            # It imports urllib.request: 12 ms, which runs without such images save.
            import imagesize

            found = imagesize.get_info(file, dpi=False, colors=False, channels=False, exif_rotation=False)
    except Exception:  # noqa: BLE001 - any error of the library for an invalid header
        return None
    if found.width <= 0 or found.height <= 0:
        return None
    return ImageHeader((found.width, found.height), found.rotation if 1 <= found.rotation <= 8 else 1)


def image_size(path: str) -> tuple[int, int] | None:
    """Return width and height of the shown image in pixels, or None if the header cannot be read."""
    header = read_header(path)
    return header.size if header is not None else None


def cached_header(cache: ReadingCache, path: str) -> ImageHeader | None:
    """Return the header. A file that did not change is not opened."""
    reading = read_cached(cache, HEADER_READER, path, _read)
    return ImageHeader((reading["width"], reading["height"]), reading.get("orientation", 1)) if reading else None


def _read(path: str) -> Reading:
    header = read_header(path)
    if header is None:
        return {}
    return {"width": header.stored[0], "height": header.stored[1], "orientation": header.orientation}
