"""What a picture's header tells; nothing is decoded."""

from __future__ import annotations

import imagesize


def picture_size(path: str) -> tuple[int, int] | None:
    """Width and height in pixels, or None where the header can't be read."""
    try:
        width, height = imagesize.get(path)
    except (OSError, ValueError):
        return None
    return (width, height) if width > 0 and height > 0 else None
