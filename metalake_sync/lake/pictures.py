"""The size of a picture, from its header. Nothing is decoded."""

from __future__ import annotations

import struct
from pathlib import Path

import imagesize

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
"""Formats whose headers are plain structures. The library reads SVG as well, and XML from a stranger is a risk."""


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels, or None where the file is no picture that can be read."""
    try:
        with path.open("rb") as file:
            if not file.read(8).startswith(_SIGNATURES):
                return None
            width, height = imagesize.get(file)
    except (OSError, ValueError, struct.error):
        return None
    return (width, height) if width > 0 and height > 0 else None
