"""What an image's header says: how large it is, and how EXIF turns it. Nothing is decoded.

One frame holds everywhere, in reading, in writing, in the preview and in metadata: the image as it is shown, that is,
turned as its EXIF orientation says. Owns: that rule.
"""

from __future__ import annotations

import os

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.readings import Reading, ReadingCache, read_cached
from metalake_sync.sources.regular_files import open_regular_file

HEADER_READER = "header 1"

QUARTER_TURNS = frozenset({5, 6, 7, 8})
"""The orientations that exchange width and height. Source: EXIF 2.32 (CIPA DC-008), tag 0x0112."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD_BYTES = 24
"""The signature, and IHDR up to width and height, of 4 bytes each. Source: W3C, PNG, sections 5.2 and 11.2.2."""

_SIGNATURES = (b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
"""Formats whose headers are plain structures. The library reads SVG as well, and XML from a stranger is a risk."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """`stored`: width and height of the stored pixels. `orientation`: 1 to 8, as EXIF has it; 1 is upright."""

    stored: tuple[int, int]
    orientation: int = 1

    @property
    def is_turned(self) -> bool:
        """Whether the shown image has its sides exchanged."""
        return self.orientation in QUARTER_TURNS

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the shown image in pixels."""
        width, height = self.stored
        return (height, width) if self.is_turned else (width, height)


def read_header(path: str) -> ImageHeader | None:
    """The header of an image file, or None where it can't be read."""
    try:
        with os.fdopen(open_regular_file(path), "rb") as file:
            head = file.peek(_PNG_HEAD_BYTES)
            if head.startswith(_PNG) and head[12:16] == b"IHDR" and len(head) >= _PNG_HEAD_BYTES:
                # The usual case needs no more; the library takes as long as opening the file.
                width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
                return ImageHeader((width, height)) if width and height else None
            if not head.startswith(_SIGNATURES):
                return None
            # It brings urllib.request with it: 12 ms for a run that needs it for no image.
            import imagesize

            found = imagesize.get_info(file, dpi=False, colors=False, channels=False, exif_rotation=False)
    except Exception:  # noqa: BLE001 - whatever the library comes across in bytes that are no header
        return None
    if found.width <= 0 or found.height <= 0:
        return None
    return ImageHeader((found.width, found.height), found.rotation if 1 <= found.rotation <= 8 else 1)


def image_size(path: str) -> tuple[int, int] | None:
    """Width and height of the shown image in pixels, or None where the header can't be read."""
    header = read_header(path)
    return header.size if header is not None else None


def cached_header(cache: ReadingCache, path: str) -> ImageHeader | None:
    """The header, from the cache where the file is as it was: then it is not opened."""
    reading = read_cached(cache, HEADER_READER, path, _read)
    return ImageHeader((reading["width"], reading["height"]), reading.get("orientation", 1)) if reading else None


def _read(path: str) -> Reading:
    header = read_header(path)
    if header is None:
        return {}
    return {"width": header.stored[0], "height": header.stored[1], "orientation": header.orientation}
