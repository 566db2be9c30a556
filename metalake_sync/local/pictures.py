"""What a picture's header tells; nothing is decoded."""

from __future__ import annotations

from metalake_sync.local.readings import Reading, ReadingCache, read_cached

SIZE_READER = "size 1"


def picture_size(path: str) -> tuple[int, int] | None:
    """Width and height in pixels, or None where the header can't be read."""
    # It brings urllib.request with it: 12 ms for who looks at no picture.
    import imagesize

    try:
        width, height = imagesize.get(path)
    except (OSError, ValueError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def cached_picture_size(cache: ReadingCache, path: str) -> tuple[int, int] | None:
    """The same, from the cache where the file is as it was: then it is not opened."""
    reading = read_cached(cache, SIZE_READER, path, _read_size)
    return (reading["width"], reading["height"]) if reading else None


def _read_size(path: str) -> Reading:
    size = picture_size(path)
    return {} if size is None else {"width": size[0], "height": size[1]}
